package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
)

func ls(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A snapshot is for its owner alone, and replaces another only when told to, and only whole.
func TestSnapshotFile(t *testing.T) {
	s := &fakeShared{}
	serveKeys(t, s)
	dir := t.TempDir()
	file := filepath.Join(dir, "mesh.snapshot")
	if _, errs, code := runArgs(t.Context(), "", "state", "snapshot", file); code != exitDone {
		t.Fatal(errs)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	torn := func(w io.Writer) error {
		_, _ = w.Write(make([]byte, 100_000))
		return errors.New("the disk is on fire")
	}
	for name, tc := range map[string]struct {
		snapshot func(io.Writer) error
		args     []string
		says     string
	}{
		"there already":  {nil, nil, "--force replaces it"},
		"torn":           {torn, []string{"--force"}, "unexpected EOF"},
		"not a snapshot": {func(w io.Writer) error { _, err := io.WriteString(w, "<html>"); return err }, []string{"--force"}, "not a snapshot"},
		"another's": {func(w io.Writer) error { _, err := w.Write(snapshotWith(strings.Repeat("ff", 32))); return err }, []string{"--force"},
			"the daemon sent 0 and 0123"},
		"refused": {func(io.Writer) error { return api.Errorf(api.CodeUnavailable, "not settled") }, []string{"--force"}, "not settled"},
	} {
		t.Run(name, func(t *testing.T) {
			s.snapshot = tc.snapshot
			_, errs, code := runArgs(t.Context(), "", append([]string{"state", "snapshot", file}, tc.args...)...)
			b, err := os.ReadFile(file)
			if code != exitFailed || !strings.Contains(errs, tc.says) || err != nil || !bytes.Equal(b, sound) || !slices.Equal(ls(t, dir), []string{"mesh.snapshot"}) {
				t.Errorf("exit %d, %s; %q, %v; %q", code, errs, b, err, ls(t, dir))
			}
		})
	}
}

// A file that appears while a snapshot is fetched stays as it is.
func TestSnapshotDoesNotReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mesh.snapshot")
	serveKeys(t, &fakeShared{snapshot: func(w io.Writer) error {
		if err := os.WriteFile(file, []byte("another's"), 0o600); err != nil {
			return err
		}
		_, err := w.Write(sound)
		return err
	}})
	_, errs, code := runArgs(t.Context(), "", "state", "snapshot", file)
	if b, err := os.ReadFile(file); code != exitFailed || !strings.Contains(errs, "--force replaces it") || err != nil || string(b) != "another's" {
		t.Errorf("exit %d, %s; %q, %v", code, errs, b, err)
	}
}

// Who interrupts a snapshot finds nothing of it.
func TestSnapshotInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	serveKeys(t, &fakeShared{snapshot: func(w io.Writer) error {
		_, _ = w.Write(make([]byte, 100_000))
		cancel()
		return errors.New("interrupted")
	}})
	dir := t.TempDir()
	_, errs, code := runArgs(ctx, "", "state", "snapshot", filepath.Join(dir, "s"))
	if code != exitFailed || len(ls(t, dir)) != 0 {
		t.Errorf("exit %d, %s; %q", code, errs, ls(t, dir))
	}
}

// A file whose bytes are not those that were written is not kept.
func TestSnapshotReadAgain(t *testing.T) {
	dir := t.TempDir()
	f, err := createWhole(filepath.Join(dir, "s"), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("sound")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.tmp.Name(), []byte("wound"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.keep(func(io.Reader) error { return nil }); err == nil || !strings.Contains(err.Error(), "otherwise than it was written") {
		t.Error(err)
	}
	if f.discard(); len(ls(t, dir)) != 0 {
		t.Errorf("%q", ls(t, dir))
	}
}

// A snapshot passes through pipes, and is verified before a daemon is asked to take it.
func TestSnapshotPipes(t *testing.T) {
	serveKeys(t, &fakeShared{})
	out, errs, code := runArgs(t.Context(), "", "state", "snapshot", "-")
	if code != exitDone || out != string(sound) || !strings.Contains(errs, "0 entries of example.mesh by alpha") {
		t.Errorf("snapshot: exit %d, %q, %s", code, out, errs)
	}
	if _, errs, code := runArgs(t.Context(), "", "state", "snapshot", "-", "--json"); code != exitDone || !strings.HasPrefix(errs, `{"domain":"example.mesh"`) {
		t.Errorf("snapshot --json: exit %d, %s", code, errs)
	}
	if out, errs, code := runArgs(t.Context(), string(sound), "state", "restore", "-"); code != exitDone || !strings.Contains(out, "entries: 10 taken") {
		t.Errorf("restore: exit %d, %s%s", code, out, errs)
	}
	if out, errs, code := runArgs(t.Context(), string(sound), "state", "verify", "-"); code != exitDone || !strings.HasPrefix(out, "- is whole") {
		t.Errorf("verify: exit %d, %s%s", code, out, errs)
	}
	file := filepath.Join(t.TempDir(), "torn")
	if err := os.WriteFile(file, sound[:len(sound)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("X0T_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	for _, verb := range []string{"restore", "verify"} {
		if _, errs, code := runArgs(t.Context(), "", "state", verb, file); code != exitFailed || !strings.Contains(errs, "ends too early") {
			t.Errorf("%s of a torn file: exit %d, %s", verb, code, errs)
		}
	}
}

// Long work says how far it is, but not all the time.
func TestProgress(t *testing.T) {
	now := noon
	var said []uint64
	p := &progress{now: func() time.Time { return now }, last: noon, say: func(n uint64) { said = append(said, n) }}
	for range 10 {
		now = now.Add(progressEvery / 4)
		_, _ = p.Write(make([]byte, 100))
	}
	if !slices.Equal(said, []uint64{400, 800}) {
		t.Errorf("%d", said)
	}
}

// A restore that leaves out what may be valid says why, and fails; what merely waits for its time is no failure.
func TestRestoredInPart(t *testing.T) {
	res := api.RestoreResult{Snapshot: snapshotInfo, Taken: 1, Future: 2, Unvouched: 3, Older: 4, Full: 5}
	serveKeys(t, &fakeShared{restored: &res})
	out, errs, code := runArgs(t.Context(), string(sound), "state", "restore", "-")
	for _, line := range []string{"1 taken, 0 known", "2 wait for their time", "3 left out: this node cannot vouch", "4 left out: older", "5 left out: their author's quota"} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not said:\n%s", line, out)
		}
	}
	if code != exitFailed || !strings.Contains(errs, "12 of 0 entries were left out") || strings.Contains(out, "refused") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	res.Unvouched, res.Older, res.Full = 0, 0, 0
	if out, errs, code := runArgs(t.Context(), string(sound), "state", "restore", "-"); code != exitDone {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}
