package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

func TestMain(m *testing.M) {
	if code, ok := lab.Helper(); ok {
		os.Exit(code)
	}
	if filepath.Base(os.Args[0]) == "x0t" {
		main() // for tests that need a process of that name; it does not return
	}
	os.Exit(m.Run())
}

func TestLabOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "two.topo")
	if err := os.WriteFile(file, []byte("name two\nlink a b delay=7ms\nlink c d\nlink d e\nlink d e delay=1ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	a := &app{err: &errs}
	opt, err := a.labOptions(file, labFlags{faults: "cut link:d-e at 1s; kill node:c at 2s for 1s", duration: time.Minute, ttl: 20 * time.Second})
	if err != nil || len(opt.Map.Nodes) != 3 || len(opt.Map.Links) != 2 || opt.Map.Links[1].Delay != time.Millisecond {
		t.Errorf("%+v, %v", opt, err)
	}
	if len(opt.Faults) != 2 || opt.Faults[0].Kind != fault.Cut || opt.Duration != time.Minute || opt.TTL != 20*time.Second || opt.Delay != 0 {
		t.Errorf("%+v", opt)
	}
	if !strings.Contains(errs.String(), "largest, 3 of 5 nodes") {
		t.Errorf("nothing said of the nodes left out: %s", errs.String())
	}
	for delay, want := range map[time.Duration]time.Duration{0: lab.NoDelay, 3 * time.Millisecond: 3 * time.Millisecond} {
		opt, err := a.labOptions("ring:4", labFlags{delay: delay, delayGiven: true})
		if err != nil || opt.Delay != want || opt.Map.Links[0].Delay != 0 {
			t.Errorf("delay %v: %+v, %v", delay, opt, err)
		}
	}
}

func TestHealed(t *testing.T) {
	for name, tc := range map[string]struct {
		r    lab.Report
		want bool
	}{
		"all well":             {lab.Report{Pairs: 2, PairsReachable: 2, Faults: []lab.FaultReport{{PathExisted: true, Recovered: true}}}, true},
		"pair missing":         {lab.Report{Pairs: 2, PairsReachable: 1}, false},
		"not left":             {lab.Report{Faults: []lab.FaultReport{{PathExisted: true}}}, false},
		"there was no way out": {lab.Report{Faults: []lab.FaultReport{{}}}, true},
	} {
		if got := healed(&tc.r); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A piece of a map goes to lab and simulator alike; a map that is too large is refused with what to do instead.
func TestPiecesOfMaps(t *testing.T) {
	for name, want := range map[string]int{"grid:10x10#7": 7, "grid:3x3#60": 9, "../../mesh/topology/testdata/freifunk/berlin.json#60": 60} {
		m, err := (&app{err: t.Output()}).loadMap(name)
		if err != nil || len(m.Nodes) != want || !m.Connected(topology.Broken{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, errs, code := runArgs(t.Context(), "", "lab", "run", "grid:3x3#x"); code != exitUsage || !strings.Contains(errs, "#largest, #partK") {
		t.Errorf("%d: %s", code, errs)
	}
	_, errs, code := runArgs(t.Context(), "", "lab", "run", "grid:10x10")
	for _, want := range []string{"100 nodes", "x0t sim --topology FILE", "FILE#60"} {
		if code == exitDone || !strings.Contains(errs, want) {
			t.Errorf("%d: %s; want %q", code, errs, want)
		}
	}
}

func TestLabsThatAreNotThere(t *testing.T) {
	t.Setenv(lab.RuntimeEnv, t.TempDir())
	for _, args := range [][]string{{"down"}, {"status"}, {"exec", "a"}, {"inject", "cut link:a-b"}, {"mend", "all"}, {"down", "--name", "x"}} {
		if _, errs, code := runArgs(t.Context(), "", append([]string{"lab"}, args...)...); code != exitFailed || !strings.Contains(errs, "no such lab") {
			t.Errorf("%v: %d, %s", args, code, errs)
		}
	}
	if out, _, code := runArgs(t.Context(), "", "lab", "list", "--json"); code != exitDone || out != "{\"labs\":[]}\n" {
		t.Errorf("%d, %s", code, out)
	}
}
