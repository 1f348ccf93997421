package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Step turns a state of one format into the next. It is given every file and returns those that change: nil for one
// that is to go. It must not write: the Dir does, after all steps have succeeded.
type Step func(files map[string][]byte) (map[string][]byte, error)

// The folders of an upgrade. Until the version file says the new format, the old state is untouched and what was
// staged is thrown away by the next Open; from then on it is put in place by this Open or the next. So a crash leaves
// the whole old state or the whole new one, and an older program that finds a new one half in place refuses it.
const (
	stagePrefix  = "upgrade-"  // upgrade-2: what format 2 has other than format 1; gone when it is in place
	backupPrefix = "backup-v"  // backup-v1: the state as it was; kept, remove it by hand
	gonePrefix   = "gone-"     // within a stage: the named file is to be removed
	keptPrefix   = "contents-" // within a stage: the named file is to have these bytes
)

// upgrade brings the folder from format v to the newest.
func (d *Dir) upgrade(v int) error {
	files, err := d.all()
	if err != nil {
		return err
	}
	old := maps.Clone(files)
	for n := v; n < d.newest(); n++ {
		change, err := d.steps[n-First](maps.Clone(files))
		if err != nil {
			return fmt.Errorf("%w: %s from format %d to %d: %w; nothing was changed: run the x0t that wrote it, or restore it from a copy",
				ErrUpgrade, d.path, n, n+1, err)
		}
		for name, b := range change {
			if err := checkName(name); err != nil {
				return err
			}
			files[name] = b
		}
	}
	if err := d.stage(v, old, files); err != nil {
		return unwritable(d.path, fmt.Errorf("upgrade from format %d: %w", v, err))
	}
	if err := d.write(versionFile, version(d.newest())); err != nil {
		return err
	}
	return d.finish(d.newest())
}

// stage writes the backup and what changes. Neither is under its final name before it is whole.
func (d *Dir) stage(v int, old, files map[string][]byte) error {
	backup := backupPrefix + strconv.Itoa(v)
	if !d.there(backup) {
		old := maps.Clone(old)
		old[versionFile] = version(v)
		if err := d.fill(backup, old); err != nil {
			return err
		}
	}
	change := map[string][]byte{}
	for name, b := range files {
		was, had := old[name]
		switch {
		case b == nil && had:
			change[gonePrefix+name] = nil
		case b != nil && (!had || string(was) != string(b)):
			change[keptPrefix+name] = b
		}
	}
	return d.fill(stagePrefix+strconv.Itoa(d.newest()), change)
}

// fill makes a folder with these files in one step.
func (d *Dir) fill(name string, files map[string][]byte) error {
	tmp := d.tmp()
	if err := d.disk.Mkdir(tmp); err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if err := d.disk.Create(tmp+"/"+n, files[n]); err != nil {
			return err
		}
	}
	if err := d.disk.Sync(tmp); err != nil {
		return err
	}
	if err := d.disk.Rename(tmp, name); err != nil {
		return err
	}
	return d.disk.Sync(".")
}

// finish puts in place what was staged for the format that the version file says. It may have been begun before.
func (d *Dir) finish(v int) error {
	stage := stagePrefix + strconv.Itoa(v)
	if !d.there(stage) {
		return nil
	}
	entries, err := fs.ReadDir(d.root.FS(), stage)
	if err != nil {
		return unwritable(d.path, err)
	}
	for _, e := range entries {
		if err := d.place(stage, e.Name()); err != nil {
			return unwritable(d.path, fmt.Errorf("finish the upgrade to format %d: %w", v, err))
		}
	}
	return d.discard(stage)
}

func (d *Dir) place(stage, entry string) error {
	if name, ok := strings.CutPrefix(entry, gonePrefix); ok {
		if err := d.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return d.disk.Sync(".")
	}
	name, ok := strings.CutPrefix(entry, keptPrefix)
	if !ok {
		return nil
	}
	b, err := d.root.ReadFile(stage + "/" + entry)
	if err != nil {
		return err
	}
	return d.write(name, b)
}

// discard removes a folder of ours with its files.
func (d *Dir) discard(name string) error {
	entries, err := fs.ReadDir(d.root.FS(), name)
	if err != nil {
		return unwritable(d.path, err)
	}
	for _, e := range entries {
		if err := d.disk.Remove(name + "/" + e.Name()); err != nil {
			return unwritable(d.path+"/"+name, err)
		}
	}
	if err := d.disk.Remove(name); err != nil {
		return unwritable(d.path+"/"+name, err)
	}
	return d.syncDir()
}

// all reads every file of the state.
func (d *Dir) all() (map[string][]byte, error) {
	names, err := d.List()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, n := range names {
		if files[n], err = d.Read(n); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (d *Dir) there(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

func (d *Dir) newest() int { return First + len(d.steps) }

func version(v int) []byte { return []byte(strconv.Itoa(v) + "\n") }
