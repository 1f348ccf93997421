package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/sim"
)

// The same command line gives the same report; so does the one that is printed for a replay.
func TestSimIsReplayed(t *testing.T) {
	isolate(t)
	args := []string{"sim", "--nodes", "6", "--seed", "4", "--duration", "8s", "--faults", "kill node:n2 at 3s for 1s; cut link:n1-n3 at 4s", "--json"}
	reports := map[string]bool{}
	run := func(args ...string) {
		t.Helper()
		out, errs, code := runArgs(t.Context(), "", args...)
		var r map[string]any
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitDone {
			t.Fatalf("%v: exit %d, %s%s", args, code, out, errs)
		}
		if r["real_ms"] == nil || r["nodes"] != 6.0 || r["faults"] != 2.0 || r["converged_ms"] == nil {
			t.Errorf("report %v", r)
		}
		for _, k := range []string{"real_ms", "speed", "events_per_second", "memory_bytes"} { // of this machine, this time
			if r[k] == nil {
				t.Errorf("the report has no %s", k)
			}
			delete(r, k)
		}
		b, _ := json.Marshal(r)
		reports[string(b)] = true
	}
	run(args...)
	run(args...)
	fl := simFlags{nodes: 6, seed: 4, duration: 8 * time.Second, faults: args[8]}
	name, err := fl.topology(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fl.replay(name), "x0t sim geometric:6 --seed 4 --duration 8s --faults '"+args[8]+"'"; got != want {
		t.Errorf("replay:\n%s, want\n%s", got, want)
	}
	run("sim", name, "--seed", "4", "--duration", "8s", "--faults", args[8], "--json")
	if len(reports) != 1 {
		t.Errorf("%d different reports of one simulation", len(reports))
	}
}

func TestSimText(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	file, script := filepath.Join(dir, "two.topo"), filepath.Join(dir, "faults")
	for name, text := range map[string]string{file: "name two\nlink a b\nlink b c\n", script: "cut link:a-b at 2s for 1s # and back\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errs, code := runArgs(t.Context(), "", "sim", "--topology", file, "--faults", script, "--duration", "5s")
	for _, want := range []string{"two: 3 nodes, 2 links, seed 1", "5.0 s in", "invariants  hold", "trace  ", "faults      1"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q in\n%s%s", code, want, out, errs)
		}
	}
	out, _, _ = runArgs(t.Context(), "", "sim", "line:2", "--duration", "1ms")
	if !strings.Contains(out, "never") {
		t.Errorf("a mesh of a millisecond:\n%s", out)
	}
}

func TestSimUsage(t *testing.T) {
	isolate(t)
	for want, args := range map[string][]string{
		"give one of them":     {"ring:4", "--nodes", "3"},
		"nothing to simulate":  {"ring:4", "--duration", "-1s"},
		"cannot be injected":   {"ring:4", "--faults", "cpu node:n1 at 1s"},
		"--faults: fault in":   {"ring:4", "--faults", "cut link:n1-n9 at 1s"},
		"no relay between":     {"line:2", "--faults", "builtin:kill"},
		"from 2 to 5000":       {"--nodes", "1"},
		"one of line:N":        {"circle:5"},
		"not a churn":          {"ring:4", "--churn", "rain=1"},
		"some time between":    {"ring:4", "--packet", "0s"},
		"needs a node":         {"line:3", "--faults", "cut link:n1-n3 at 1s"},
		"unknown flag: --node": {"--node", "1"},
	} {
		_, errs, code := runArgs(t.Context(), "", append([]string{"sim"}, args...)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, want one about %q: %s", args, code, want, errs)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, code := runArgs(ctx, "", "sim", "ring:4"); code != exitFailed {
		t.Errorf("a simulation that was given up ends with %d", code)
	}
}

// A violated invariant is a failure that says how it is seen again.
func TestSimViolation(t *testing.T) {
	var errs strings.Builder
	a := &app{err: &errs, began: true}
	code := a.report(simError(fmt.Errorf("%w: seed 7: a frame met n1 twice", sim.ErrInvariant), "x0t sim ring:4 --seed 7"))
	if want := "x0t: invariant violated: seed 7: a frame met n1 twice\n     the same again: x0t sim ring:4 --seed 7\n"; code != exitFailed || errs.String() != want {
		t.Errorf("exit %d:\n%s, want\n%s", code, errs.String(), want)
	}
	for word, want := range map[string]string{"": "''", "ring:4": "ring:4", "a b": "'a b'", "it's": `'it'\''s'`} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
}
