package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var errCrash = errors.New("the machine died")

// dying is a folder on a machine that dies at its change number at: that one is left half done where it can be, and no
// later one happens.
type dying struct {
	folder
	root *os.Root
	at   int
	n    int
}

func (d *dying) step(torn func()) error {
	d.n++
	if d.n == d.at && torn != nil {
		torn()
	}
	if d.n >= d.at {
		return errCrash
	}
	return nil
}

func (d *dying) Create(name string, b []byte) error {
	torn := func() {
		if f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			_, _ = f.Write(b[:len(b)/2])
			_ = f.Close()
		}
	}
	if err := d.step(torn); err != nil {
		return err
	}
	return d.folder.Create(name, b)
}

func (d *dying) Rename(from, to string) error {
	if err := d.step(nil); err != nil {
		return err
	}
	return d.folder.Rename(from, to)
}

func (d *dying) Remove(name string) error {
	if err := d.step(nil); err != nil {
		return err
	}
	return d.folder.Remove(name)
}

func (d *dying) Mkdir(name string) error {
	if err := d.step(nil); err != nil {
		return err
	}
	return d.folder.Mkdir(name)
}

func (d *dying) Sync(name string) error {
	if err := d.step(nil); err != nil {
		return err
	}
	return d.folder.Sync(name)
}

// openDying opens path on a machine that dies at change at, and returns how many changes there were.
func openDying(path string, at int, steps ...Step) (changes int, err error) {
	var in *dying
	d, err := openIn(path, steps, func(r *os.Root) folder {
		in = &dying{folder: rooted{r}, root: r, at: at}
		return in
	})
	if err == nil {
		err = d.Close()
	}
	return in.n, err
}

// steps of two formats that never were: the first renames a file and changes another, the second adds one.
var testSteps = []Step{
	func(files map[string][]byte) (map[string][]byte, error) {
		if _, ok := files["a"]; !ok {
			return nil, errors.New("there is no a")
		}
		return map[string][]byte{"a": nil, "b": append([]byte("b was "), files["a"]...), "keep": []byte("kept, version 2")}, nil
	},
	func(files map[string][]byte) (map[string][]byte, error) {
		return map[string][]byte{"c": append([]byte("c of "), files["b"]...)}, nil
	},
}

var (
	stateV1 = map[string]string{"a": "one", "keep": "kept", "same": "same"}
	stateV3 = map[string]string{"b": "b was one", "c": "c of b was one", "keep": "kept, version 2", "same": "same"}
)

func makeV1(t *testing.T, path string) {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for n, s := range stateV1 {
		if err := d.Write(n, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// holds reports how the state at path, opened with steps, differs from want.
func holds(path string, want map[string]string, steps ...Step) error {
	d, err := Open(path, steps...)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.List()
	if err != nil {
		return err
	}
	if len(names) != len(want) {
		return fmt.Errorf("it holds %v", names)
	}
	for n, s := range want {
		if b, err := d.Read(n); err != nil || string(b) != s {
			return fmt.Errorf("%s is %q, %v; want %q", n, b, err, s)
		}
	}
	return nil
}

func TestUpgradeThroughSeveralFormats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	makeV1(t, path)
	for range 2 { // the second time there is nothing to do
		if err := holds(path, stateV3, testSteps...); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(path, versionFile)); string(b) != "3\n" {
		t.Errorf("version %q", b)
	}
	if m := mode(t, filepath.Join(path, "b")); m != 0o600 {
		t.Errorf("mode %v", m)
	}
	if _, err := Open(path); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "format 3, this program knows up to 1") {
		t.Errorf("an older program: %v", err)
	}
	// The backup is a state directory that the older program takes.
	if m := mode(t, filepath.Join(path, "backup-v1")); m != 0o700 {
		t.Errorf("mode of the backup %v", m)
	}
	if err := holds(filepath.Join(path, "backup-v1"), stateV1); err != nil {
		t.Errorf("the backup: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(path, stagePrefix+"*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Whatever change the machine dies at, the state is afterwards wholly the old one, for a program that is old or new, or
// wholly the new one.
func TestUpgradeThatDiesAnywhere(t *testing.T) {
	base := t.TempDir()
	old, upgraded := 0, 0
	for at := 1; ; at++ {
		path := filepath.Join(base, strconv.Itoa(at))
		makeV1(t, path)
		n, err := openDying(path, at, testSteps...)
		if err == nil {
			if n < 20 || old == 0 || upgraded == 0 {
				t.Errorf("only %d changes; %d ended old, %d new", n, old, upgraded)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("change %d: %v", at, err)
		}
		// The next start dies too, at each change in turn: a half-done repair is repaired.
		again, _ := openDying(path, at, testSteps...)
		b, err := os.ReadFile(filepath.Join(path, versionFile))
		if err != nil {
			t.Fatal(err)
		}
		if string(b) == "1\n" {
			old++
			if err := holds(path, stateV1); err != nil {
				t.Errorf("change %d (then %d), the old program: %v", at, again, err)
			}
		} else {
			upgraded++
			if _, err := Open(path); !errors.Is(err, ErrNewer) {
				t.Errorf("change %d, the old program: %v", at, err)
			}
		}
		if err := holds(path, stateV3, testSteps...); err != nil {
			t.Errorf("change %d (then %d), the new program: %v", at, again, err)
		}
		if err := holds(filepath.Join(path, "backup-v1"), stateV1); err != nil {
			t.Errorf("change %d, the backup: %v", at, err)
		}
	}
}

func TestUpgradeThatFailsChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	makeV1(t, path)
	broken := []Step{testSteps[0], func(map[string][]byte) (map[string][]byte, error) { return nil, errors.New("b is odd") }}
	_, err := Open(path, broken...)
	if !errors.Is(err, ErrUpgrade) || !strings.Contains(err.Error(), "format 2 to 3: b is odd") {
		t.Errorf("%v", err)
	}
	if err := holds(path, stateV1); err != nil {
		t.Error(err)
	}
	bad := []Step{func(map[string][]byte) (map[string][]byte, error) { return map[string][]byte{"../x": {}}, nil }}
	if _, err := Open(path, bad...); !errors.Is(err, ErrName) {
		t.Errorf("a step that leaves the folder: %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, backupPrefix+"1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup of nothing: %v", err)
	}
}

// A write dies at each of its changes: the old bytes or the new ones are there, never others.
func TestWriteThatDiesAnywhere(t *testing.T) {
	for at := 1; at <= 4; at++ {
		path := filepath.Join(t.TempDir(), "state")
		makeV1(t, path)
		d, err := openIn(path, nil, func(r *os.Root) folder { return &dying{folder: rooted{r}, root: r, at: at} })
		if err != nil {
			t.Fatal(err)
		}
		werr := d.Write("a", []byte("two, longer than before"))
		_ = d.Close()
		want := map[string]string{"a": "one", "keep": "kept", "same": "same"}
		if at > 2 { // the rename happened: what failed is only the promise that it lasts
			want["a"] = "two, longer than before"
		}
		if (werr == nil) != (at == 4) {
			t.Errorf("change %d: %v", at, werr)
		}
		if err := holds(path, want); err != nil {
			t.Errorf("change %d: %v", at, err)
		}
	}
}

// tmpfs mounts a small file system in a mount namespace of the test's thread and runs f there.
func tmpfs(t *testing.T, size string, f func(path string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	path := t.TempDir()
	asThread(t, func() {
		if err := errors.Join(
			syscall.Unshare(syscall.CLONE_NEWNS),
			syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
			syscall.Mount("tmpfs", path, "tmpfs", 0, "size="+size),
		); err != nil {
			t.Error(err)
			return
		}
		f(path)
	})
}

// A full disk refuses writes, keeps what was there, and takes writes again once there is room.
func TestFullDisk(t *testing.T) {
	tmpfs(t, "64k", func(path string) {
		d, err := Open(filepath.Join(path, "state"))
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		if err := d.Write("a", []byte("old")); err != nil {
			t.Error(err)
		}
		if err := d.Probe(); err != nil {
			t.Errorf("with room: %v", err)
		}
		ballast := filepath.Join(path, "ballast")
		_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // as much as fits
		if s, err := d.Space(); err != nil || s.Free != 0 || s.ReadOnly {
			t.Errorf("%+v, %v", s, err)
		}
		for what, err := range map[string]error{"write": d.Write("a", make([]byte, 5000)), "probe": d.Probe()} {
			if !errors.Is(err, ErrUnwritable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if b, err := d.Read("a"); err != nil || string(b) != "old" {
			t.Errorf("%q, %v", b, err)
		}
		_ = os.Remove(ballast)
		if err := errors.Join(d.Probe(), d.Write("a", []byte("new"))); err != nil {
			t.Errorf("with room again: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(path, "state", tmpPrefix+"*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestDiskThatBecomesReadOnly(t *testing.T) {
	tmpfs(t, "64k", func(path string) {
		d, err := Open(filepath.Join(path, "state"))
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		if err := errors.Join(d.Write("a", []byte("old")), syscall.Mount("", path, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{"write": d.Write("a", nil), "remove": d.Remove("a"), "probe": d.Probe()} {
			if !errors.Is(err, ErrUnwritable) || !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "mounted read-only") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if s, err := d.Space(); err != nil || !s.ReadOnly || s.Free == 0 {
			t.Errorf("%+v, %v", s, err)
		}
		if b, err := d.Read("a"); err != nil || string(b) != "old" {
			t.Errorf("%q, %v", b, err)
		}
		if err := errors.Join(syscall.Mount("", path, "", syscall.MS_REMOUNT, ""), d.Write("a", []byte("new"))); err != nil {
			t.Errorf("writable again: %v", err)
		}
	})
}

// What root writes into the folder of a daemon that runs as another user, that daemon can read.
func TestRootWritesForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	base, err := os.MkdirTemp("/tmp", "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	path := filepath.Join(base, "state")
	if err := errors.Join(os.Chmod(base, 0o755), os.Mkdir(path, 0o700), os.Chown(path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	if err := d.Write("a", []byte("by root")); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	if _, err := Open(path, func(map[string][]byte) (map[string][]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	all := 0
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, _ error) error {
		fi, err := os.Lstat(p)
		if err != nil {
			t.Error(err)
			return nil
		}
		all++
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != 65534 || st.Gid != 65534 {
			t.Errorf("%s belongs to %d:%d", p, st.Uid, st.Gid)
		}
		return nil
	})
	if all < 7 { // the folder, version, lock, a, and the backup with two files
		t.Errorf("%d files", all)
	}
}

// A folder of another writer's is left as it is by everything.
func TestForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	makeV1(t, path)
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := d.Foreign()
	if err != nil {
		t.Fatal(err)
	}
	if m := mode(t, folder); m != 0o700 {
		t.Errorf("mode %v", m)
	}
	if err := os.WriteFile(filepath.Join(folder, "big"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Foreign(); err != nil || again != folder {
		t.Errorf("the second time: %q, %v", again, err)
	}
	if err := d.Write(filepath.Base(folder), nil); !errors.Is(err, ErrName) {
		t.Errorf("write to its name: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := holds(path, stateV3, testSteps...); err != nil {
		t.Errorf("upgraded: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(folder, "big")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(path, testSteps...); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Foreign(); !errors.Is(err, ErrUnwritable) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a file in its place: %v", err)
	}
}
