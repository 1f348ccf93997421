package resolver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var table = Names{Forward: "example.mesh.", Reverse: "b.a.1.f.3.4.1.9.4.6.d.f.ip6.arpa.", Server: alphaHost.Addr, Interface: "x0t0", Hosts: []Host{alphaHost, betaHost}}

func hostsFile(t *testing.T, text string) (path string, h *Hosts) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, NewHosts(path, owner)
}

func says(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		t.Errorf("%s: %v\n got %q\nwant %q", path, err, b, want)
	}
}

const withBoth = begin + "fd64:9143:f1ab::1 alpha.example.mesh\nfd64:9143:f1ab::2 beta.example.mesh\n" + end

func TestHostsSetAndUndo(t *testing.T) {
	path, h := hostsFile(t, "::1 localhost\n")
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	var was unix.Stat_t
	if err := unix.Stat(path, &was); err != nil {
		t.Fatal(err)
	}
	if err := h.Fit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Set(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	says(t, path, "::1 localhost\n"+withBoth)
	var is, again unix.Stat_t
	if err := unix.Stat(path, &is); err != nil || is.Mode != was.Mode || is.Uid != was.Uid || is.Gid != was.Gid || is.Ino == was.Ino {
		t.Errorf("%v: was %+v, is %+v", err, was, is)
	}
	if err := h.Set(t.Context(), table); err != nil { // nothing to do
		t.Fatal(err)
	}
	if err := unix.Stat(path, &again); err != nil || again.Ino != is.Ino || again.Mtim != is.Mtim {
		t.Error("a file that says what it should was written")
	}
	for range 2 {
		if err := h.Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
		says(t, path, "::1 localhost\n")
	}
	alone(t, path)
}

// alone fails the test if something else than the file is in its folder.
func alone(t *testing.T, path string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(es) != 1 {
		t.Errorf("%v, %v", es, err)
	}
}

// What another program writes between our reading and our writing is there afterwards, whether it writes into the file
// or puts another in its place.
func TestHostsLosesNoEdit(t *testing.T) {
	for what, other := range map[string]func(path string) error{
		"into the file": func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(p, append(b, "192.0.2.1 printer\n"...), 0o644)
		},
		"in its place": func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(p+".new", append(b, "192.0.2.1 printer\n"...), 0o644); err != nil {
				return err
			}
			return os.Rename(p+".new", p)
		},
	} {
		t.Run(what, func(t *testing.T) {
			path, h := hostsFile(t, "::1 localhost\n")
			times := 0
			h.between = func() {
				if times++; times <= 3 {
					if err := other(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := h.Set(t.Context(), table); err != nil {
				t.Fatal(err)
			}
			if times != 4 {
				t.Errorf("tried %d times", times)
			}
			says(t, path, "::1 localhost\n"+strings.Repeat("192.0.2.1 printer\n", 3)+withBoth)
			alone(t, path)
			// Without an end the last state is theirs, and we say so.
			h.between = func() { _ = other(path) }
			if err := h.Undo(t.Context()); err == nil || !strings.Contains(err.Error(), "again and again") {
				t.Errorf("%v", err)
			}
			alone(t, path)
		})
	}
}

// A file that cannot be replaced is written in place: one with a mount of its own, as in containers, and one with
// several names.
func TestHostsInPlace(t *testing.T) {
	t.Run("two names", func(t *testing.T) {
		path, h := hostsFile(t, "::1 localhost\n")
		second := filepath.Join(t.TempDir(), "second")
		if err := os.Link(path, second); err != nil {
			t.Skipf("no hard links here: %v", err)
		}
		inPlace(t, path, h)
		says(t, second, "::1 localhost\n")
	})
	t.Run("mount", func(t *testing.T) {
		path, h := hostsFile(t, "::1 localhost\n")
		onMount(t, path)
		inPlace(t, path, h)
	})
	t.Run("symbolic link", func(t *testing.T) {
		path, _ := hostsFile(t, "::1 localhost\n")
		link := filepath.Join(t.TempDir(), "hosts")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		h := NewHosts(link, owner)
		if err := h.Set(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		says(t, path, "::1 localhost\n"+withBoth)
		if fi, err := os.Lstat(link); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%v, %v", fi, err)
		}
	})
}

func inPlace(t *testing.T, path string, h *Hosts) {
	t.Helper()
	var was, is unix.Stat_t
	if err := unix.Stat(path, &was); err != nil {
		t.Fatal(err)
	}
	if err := h.Set(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	says(t, path, "::1 localhost\n"+withBoth)
	if err := unix.Stat(path, &is); err != nil || is.Ino != was.Ino {
		t.Errorf("another file: %v", err)
	}
	times := 0
	h.between = func() {
		if times++; times == 1 {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(f, "192.0.2.1 printer")
			f.Close()
		}
	}
	if err := h.Set(t.Context(), Names{Hosts: []Host{alphaHost}}); err != nil {
		t.Fatal(err)
	}
	says(t, path, "::1 localhost\n"+begin+alphaLine+end+"192.0.2.1 printer\n")
	if err := h.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(t, path, "::1 localhost\n192.0.2.1 printer\n")
	if err := os.WriteFile(path, []byte("::1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// onMount gives a file a mount of its own, in a mount namespace that ends with the test's thread.
func onMount(t *testing.T, path string) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Skipf("no mount namespace here: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

// A disk that is full: the file is as it was, to the last byte.
func TestHostsOnAFullDisk(t *testing.T) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Skipf("no mount namespace here: %v", err)
	}
	dir := t.TempDir()
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	text := "::1 localhost\n" + withBoth + "192.0.2.1 printer\n"
	path := filepath.Join(dir, "hosts")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 64<<10), 0o600)
	many := table
	for range 500 {
		many.Hosts = append(many.Hosts, betaHost)
	}
	h := NewHosts(path, owner)
	if err := h.Set(t.Context(), many); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	says(t, path, text)
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := h.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(t, path, "::1 localhost\n192.0.2.1 printer\n")
}

func TestHostsUnfit(t *testing.T) {
	h := NewHosts(filepath.Join(t.TempDir(), "none"), owner)
	if err := h.Fit(t.Context()); !errors.Is(err, ErrUnfit) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := h.Undo(t.Context()); err != nil {
		t.Errorf("nothing to undo: %v", err)
	}
	if err := h.Set(t.Context(), table); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := NewHosts(t.TempDir(), owner).Set(t.Context(), table); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("a folder: %v", err)
	}
}

// What another who was killed left of a file that was to take the place of the old one is no obstacle.
func TestHostsAfterAKilledWrite(t *testing.T) {
	path, h := hostsFile(t, "::1 localhost\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".hosts.x0t-"+owner), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Set(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	says(t, path, "::1 localhost\n"+withBoth)
	alone(t, path)
}
