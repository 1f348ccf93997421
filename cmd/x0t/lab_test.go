package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/fault"
)

func TestMain(m *testing.M) {
	if code, ok := lab.Helper(); ok {
		os.Exit(code)
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
