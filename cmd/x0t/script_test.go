package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

var update = flag.Bool("update", false, "rewrite testdata/*.script with what the commands print now")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestScripts runs the sessions in testdata. A line "$ x0t …" is run; what follows it is what it prints: stdout as
// it is, stderr after "2| ", and the exit code if it is not 0. "## " is a comment, "$ < TEXT" before a command is its stdin.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			isolate(t)
			dir := shortDir(t)
			t.Setenv("X0T_SOCKET", filepath.Join(dir, "x0t.sock"))
			t.Setenv("X0T_STATE", filepath.Join(dir, "state"))
			t.Setenv("DIR", dir)
			if !strings.HasPrefix(filepath.Base(file), "nodaemon") {
				serveFake(t, filepath.Join(dir, "x0t.sock"))
			}
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(src), dir)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(src) {
				t.Errorf("%s differs (go test -update shows how in git diff); got\n%s", file, got)
			}
		})
	}
}

// isolate keeps the environment of whoever runs the tests out of them.
func isolate(t *testing.T) {
	t.Helper()
	for _, v := range []string{"X0T_CONFIG", "X0T_STATE", "X0T_SOCKET"} {
		t.Setenv(v, "")
	}
}

// shortDir is a directory with a path short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "x0t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func play(t *testing.T, src, dir string) string {
	t.Helper()
	var out strings.Builder
	stdin, skipping := "", false
	for line := range strings.Lines(src) {
		cmd, isCmd := strings.CutPrefix(line, "$ ")
		switch {
		case isCmd && strings.HasPrefix(cmd, "< "):
			stdin = cmd[2:]
			out.WriteString(line)
		case isCmd:
			out.WriteString(line)
			out.WriteString(strings.ReplaceAll(runLine(t, strings.TrimSpace(cmd), stdin), dir, "DIR"))
			stdin, skipping = "", true
		case strings.HasPrefix(line, "## "):
			if skipping {
				out.WriteString("\n")
			}
			out.WriteString(line)
			skipping = false
		}
	}
	return out.String()
}

func runLine(t *testing.T, line, stdin string) string {
	t.Helper()
	args := strings.Fields(os.ExpandEnv(line))
	if len(args) == 0 || args[0] != "x0t" {
		t.Fatalf("not a command of ours: %s", line)
	}
	out, errs, code := runArgs(t.Context(), stdin, args[1:]...)
	for l := range strings.Lines(errs) {
		out += "2| " + l
	}
	if code != 0 {
		out += fmt.Sprintf("exit %d\n", code)
	}
	return out
}

// runArgs is one run of the command at noon.
func runArgs(ctx context.Context, stdin string, args ...string) (stdout, stderr string, code int) {
	var o, e bytes.Buffer
	a := &app{in: strings.NewReader(stdin), out: &o, err: &e, now: func() time.Time { return noon }, machine: quietMachine("testdata/machine")}
	code = a.run(ctx, args)
	return o.String(), e.String(), code
}

func serveFake(t *testing.T, socket string) {
	t.Helper()
	serveOptions(t, api.ServerOptions{Socket: socket, Backend: fake{}, State: fakeKeys(), Config: fakeConfig{}})
}

// fakeKeys is a shared state with keys of every kind.
func fakeKeys() *fakeShared {
	entry := func(key, value string, at time.Time, author mesh.NodeID) api.KVEntry {
		return api.KVEntry{Key: api.Bytes(key), Value: api.Bytes(value), Time: at, Author: author}
	}
	change := func(rev, key, value string) api.KVChange {
		return api.KVChange{Revision: api.Revision(rev), Key: api.Bytes(key), Value: api.Bytes(value), Time: noon.Add(-time.Second), Author: beta, Taken: noon}
	}
	gone, stands := change("j.15", "\xff\x00", ""), change("j.16", "app/text", "two\nlines")
	gone.Deleted, stands.Current = true, true
	return &fakeShared{
		pageSize: 3,
		entries: []api.KVEntry{
			entry("a b", `back\slash`, noon, beta), entry("app/colour", "blue", noon.Add(-time.Minute), beta),
			entry("app/empty", "", noon, gamma), entry("app/logo", "\x89PNG\r\n\x1a\n", noon, gamma), entry("app/long", strings.Repeat("много", 20), noon, gamma),
			entry("app/text", "two\nlines\n", noon, gamma), entry("\xff\x00", "zero", noon.Add(-time.Hour), alpha),
		},
		changes: []api.KVChange{change("j.14", "app/colour", "blue"), gone, stands},
		put: func(key, value []byte) error {
			if strings.HasPrefix(string(key), "x0t/") {
				return api.Errorf(api.CodeForbidden, "keys that begin with \"x0t/\" or a zero byte are the mesh's own").With("choose another key")
			}
			return nil
		},
	}
}

func serveBackend(t *testing.T, socket string, b api.Backend) {
	t.Helper()
	serveOptions(t, api.ServerOptions{Socket: socket, Backend: b})
}

func serveOptions(t *testing.T, opt api.ServerOptions) {
	t.Helper()
	s, err := api.Listen(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
