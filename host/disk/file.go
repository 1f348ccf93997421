package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Read returns what was last written under name. The error wraps fs.ErrNotExist if nothing was.
func (d *Dir) Read(name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read state %s/%s: %w", d.path, name, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("it is larger than %d MB", maxFile>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("read state %s/%s: %w", d.path, name, err)
	}
	return b, nil
}

// Exists reports whether something is written under name.
func (d *Dir) Exists(name string) bool {
	if checkName(name) != nil {
		return false
	}
	_, err := d.root.Stat(name)
	return err == nil
}

// Write puts b under name, mode 0600, in place of what was there. When it returns nil the bytes survive a crash
// of the machine; when it fails (ErrUnwritable), or the machine dies meanwhile, either the old bytes or the new
// ones are there.
func (d *Dir) Write(name string, b []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	return d.write(name, b)
}

func (d *Dir) write(name string, b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	tmp := d.tmp()
	err := d.disk.Create(tmp, b)
	if err == nil {
		err = d.disk.Rename(tmp, name)
	}
	if err != nil {
		_ = d.disk.Remove(tmp)
		return unwritable(d.path+"/"+name, err)
	}
	return d.syncDir()
}

// tmp returns a name for what is not whole yet. It is called with mu held, or before anybody else has d.
func (d *Dir) tmp() string {
	d.seq++
	return tmpPrefix + strconv.Itoa(d.seq)
}

// Remove deletes what was written under name; nothing there is no error.
func (d *Dir) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritable(d.path+"/"+name, err)
	}
	return d.syncDir()
}

// Foreign makes sure of the folder for files of another writer, who sees to their format and that they are whole, and returns
// its absolute path. Upgrades leave it alone.
func (d *Dir) Foreign() (string, error) {
	p := d.path + "/" + foreignFolder
	err := d.disk.Mkdir(foreignFolder)
	if err == nil {
		return p, d.syncDir()
	}
	if fi, was := d.root.Lstat(foreignFolder); was == nil && !fi.IsDir() {
		err = errors.New("it is no folder; move it away")
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", unwritable(p, err)
	}
	return p, nil
}

// List returns the names that are written, sorted.
func (d *Dir) List() ([]string, error) {
	names, err := d.names()
	names = slices.DeleteFunc(names, func(n string) bool { return checkName(n) != nil })
	slices.Sort(names)
	return names, err
}

func (d *Dir) syncDir() error {
	if err := d.disk.Sync("."); err != nil {
		return unwritable(d.path, err)
	}
	return nil
}

// checkName keeps to [a-z0-9.-_], not beginning with a dot, and off the folder's own files and folders.
func checkName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	if name == "" || len(name) > 200 || name[0] == '.' || strings.Trim(name, allowed) != "" ||
		name == versionFile || name == lockFile || name == foreignFolder || name == "lost+found" ||
		strings.HasPrefix(name, backupPrefix) || strings.HasPrefix(name, stagePrefix) {
		return fmt.Errorf("%w: %.80q", ErrName, name)
	}
	return nil
}
