package bench

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// PeersEnv is the environment variable that names the directory into which scripts/peers puts the programs that x0t is
// compared with.
const PeersEnv = "X0T_PEERS"

// ErrNoProgram says that a program is missing on this machine.
var ErrNoProgram = errors.New("is not installed")

// peersDir is where scripts/peers puts programs: PeersEnv, or a directory in the user's cache.
func peersDir() string {
	if dir := os.Getenv(PeersEnv); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "x0t", "peers")
}

// program is one that can be run here.
type program struct {
	path string
	env  []string // beside the environment of this process
	dir  string   // of scripts/peers, if it is from there
}

// binDirs are the places below the directory of scripts/peers where programs are: built ones first.
var binDirs = []string{"bin", "root/usr/sbin", "root/usr/bin", "root/usr/lib/frr"}

// findProgram looks for a program where scripts/peers puts them, then where the shell would.
func findProgram(name string) (program, error) {
	dir := peersDir()
	for _, d := range binDirs {
		if dir == "" {
			break // no cache, no peers
		}
		at := filepath.Join(dir, d, name)
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return program{path: at, env: []string{"LD_LIBRARY_PATH=" + strings.Join(libraries(dir), ":")}, dir: dir}, nil
		}
	}
	at, err := exec.LookPath(name)
	if err != nil {
		return program{}, fmt.Errorf("%s %w; scripts/peers gets it", name, ErrNoProgram)
	}
	return program{path: at}, nil
}

// libraries are the directories of libraries among unpacked packages. On a merged /usr both names may be used.
func libraries(dir string) (out []string) {
	for _, pattern := range []string{"root/usr/lib/*-linux-gnu*", "root/lib/*-linux-gnu*", "root/usr/lib/*-linux-gnu*/frr"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err == nil {
			out = append(out, found...)
		}
	}
	return out
}

// version says which release a program is: of its Go module, of its Debian package, or by its own words.
func (p program) version(ctx context.Context, pkg string, ask ...string) string {
	if info, err := buildinfo.ReadFile(p.path); err == nil && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	if b, err := os.ReadFile(filepath.Join(p.dir, "versions")); p.dir != "" && err == nil {
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == pkg {
				return v + " (Debian)"
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, ask...) // #nosec G204 -- a program that was found, asked for its version
	cmd.Env = append(os.Environ(), p.env...)
	out, _ := cmd.CombinedOutput() // some of them answer with a code that is not 0
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "unknown"
	}
	return line
}
