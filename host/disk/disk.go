// Package disk is the state directory of a node: one flat folder of small files that nobody else may read, held
// by one process at a time, where a write is either wholly there after a crash or not at all.
//
//	version   format of the folder, a number in decimal and a newline
//	lock      held with flock(2) while a process uses the folder; contains that process's id
//	.tmp-*    a write that a crash interrupted; removed by the next Open
//	…         what was written, mode 0600
package disk

import (
	"bytes"
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
)

// Version is the format that this program writes, and the newest that it reads.
const Version = 1

const (
	versionFile = "version"
	lockFile    = "lock"
	tmpPrefix   = ".tmp-"
	maxFile     = 64 << 20
)

// Dir is an open state directory. Its methods may be called from several goroutines.
type Dir struct {
	path string
	root *os.Root
	lock *os.File

	mu  sync.Mutex // one write at a time; guards seq
	seq int
}

// Open opens the state directory at path, makes it (mode 0700) if it is not there, and holds it until Close. It
// refuses a folder that holds anything but state (ErrNotState), one in use (ErrLocked), one of a newer format
// (ErrNewer) and one that cannot be written (ErrUnwritable).
func Open(path string) (*Dir, error) {
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
	d := &Dir{path: path, root: root}
	if err := d.prepare(); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// prepare looks before it touches: a folder that is not ours is left as it is.
func (d *Dir) prepare() error {
	fresh, err := d.checkVersion()
	if err != nil {
		return err
	}
	if err := d.acquire(); err != nil {
		return err
	}
	if err := d.root.Chmod(".", 0o700); err != nil {
		return unwritable(d.path, err)
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, tmpPrefix) {
			_ = d.root.Remove(n)
		}
	}
	if fresh {
		return d.write(versionFile, []byte(strconv.Itoa(Version)+"\n"))
	}
	return nil
}

// checkVersion reports whether the folder is yet without state.
func (d *Dir) checkVersion() (fresh bool, err error) {
	b, err := d.root.ReadFile(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return true, d.checkEmpty()
	}
	if err != nil {
		return false, unwritable(d.path, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil || v < 1:
		return false, fmt.Errorf("%w: %s/%s holds %.20q, not a number; restore the state or choose another directory", ErrNotState, d.path, versionFile, b)
	case v > Version:
		return false, fmt.Errorf("%w: %s has format %d, this program knows up to %d; run the newer x0t", ErrNewer, d.path, v, Version)
	}
	return false, nil
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
		return fmt.Errorf("%w: %s holds %q but no version; choose an empty or a new directory", ErrNotState, d.path, n)
	}
	return nil
}

// acquire takes the lock. The kernel drops it when the process ends, however it ends.
func (d *Dir) acquire() error {
	f, err := d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
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
	if err := f.Truncate(0); err != nil {
		return unwritable(d.path, err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
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

func unwritable(path string, err error) error {
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
