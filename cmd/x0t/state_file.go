package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// wholeFile becomes a file under its name when all of it is written and on disk, and is gone otherwise.
type wholeFile struct {
	path  string
	force bool
	tmp   *os.File
	sum   hash.Hash
	n     int64
}

// createWhole begins a file beside path. Without force there must be none at path; with it, only a regular file is replaced.
func createWhole(path string, force bool) (*wholeFile, error) {
	st, err := os.Lstat(path)
	switch {
	case err == nil && !force:
		return nil, alreadyThere(path)
	case err == nil && !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file, and stays; choose another", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("create %s: %w", path, failed.Err) // the other name is nobody's business
	}
	if err != nil {
		return nil, err
	}
	return &wholeFile{path: path, force: force, tmp: tmp, sum: sha256.New()}, nil
}

func alreadyThere(path string) error {
	return fmt.Errorf("%s is there already; --force replaces it", path)
}

func (w *wholeFile) Write(b []byte) (int, error) {
	n, err := w.tmp.Write(b)
	w.sum.Write(b[:n])
	w.n += int64(n)
	return n, err
}

// keep makes the file durable, reads it again, which verify has to approve of, and puts it in its place.
func (w *wholeFile) keep(verify func(io.Reader) error) error {
	if err := w.tmp.Sync(); err != nil {
		return err
	}
	if _, err := w.tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	again := sha256.New()
	in := io.TeeReader(w.tmp, again)
	if err := verify(in); err != nil {
		return fmt.Errorf("read %s again: %w", w.path, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("read %s again: %w", w.path, err)
	}
	if !bytes.Equal(again.Sum(nil), w.sum.Sum(nil)) {
		return fmt.Errorf("%s reads otherwise than it was written; the disk fails", w.path)
	}
	if err := w.place(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (w *wholeFile) place() error {
	if !w.force {
		err := unix.Renameat2(unix.AT_FDCWD, w.tmp.Name(), unix.AT_FDCWD, w.path, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			return alreadyThere(w.path)
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
		// A file system without this flag: createWhole has looked.
	}
	return os.Rename(w.tmp.Name(), w.path)
}

// discard ends the writing; what was not kept is gone.
func (w *wholeFile) discard() {
	_ = w.tmp.Close()
	_ = os.Remove(w.tmp.Name()) // not there if it was kept
}

// progressEvery is how often work that takes long says how far it is.
const progressEvery = 2 * time.Second

// progress counts what passes, and says so now and then to who looks at a terminal.
type progress struct {
	now  func() time.Time
	say  func(n uint64)
	last time.Time
	n    uint64
}

func (a *app) progress(verb string) io.Writer {
	m := &progress{now: a.now, last: a.now(), say: func(uint64) {}}
	if isTerminal(a.err) && !a.json {
		m.say = func(n uint64) { a.aside(size(n) + " " + verb) }
	}
	return m
}

func (m *progress) Write(b []byte) (int, error) {
	m.n += uint64(len(b))
	if now := m.now(); now.Sub(m.last) >= progressEvery {
		m.last = now
		m.say(m.n)
	}
	return len(b), nil
}
