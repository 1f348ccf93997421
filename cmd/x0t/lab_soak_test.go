package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

func soakArgs(t *testing.T, more ...string) []string {
	return append([]string{"lab", "soak", "--out", filepath.Join(t.TempDir(), "out")}, more...)
}

func TestSoakRefusesNonsense(t *testing.T) {
	for want, args := range map[string][]string{
		"--maps is missing":      nil,
		"no kind \"quake\"":      {"--maps", "ring:4", "--kinds", "cut,quake"},
		"--piece is 2 to 60":     {"--maps", "ring:4", "--piece", "61"},
		"nothing is left to run": {"--maps", "ring:61", "--no-sim"},
		"there are no maps":      {"--maps", t.TempDir()},
		"use one of line:N":      {"--maps", "nowhere"},
		"unknown flag: --minute": {"--minute"},
	} {
		if _, errs, code := runArgs(t.Context(), "", soakArgs(t, args...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, %s; want %q", args, code, errs, want)
		}
	}
}

// Directories stand for the maps in them; what is larger than a lab goes to the simulator whole and to the lab in part.
func TestSoakPlan(t *testing.T) {
	dir := t.TempDir()
	for name, spec := range map[string]string{"small.topo": "ring:5", "large.topo": "grid:8x8"} {
		m, err := topology.Builtin(spec)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), m.Format(), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a := &app{err: t.Output(), out: t.Output(), now: func() time.Time { return noon }}
	s, err := a.newSoak(soakFlags{maps: dir + ",diamond", kinds: "all", out: filepath.Join(dir, "out"), piece: 10, seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	var plan []string
	for _, step := range s.steps {
		plan = append(plan, step.engine()+" "+step.m.Name)
	}
	want := []string{"lab diamond", "lab ring:5", "lab grid:8x8#10", "sim grid:8x8"}
	if !slices.Equal(plan, want) || !slices.Equal(s.kinds, fault.Kinds()) || s.all != 4*(1+len(fault.Kinds())) {
		t.Errorf("%q, %v, %d cells; want %q", plan, s.kinds, s.all, want)
	}
}

// The simulator's part of a soak fills its cells, and does not do again what is done.
func TestSoakInTheSimulator(t *testing.T) {
	dir := t.TempDir()
	soak := func() *soaking {
		a := &app{err: t.Output(), out: t.Output(), now: func() time.Time { return noon }}
		s, err := a.newSoak(soakFlags{maps: "grid:7x9", kinds: "cut,kill", out: dir, seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		s.steps = slices.DeleteFunc(s.steps, func(s soakStep) bool { return !s.sim })
		return s
	}
	s := soak()
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.table.Cells) != 3 || s.done != 3 || s.left > 1e-9 {
		t.Fatalf("%+v", s.table.Cells)
	}
	for _, c := range s.table.Cells {
		if c.Verdict != lab.Healed || c.Engine != "sim" || c.Nodes != 63 {
			t.Errorf("%+v", c)
		}
	}
	if err := s.broke(s.steps[0], errors.New("no room\nmore")); err != nil || len(s.table.Failures()) != 1 || s.table.Failures()[0].Note != "no room" {
		t.Errorf("%v, %+v", err, s.table.Failures())
	}
	again := soak()
	if err := again.run(t.Context()); err != nil || again.fresh != 0 || again.done != 3 {
		t.Errorf("%v of work done again, %v", again.fresh, err)
	}
	if f := again.table.Failures(); len(f) > 0 {
		t.Errorf("the map was run to its end, and the table still says %+v", f)
	}
	if _, err := os.Stat(filepath.Join(dir, "soak.html")); err != nil {
		t.Error(err)
	}
}
