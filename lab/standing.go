package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// A lab that stays has a directory of its own below RuntimeDir: a lock that its process holds as long as it lives, a
// socket that it answers on, and a file that says what it is.
const (
	lockFile   = "lock"
	socketFile = "control.sock"
	stateFile  = "lab.json"
)

// RuntimeEnv is the environment variable that says where labs that stay keep their sockets.
const RuntimeEnv = "X0T_LAB_DIR"

// Errors of labs that stay.
var (
	ErrNoLab = errors.New("no such lab")
	ErrTaken = errors.New("a lab of that name runs already")
)

// nameRule is what a lab may be called: it becomes a directory.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// RuntimeDir is where labs that stay keep their sockets: X0T_LAB_DIR, or one of this user's own.
func RuntimeDir() string {
	if dir := os.Getenv(RuntimeEnv); dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/run/x0t-lab"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "x0t-lab")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("x0t-lab-%d", os.Getuid()))
}

// Standing describes a lab that stays.
type Standing struct {
	Name      string         `json:"name"`
	Topology  string         `json:"topology"`
	PID       int            `json:"pid"`
	Began     time.Time      `json:"began"`
	Converged float64        `json:"converged_ms"`
	Alive     bool           `json:"alive"` // its process runs
	Nodes     []StandingNode `json:"nodes"`
	Links     []StandingLink `json:"links"`
	Faults    []string       `json:"faults"` // that hold now
}

// StandingNode is a node of such a lab.
type StandingNode struct {
	Node    mesh.NodeID `json:"node"`
	Address string      `json:"address"` // in the mesh
	Socket  string      `json:"socket"`  // of the daemon's API
	Log     string      `json:"log"`
}

// StandingLink is a link of such a lab.
type StandingLink struct {
	A     mesh.NodeID `json:"a"`
	B     mesh.NodeID `json:"b"`
	Delay float64     `json:"delay_ms"`
}

// post is the place of a lab that stays; whoever has it open holds its lock.
type post struct {
	dir  string
	lock *os.File
}

// takePost makes the directory of a lab, and fails with ErrTaken if a living process has it.
func takePost(runtime, name string) (*post, error) {
	if !nameRule.MatchString(name) {
		return nil, fmt.Errorf("name %q of a lab: use up to 32 of a-z, 0-9 and hyphen", name)
	}
	p := &post{dir: filepath.Join(runtime, name)}
	for range 10 { // whoever removes a dead lab removes the directory that we just locked
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return nil, fmt.Errorf("directory for the lab: %w; set %s to one that you may write to", err, RuntimeEnv)
		}
		f, err := os.OpenFile(filepath.Join(p.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- a directory of our own
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // #nosec G115 -- descriptors are small
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("%w: %s; take it down with x0t lab down --name %s, or choose another --name", ErrTaken, name, name)
			}
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		mine, err1 := f.Stat()
		there, err2 := os.Stat(f.Name())
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			p.lock = f
			return p, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("directory %s is removed again and again", p.dir)
}

// leave removes the directory and lets go of the lock.
func (p *post) leave() error {
	err := os.RemoveAll(p.dir)
	p.lock.Close()
	return err
}

func (p *post) socket() string { return filepath.Join(p.dir, socketFile) }

// write says what the lab is, for those who find it dead.
func (p *post) write(s Standing) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, stateFile), b, 0o600)
}

// Labs lists the labs that stay, and those whose process is gone, by name.
func Labs(runtime string) ([]Standing, error) {
	dirs, err := os.ReadDir(runtime)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Standing
	for _, d := range dirs {
		if s, err := look(runtime, d.Name()); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// look reads what a lab wrote of itself and whether its process lives.
func look(runtime, name string) (Standing, error) {
	s := Standing{Name: name}
	dir := filepath.Join(runtime, name)
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0) // #nosec G304 -- a directory of our own
	if err != nil || !nameRule.MatchString(name) {
		return s, fmt.Errorf("%w: %s", ErrNoLab, name)
	}
	defer f.Close()
	s.Alive = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil // #nosec G115 -- descriptors are small
	alive := s.Alive
	if b, err := os.ReadFile(filepath.Join(dir, stateFile)); err == nil { // #nosec G304 -- a directory of our own
		if err := json.Unmarshal(b, &s); err != nil {
			return s, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
		}
	}
	s.Name, s.Alive = name, alive
	return s, nil
}
