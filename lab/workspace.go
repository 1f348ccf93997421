package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// workspacePattern is what the private directories of labs are called.
const workspacePattern = "x0t-lab-"

// socketLimit is how long the path of a unix socket may be: 108 bytes with its final zero (unix(7)).
const socketLimit = 107

// workspace is the private directory of one lab. Its owner holds a lock on it, which the kernel lets go of when the
// owner dies: a directory whose lock is free is a dead lab's.
type workspace struct {
	dir  string
	lock *os.File
}

// newWorkspace makes a private directory after removing those of dead labs.
func newWorkspace() (*workspace, error) {
	removeStale(os.TempDir())
	var err error
	for range 3 { // another lab's removeStale may take a directory whose lock is not held yet
		var w *workspace
		if w, err = makeWorkspace(); err == nil {
			return w, nil
		}
	}
	return nil, fmt.Errorf("directory for the lab in %s: %w", os.TempDir(), err)
}

func makeWorkspace() (*workspace, error) {
	dir, err := os.MkdirTemp("", workspacePattern)
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: dir}
	if w.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err == nil { // #nosec G304 -- a directory of the lab's own
		err = unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return w, nil
}

// removeStale removes what labs left behind that could not clean up. It touches only directories of this user that
// hold a free lock.
func removeStale(temp string) {
	dirs, err := filepath.Glob(filepath.Join(temp, workspacePattern+"*"))
	if err != nil {
		return
	}
	for _, d := range dirs {
		if i, err := os.Lstat(d); err != nil || !i.IsDir() {
			continue
		}
		// Without the file there is a lab that is just being born, or something that is not ours.
		f, err := os.OpenFile(filepath.Join(d, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0) // #nosec G304 -- a directory of the lab's own
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(d)
		}
		f.Close()
	}
}

// node returns the directory of one node, made if need be.
func (w *workspace) node(n mesh.NodeID, index int) (string, error) {
	d := filepath.Join(w.dir, n.String())
	if len(filepath.Join(d, "x0t.sock")) > socketLimit {
		d = filepath.Join(w.dir, fmt.Sprint(index))
	}
	if p := filepath.Join(d, "x0t.sock"); len(p) > socketLimit {
		return "", fmt.Errorf("%s is too long for a unix socket: set TMPDIR to a shorter directory", p)
	}
	if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return d, nil
}

func (w *workspace) close() error {
	err := os.RemoveAll(w.dir)
	w.lock.Close()
	return err
}
