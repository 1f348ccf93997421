package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm()
}

func TestWriteReadSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	d := open(t, path)
	if d.Path() != path || mode(t, path) != 0o700 {
		t.Errorf("%s has mode %v", d.Path(), mode(t, path))
	}
	if d.Exists("svid.pem") {
		t.Error("exists before it is written")
	}
	if _, err := d.Read("svid.pem"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, b := range []string{"first", "", "second, which is longer", "3"} {
		if err := d.Write("svid.pem", []byte(b)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Read("svid.pem"); err != nil || string(got) != b {
			t.Errorf("%q, %v", got, err)
		}
	}
	if m := mode(t, filepath.Join(path, "svid.pem")); m != 0o600 {
		t.Errorf("mode %v", m)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	if got, err := d.Read("svid.pem"); err != nil || string(got) != "3" || !d.Exists("svid.pem") {
		t.Errorf("%q, %v", got, err)
	}
	if names, err := d.List(); err != nil || fmt.Sprint(names) != "[svid.pem]" {
		t.Errorf("%v, %v", names, err)
	}
	for range 2 { // removing what is gone is no error
		if err := d.Remove("svid.pem"); err != nil || d.Exists("svid.pem") {
			t.Error(err)
		}
	}
}

func TestOpenTightensTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if m := mode(t, path); m != 0o700 {
		t.Errorf("mode %v", m)
	}
}

func TestSecondOpenNamesTheHolder(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	_, err := Open(path)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())+" ") {
		t.Errorf("while it is held: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

// A process that is killed leaves no lock behind. The test binary is the other process.
func TestKilledProcessLeavesNoLock(t *testing.T) {
	if path := os.Getenv("DISK_TEST_HOLD"); path != "" {
		if _, err := Open(path); err != nil {
			t.Fatal(err)
		}
		fmt.Println("held")
		select {}
	}
	path := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLeavesNoLock$")
	cmd.Env = append(os.Environ(), "DISK_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4)
	if _, err := out.Read(line); err != nil || string(line) != "held" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("while it lives: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	open(t, path)
}

func TestOpenRefusesWhatIsNotItsState(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string
		want          error
	}{
		"someone's folder": {"notes.txt", "x", ErrNotState},
		"newer format":     {versionFile, "2\n", ErrNewer},
		"odd version":      {versionFile, "two\n", ErrNotState},
		"version zero":     {versionFile, "0\n", ErrNotState},
		"own format":       {versionFile, "1\n", nil},
		"lost+found":       {"lost+found", "", nil},
	} {
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, c.file), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil {
			_ = d.Close()
		} else if left, _ := os.ReadDir(path); len(left) != 1 {
			t.Errorf("%s: it was touched: %v", name, left)
		}
	}
}

func TestInterruptedWriteIsCleared(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Write("a", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	torn := filepath.Join(path, tmpPrefix+"1")
	if err := os.WriteFile(torn, []byte("hal"), 0o600); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	if _, err := os.Stat(torn); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if b, err := d.Read("a"); err != nil || string(b) != "whole" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestNames(t *testing.T) {
	d := open(t, t.TempDir())
	for _, name := range []string{"", ".", "..", ".hidden", "a/b", "../a", "Ä", "A", "version", "lock", "lost+found", strings.Repeat("a", 201)} {
		if err := d.Write(name, nil); !errors.Is(err, ErrName) {
			t.Errorf("Write %q: %v", name, err)
		}
		if _, err := d.Read(name); !errors.Is(err, ErrName) {
			t.Errorf("Read %q: %v", name, err)
		}
		if err := d.Remove(name); !errors.Is(err, ErrName) || d.Exists(name) {
			t.Errorf("Remove %q: %v", name, err)
		}
	}
}

// asThread runs f on a thread of its own, which ends with it: what f changes about its thread stays there.
func asThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		f()
	}()
	<-done
}

// asNobody runs f without root's power over files.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	asThread(t, func() {
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); e != 0 {
			t.Error(e)
			return
		}
		f()
	})
}

func TestUnwritable(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(base, "file")); !errors.Is(err, ErrUnwritable) {
		t.Errorf("a file in its place: %v", err)
	}
	if _, err := Open(filepath.Join(base, "file", "state")); !errors.Is(err, ErrUnwritable) || !strings.Contains(err.Error(), "a file stands") {
		t.Errorf("a file above it: %v", err)
	}
	readonly := filepath.Join(base, "readonly")
	if err := os.Mkdir(readonly, 0o555); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(base, 0o755)
	asNobody(t, func() {
		for _, path := range []string{readonly, filepath.Join(readonly, "state")} {
			if _, err := Open(path); !errors.Is(err, ErrUnwritable) || !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	_ = os.Chmod(readonly, 0o700)
	open(t, readonly) // the same without the defect
}

func TestFailedWriteLeavesTheOldBytes(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Write("a", []byte("old")); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if os.Geteuid() != 0 {
			_ = os.Chmod(path, 0o500)
		}
		if err := d.Write("a", []byte("new")); !errors.Is(err, ErrUnwritable) {
			t.Errorf("write: %v", err)
		}
		if err := d.Remove("a"); !errors.Is(err, ErrUnwritable) {
			t.Errorf("remove: %v", err)
		}
	})
	_ = os.Chmod(path, 0o700)
	if b, err := d.Read("a"); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	// A folder of that name: the rename fails, and nothing is left behind.
	if err := os.Mkdir(filepath.Join(path, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Write("b", nil); !errors.Is(err, ErrUnwritable) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(path, tmpPrefix+"*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := d.Read("b"); err == nil {
		t.Error("read a folder")
	}
}

func TestHintsNameTheRemedy(t *testing.T) {
	for cause, hint := range map[error]string{
		syscall.ENOSPC: "free some space", syscall.EROFS: "read-only", syscall.EACCES: "X0T_STATE", syscall.EIO: "check the owner",
	} {
		if err := unwritable("/x", cause); !strings.Contains(err.Error(), hint) || !errors.Is(err, cause) {
			t.Error(err)
		}
	}
}

func TestConcurrentWritesAreWhole(t *testing.T) {
	d := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if err := d.Write("a", bytes.Repeat([]byte{byte('a' + i)}, 1000)); err != nil {
					t.Error(err)
				}
				if b, err := d.Read("a"); err != nil || len(b) != 1000 || len(bytes.Trim(b, string(b[:1]))) != 0 {
					t.Errorf("torn: %d bytes, %v", len(b), err)
				}
			}
		})
	}
	wg.Wait()
}
