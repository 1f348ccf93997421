package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
)

// onSmallDisk runs f with a directory on a file system of 256 KiB, which fill fills to the last byte. Both live in a mount
// namespace of f's thread.
func onSmallDisk(t *testing.T, f func(dir string, fill func() (undo func()))) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a full disk is not tried: only root can mount one")
	}
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := errors.Join(
			syscall.Unshare(syscall.CLONE_NEWNS),
			syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
			syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"),
		); err != nil {
			t.Error(err)
			return
		}
		f(dir, func() func() {
			ballast := filepath.Join(dir, "ballast")
			_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // as much as fits
			return func() { _ = os.Remove(ballast) }
		})
	}()
	<-done
}

func openKeeper(t *testing.T, path string) (*keeper, *bytes.Buffer) {
	t.Helper()
	dir, err := openState(path)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	k, log := newKeeper(dir), &bytes.Buffer{}
	k.log = slog.New(slog.NewTextHandler(log, nil))
	return k, log
}

// While the disk is full the node runs, says so, and loses nothing that it acknowledged; once there is room, what
// waited is written without anybody's help.
func TestFullDiskIsSaidAndMended(t *testing.T) {
	onSmallDisk(t, func(dir string, fill func() func()) {
		k, log := openKeeper(t, filepath.Join(dir, "state"))
		if k == nil {
			return
		}
		defer k.Close()
		d := &Daemon{store: k, log: k.log, jobs: newMailbox[func()]()}
		d.persistLabels(node.LabelState{Next: 1})
		d.flush()
		if got := strings.Join(k.Troubles(), " "); !strings.Contains(got, "less than 1024 KiB left") {
			t.Errorf("256 KiB pass for plenty: %q", got)
		}
		empty := fill()
		d.persistLabels(node.LabelState{Next: 2})
		d.persistLabels(node.LabelState{Next: 3})
		d.flush()
		d.store.Look()
		if got := strings.Join(k.Troubles(), "\n"); !strings.Contains(got, "labels.json") || !strings.Contains(got, "no space left") || !strings.Contains(got, "free some space") {
			t.Errorf("troubles: %q", got)
		}
		if n := strings.Count(log.String(), "file=labels.json"); n != 1 {
			t.Errorf("the log says it %d times:\n%s", n, log)
		}
		if b, err := k.Read(labelsFile); err != nil || !strings.Contains(string(b), `"next":1`) {
			t.Errorf("the old labels are gone: %s, %v", b, err)
		}
		empty()
		k.Look()
		if b, err := k.Read(labelsFile); err != nil || !strings.Contains(string(b), `"next":3`) {
			t.Errorf("what waited was not written: %s, %v", b, err)
		}
		if got := strings.Join(k.Troubles(), "\n"); strings.Contains(got, "labels.json") {
			t.Errorf("mended, and still: %s", got)
		}
		if !strings.Contains(log.String(), "the state can be written again") {
			t.Errorf("the log does not say that it is over:\n%s", log)
		}
	})
}

// A newer write of a file takes the place of one that waits.
func TestWhatWaitsIsNotWrittenOverNewer(t *testing.T) {
	onSmallDisk(t, func(dir string, fill func() func()) {
		k, _ := openKeeper(t, filepath.Join(dir, "state"))
		if k == nil {
			return
		}
		defer k.Close()
		empty := fill()
		k.Keep("a", []byte("old"))
		if err := k.Write("b", []byte("told")); !errors.Is(err, disk.ErrUnwritable) {
			t.Error(err)
		}
		if n := len(k.Troubles()); n < 2 {
			t.Errorf("%d troubles", n)
		}
		empty()
		if err := k.Write("a", []byte("new")); err != nil {
			t.Error(err)
		}
		k.Look()
		if b, err := k.Read("a"); string(b) != "new" {
			t.Errorf("%q, %v", b, err)
		}
		if k.Exists("b") {
			t.Error("what its writer was told to have failed was written")
		}
		for _, s := range k.Troubles() {
			if !strings.Contains(s, "less than 1024 KiB left") {
				t.Errorf("still: %s", s)
			}
		}
	})
}

// What an authority cannot keep it does not promise: no token, no SVID, and the registry in memory is the one on disk.
func TestAuthorityOnAFullDisk(t *testing.T) {
	onSmallDisk(t, func(dir string, fill func() func()) {
		state := filepath.Join(dir, "alpha")
		if _, err := Init(t.Context(), InitOptions{State: state, TrustDomain: testDomain, Name: testAlpha}); err != nil {
			t.Error(err)
			return
		}
		k, _ := openKeeper(t, state)
		if k == nil {
			return
		}
		defer k.Close()
		a, err := authority.Open(k, 0)
		if err != nil {
			t.Error(err)
			return
		}
		empty := fill()
		ask := func() error {
			_, err := a.CreateToken(authority.TokenOptions{Node: testBeta, Addresses: []string{"192.0.2.1:7420"}}, time.Now())
			return err
		}
		if err := ask(); !errors.Is(err, disk.ErrUnwritable) || len(a.Tokens()) != 0 {
			t.Errorf("a token: %v, remembered %v", err, a.Tokens())
		}
		if _, err := a.RenewSelf(time.Now()); !errors.Is(err, disk.ErrUnwritable) {
			t.Errorf("a renewal: %v", err)
		}
		empty()
		if err := ask(); err != nil || len(a.Tokens()) != 1 {
			t.Errorf("with room again: %v, %v", err, a.Tokens())
		}
		if again, err := authority.Open(k, 0); err != nil || len(again.Tokens()) != 1 {
			t.Errorf("after a restart: %v", err)
		}
	})
}

// What is queued when the daemon ends is done.
func TestQueuedWritesSurviveTheEnd(t *testing.T) {
	k, _ := openKeeper(t, filepath.Join(t.TempDir(), "state"))
	defer k.Close()
	d := &Daemon{store: k, log: k.log, jobs: newMailbox[func()]()}
	d.persistLabels(node.LabelState{Next: 7})
	d.flush()
	if b, err := k.Read(labelsFile); err != nil || !strings.Contains(string(b), `"next":7`) {
		t.Errorf("%s, %v", b, err)
	}
}
