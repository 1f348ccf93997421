// Package disk is the state directory of a node: one flat folder of small files that nobody else may read, held
// by one process at a time, where a write is either wholly there after a crash or not at all.
//
//	version      format of the folder, a number in decimal and a newline
//	lock         held with flock(2) while a process uses the folder; contains that process's id
//	.tmp-*       a write that a crash interrupted; removed by the next Open
//	backup-vN/   the folder as it was before it was upgraded from format N
//	upgrade-N/   an upgrade to format N that is not finished (upgrade.go)
//	…            what was written, mode 0600
package disk

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// What can be wrong with a state directory.
var (
	ErrLocked     = errors.New("state directory is in use by another process")
	ErrUnwritable = errors.New("state cannot be written")
	ErrNewer      = errors.New("state was written by a newer version")
	ErrNotState   = errors.New("not a state directory")
	ErrName       = errors.New("not a name for a state file")
	ErrUpgrade    = errors.New("state cannot be upgraded")
)

// First is the oldest format. The newest that a program knows, which is the one it writes, lies as many above it as it
// has steps.
const First = 1

const (
	versionFile = "version"
	lockFile    = "lock"
	tmpPrefix   = ".tmp-"
	maxFile     = 64 << 20

	foreignFolder = "shared"
)

// Dir is an open state directory. Its methods may be called from several goroutines.
type Dir struct {
	path  string
	root  *os.Root
	disk  folder
	lock  *os.File
	steps []Step

	mu  sync.Mutex // one write at a time; guards seq
	seq int
}

// Open opens the state directory at path, makes it (mode 0700) if it is not there, and holds it until Close. State of
// an older format is upgraded by the steps, of which steps[0] leads from First to the format after it; a copy of the old
// state is kept beside the new one.
//
// It refuses a folder that holds anything but state (ErrNotState), one in use (ErrLocked), one of a newer format
// (ErrNewer), one that a step cannot make sense of (ErrUpgrade) and one that cannot be written (ErrUnwritable).
func Open(path string, steps ...Step) (*Dir, error) {
	return openIn(path, steps, func(r *os.Root) folder { return rooted{r} })
}

func openIn(path string, steps []Step, through func(*os.Root) folder) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // #nosec G301 -- only the last folder is private
		return nil, unwritable(path, err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, unwritable(path, err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, unwritable(path, err)
	}
	d := &Dir{path: path, root: root, disk: through(root), steps: steps}
	if err := d.prepare(); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// prepare looks before it touches: a folder that is not ours is left as it is.
func (d *Dir) prepare() error {
	found, err := d.checkVersion()
	if err != nil {
		return err
	}
	if err := d.acquire(); err != nil {
		return err
	}
	if err := d.tighten(); err != nil {
		return unwritable(d.path, err)
	}
	if err := d.clear(found); err != nil {
		return err
	}
	switch {
	case found == 0:
		return d.write(versionFile, version(d.newest()))
	case found < d.newest():
		return d.upgrade(found)
	}
	return d.finish(found)
}

// tighten shuts others out. It goes by a descriptor: what os.Root would use, fchmodat2(2), is younger than the filters
// of system calls that services run under.
func (d *Dir) tighten() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return cmp.Or(f.Chmod(0o700), f.Close())
}

// clear removes what a crash left of a write, and of an upgrade to a format that the folder did not come to have.
func (d *Dir) clear(found int) error {
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		staged, isStage := strings.CutPrefix(n, stagePrefix)
		to, err := strconv.Atoi(staged)
		switch {
		case isStage && err == nil && to > found, strings.HasPrefix(n, tmpPrefix):
			if fi, err := d.root.Lstat(n); err == nil && fi.IsDir() {
				if err := d.discard(n); err != nil {
					return err
				}
				continue
			}
			_ = d.disk.Remove(n)
		}
	}
	return nil
}

// checkVersion returns the format of the folder, 0 if it is yet without state.
func (d *Dir) checkVersion() (found int, err error) {
	b, err := d.root.ReadFile(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, d.checkEmpty()
	}
	if err != nil {
		return 0, unwritable(d.path, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil || v < First:
		return 0, fmt.Errorf("%w: %s/%s holds %.20q, not a number; restore the state or choose another directory", ErrNotState, d.path, versionFile, b)
	case v > d.newest():
		return 0, fmt.Errorf("%w: %s has format %d, this program knows up to %d; run the newer x0t, or restore the copy that it made before its upgrade",
			ErrNewer, d.path, v, d.newest())
	}
	return v, nil
}

func (d *Dir) checkEmpty() error {
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		// lost+found is there if the state has a file system of its own.
		if n == lockFile || n == "lost+found" || strings.HasPrefix(n, tmpPrefix) {
			continue
		}
		return fmt.Errorf("%w: %s holds %q but no file named version; choose an empty or a new directory, or restore the state from a copy", ErrNotState, d.path, n)
	}
	return nil
}

// acquire takes the lock. The kernel drops it when the process ends, however it ends. The descriptor that stays open is
// for reading, so that the file system can be mounted read-only meanwhile.
func (d *Dir) acquire() error {
	f, err := d.root.OpenFile(lockFile, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return unwritable(d.path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { // #nosec G115 -- a descriptor
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return unwritable(d.path, err)
		}
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		holder := "process " + string(bytes.TrimSpace(pid))
		if len(bytes.TrimSpace(pid)) == 0 {
			holder = "a process that just started"
		}
		return fmt.Errorf("%w: %s holds %s; stop it, or give this one another directory (X0T_STATE)", ErrLocked, holder, d.path)
	}
	d.lock = f
	w, err := d.root.OpenFile(lockFile, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return unwritable(d.path, err)
	}
	_, err = w.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	if err := errors.Join(err, rooted{d.root}.give(w), w.Close()); err != nil {
		return unwritable(d.path, err)
	}
	return nil
}

// Path returns the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// Close lets the directory go. No other method may be called afterwards.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.lock != nil {
		err = d.lock.Close() // the lock goes with the descriptor
		d.lock = nil
	}
	return errors.Join(err, d.root.Close())
}

func (d *Dir) names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, unwritable(d.path, err)
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, unwritable(d.path, err)
	}
	return names, nil
}

// unwritable says that path cannot be written, and what to do about it. Of what the system says the reason is kept: the
// name of a temporary file would tell nobody anything.
func unwritable(path string, err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		err = e.Err
	case *os.LinkError:
		err = e.Err
	}
	hint := "check the owner and the mode"
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "run as its owner, or choose another directory (X0T_STATE)"
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		hint = "free some space"
	case errors.Is(err, syscall.EROFS):
		hint = "the file system is mounted read-only"
	case errors.Is(err, syscall.ENOTDIR):
		hint = "a file stands where a directory should"
	}
	return fmt.Errorf("%w: %s: %w; %s", ErrUnwritable, path, err, hint)
}
