package disk

import (
	"cmp"
	"os"
	"path"
	"syscall"
)

// folder is how a Dir changes its folder. Tests put one in between that fails, or stops half-way as a crash does.
type folder interface {
	// Create makes the file, mode 0600, which must not be there, and returns when its bytes are on the disk.
	Create(name string, b []byte) error
	Rename(from, to string) error
	Remove(name string) error
	Mkdir(name string) error
	// Sync puts the entries of a folder on the disk: a rename is one of the folder, not of the file (fsync(2)).
	Sync(name string) error
}

// rooted is the folder itself.
type rooted struct{ root *os.Root }

func (r rooted) Create(name string, b []byte) error {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return cmp.Or(err, r.give(f), f.Sync(), f.Close())
}

func (r rooted) Rename(from, to string) error { return r.root.Rename(from, to) }
func (r rooted) Remove(name string) error     { return r.root.Remove(name) }

func (r rooted) Mkdir(name string) error {
	if err := r.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	f, err := r.root.Open(name)
	if err != nil {
		return err
	}
	return cmp.Or(r.give(f), f.Close())
}

func (r rooted) Sync(name string) error {
	f, err := r.root.Open(path.Clean(name))
	if err != nil {
		return err
	}
	return cmp.Or(f.Sync(), f.Close())
}

// give makes what root wrote belong to whom the folder belongs to: a daemon that runs as another user must be able to
// read what root, at the command line, put into its state.
func (r rooted) give(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fi, err := r.root.Stat(".")
	if err != nil {
		return err
	}
	owner, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// Space says how much may be written to the file system of a state directory.
type Space struct {
	Free     uint64 // bytes, for whoever is not root
	ReadOnly bool
}

// Space asks the file system. It writes nothing.
func (d *Dir) Space() (Space, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.root.Open(".")
	if err != nil {
		return Space{}, unwritable(d.path, err)
	}
	defer func() { _ = f.Close() }()
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil { // #nosec G115 -- a descriptor
		return Space{}, unwritable(d.path, err)
	}
	const readOnly = 1                                                              // ST_RDONLY of statvfs(3)
	return Space{st.Bavail * uint64(max(st.Bsize, 0)), st.Flags&readOnly != 0}, nil // #nosec G115 -- not negative
}

// Probe writes and removes a file, and so finds out whether a Write would succeed now. The error is Write's.
func (d *Dir) Probe() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	tmp := d.tmp()
	err := d.disk.Create(tmp, make([]byte, 4096))
	if rm := d.disk.Remove(tmp); err == nil {
		err = rm
	}
	if err != nil {
		return unwritable(d.path, err)
	}
	return nil
}
