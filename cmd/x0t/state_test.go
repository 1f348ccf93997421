package main

import (
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
		"there already": {nil, nil, "--force replaces it"},
		"torn":          {torn, []string{"--force"}, "unexpected EOF"},
		"refused":       {func(io.Writer) error { return api.Errorf(api.CodeUnavailable, "not settled") }, []string{"--force"}, "not settled"},
	} {
		t.Run(name, func(t *testing.T) {
			s.snapshot = tc.snapshot
			_, errs, code := runArgs(t.Context(), "", append([]string{"state", "snapshot", file}, tc.args...)...)
			b, err := os.ReadFile(file)
			if code != exitFailed || !strings.Contains(errs, tc.says) || err != nil || string(b) != "all there is\n" || !slices.Equal(ls(t, dir), []string{"mesh.snapshot"}) {
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
		_, err := io.WriteString(w, "new")
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
	if err := f.keep(); err == nil || !strings.Contains(err.Error(), "otherwise than it was written") {
		t.Error(err)
	}
	if f.discard(); len(ls(t, dir)) != 0 {
		t.Errorf("%q", ls(t, dir))
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
