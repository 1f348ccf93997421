package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"x0tta6bl4/bench"
)

func TestBenchRefusesNonsense(t *testing.T) {
	for want, line := range map[string]string{
		"--offload half: it is on or off":  "throughput --offload half",
		"17 hops: this compares":           "throughput --hops 17",
		"no such peer: \"openvpn\"":        "throughput --peer veth,openvpn",
		"it needs 1 s":                     "throughput --time 1ms",
		"at least one run":                 "throughput --runs -1",
		"--profile slow: it is default or": "failover --profile slow",
		"not a fault: \"quake\"":           "failover --faults cut,quake",
		"-5 trials: use 1 to 100000":       "failover --trials -5",
		"no such peer: \"veth\"":           "failover --peer veth",
		"\"x\" is one argument too many":   "failover x",
		"which command?":                   "",
	} {
		if _, errs, code := runArgs(t.Context(), "", append([]string{"bench"}, strings.Fields(line)...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %s; want %q", line, code, errs, want)
		}
	}
}

// A report goes to its files and to the output, as text or as JSON.
func TestBenchTells(t *testing.T) {
	for asJSON, want := range map[bool]string{false: "# Throughput: direct", true: `"ratio":{}`} {
		var out, errs strings.Builder
		a := &app{out: &out, err: &errs, json: asJSON}
		dir := filepath.Join(t.TempDir(), "out")
		r := &bench.ThroughputReport{Hops: 1, Ratio: map[string]float64{}}
		if err := a.benchTell(dir, "throughput", r); err != nil || !strings.Contains(out.String(), want) || !strings.Contains(errs.String(), "throughput.html") {
			t.Errorf("%v, %s%s", err, &out, &errs)
		}
		for _, ending := range []string{".json", ".md", ".html"} {
			if info, err := os.Stat(filepath.Join(dir, "throughput"+ending)); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", ending, err)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&app{out: t.Output(), err: t.Output()}).benchTell(file, "x", &bench.ThroughputReport{}); !errors.Is(err, os.ErrExist) && !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a report in a file: %v", err)
	}
}
