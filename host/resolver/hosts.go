package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HostsFile is where systems look for names first.
const HostsFile = "/etc/hosts"

const (
	maxHosts   = 16 << 20 // bytes of a hosts file; one of a mesh of 1000 nodes has 60 KiB
	hostsTries = 16       // that somebody else may be faster
)

// What keeps a file from being replaced; only the package itself sees them.
var (
	errChanged    = errors.New("it was changed meanwhile")
	errNotInPlace = errors.New("it cannot be replaced by another file")
)

// Hosts writes members into a hosts file.
type Hosts struct {
	path  string
	owner string

	between func() // called between reading and writing; nil but in tests
}

// NewHosts returns the way of a hosts file for the node that has this name. Several nodes can use one file.
func NewHosts(path, owner string) *Hosts { return &Hosts{path: path, owner: owner} }

// Name says which way this is.
func (h *Hosts) Name() string { return "hosts" }

// Asks reports whether this way has the node's own server asked.
func (*Hosts) Asks() bool { return false }

// Fit returns nil if the file is there and can be written, else ErrUnfit, wrapped.
func (h *Hosts) Fit(context.Context) error {
	path, err := filepath.EvalSymlinks(h.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err := unix.Access(path, unix.W_OK); err != nil {
		return fmt.Errorf("%w: %s cannot be written: %w", ErrUnfit, path, err)
	}
	return nil
}

// Set writes the members.
func (h *Hosts) Set(_ context.Context, n Names) error {
	return h.update(func(text []byte) []byte { return edit(text, h.owner, n.Hosts) })
}

// Undo removes them.
func (h *Hosts) Undo(context.Context) error {
	err := h.update(func(text []byte) []byte { return edit(text, h.owner, nil) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// update writes f of the file's content, which is the same for what it returned.
func (h *Hosts) update(f func([]byte) []byte) error {
	path, err := filepath.EvalSymlinks(h.path)
	if err != nil {
		return err
	}
	for range hostsTries {
		old, err := readBounded(path)
		if err != nil {
			return err
		}
		text := f(old)
		if bytes.Equal(text, old) {
			return nil
		}
		if h.between != nil {
			h.between()
		}
		err = h.replace(path, old, text)
		if errors.Is(err, errNotInPlace) {
			err = overwrite(path, old, text)
		}
		if !errors.Is(err, errChanged) {
			return err
		}
	}
	return fmt.Errorf("%s is changed by others again and again; try later", path)
}

func readBounded(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxHosts {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, maxHosts)
	}
	return os.ReadFile(path) // #nosec G304 -- the system's hosts file
}

// replace puts a file with text in the place of one with old, in one step. If it held something else at that moment, that
// stays, and the error is errChanged.
func (h *Hosts) replace(path string, old, text []byte) error {
	tmp := filepath.Join(filepath.Dir(path), ".hosts.x0t-"+h.owner)
	if err := twin(path, tmp, text); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("%w: %w", errNotInPlace, err)
	}
	err := exchange(path, tmp)
	if err == nil {
		return settle(path, tmp, old, text)
	}
	defer func() { _ = os.Remove(tmp) }()
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("%w: %w", errNotInPlace, err) // a mount point, for instance
	}
	// A file system that cannot exchange two names. Between these two steps nobody else should write.
	if now, err := readBounded(path); err != nil || !bytes.Equal(now, old) {
		return errors.Join(errChanged, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("%w: %w", errNotInPlace, err)
	}
	return nil
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// settle looks at what was taken out of the place, now at tmp. If it is not what text was made from, it is put back.
func settle(path, tmp string, old, text []byte) error {
	was, err := readBounded(tmp)
	if err == nil && bytes.Equal(was, old) {
		return os.Remove(tmp)
	}
	if err := errors.Join(err, exchange(path, tmp)); err != nil {
		return fmt.Errorf("%s was changed while x0t wrote it; the other version is %s: %w", path, tmp, err)
	}
	if ours, err := readBounded(tmp); err != nil || !bytes.Equal(ours, text) {
		return fmt.Errorf("%s was changed twice while x0t wrote it; one of the versions is %s", path, tmp)
	}
	return errors.Join(errChanged, os.Remove(tmp))
}

// twin makes a file with text that is like the one at path in everything else.
func twin(path, tmp string, text []byte) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Nlink != 1 {
		return errors.New("it has several names")
	}
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one who was killed here
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- beside the system's hosts file
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	fd := int(f.Fd()) // #nosec G115 -- a descriptor
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(path, fd); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return err
	}
	return f.Sync()
}

// copyXattrs gives a file the labels and access lists of another.
func copyXattrs(path string, fd int) error {
	list := make([]byte, 4096)
	n, err := unix.Listxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range bytes.SplitSeq(bytes.TrimRight(list[:n], "\x00"), []byte{0}) {
		if len(name) == 0 {
			continue
		}
		if s := string(name); s == "security.ima" || s == "security.evm" {
			return fmt.Errorf("it carries %s, which is about its content", s)
		}
		value := make([]byte, 4096)
		k, err := unix.Getxattr(path, string(name), value)
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(fd, string(name), value[:k], 0); err != nil {
			return err
		}
	}
	return nil
}

// overwrite changes the file itself, from the first byte that differs: for one that has a mount of its own, as in
// containers, or a folder that cannot be written.
func overwrite(path string, old, text []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // #nosec G304 -- the system's hosts file
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if now, err := readBounded(path); err != nil || !bytes.Equal(now, old) {
		return errors.Join(errChanged, err)
	}
	// Lines of others may stand behind ours: room for all of it comes before the first byte is changed.
	if err := reserve(f, int64(len(old)), int64(len(text))); err != nil {
		return err
	}
	from := 0
	for from < min(len(old), len(text)) && old[from] == text[from] {
		from++
	}
	if _, err := f.WriteAt(text[from:], int64(from)); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if now, err := readBounded(path); err != nil || !bytes.Equal(now, text) {
		return errors.Join(errChanged, err) // somebody wrote at the same time: once more
	}
	return nil
}

// reserve makes room for a file that grows. If there is none the file is as it was.
func reserve(f *os.File, from, to int64) error {
	if to <= from {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, to-from) // #nosec G115 -- a descriptor
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: no room for %d bytes more: %w", f.Name(), to-from, err)
	}
	return nil
}
