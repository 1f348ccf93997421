package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/sim/campaign"
)

// A campaign tells what was promised and kept; the same seeds give the same, and one seed alone can be run.
func TestSimCampaign(t *testing.T) {
	isolate(t)
	run := func(args ...string) map[string]any {
		t.Helper()
		out, errs, code := runArgs(t.Context(), "", append([]string{"sim", "campaign", "--nodes", "5-8", "--json", "--out", t.TempDir()}, args...)...)
		var r map[string]any
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitDone {
			t.Fatalf("%v: exit %d, %s%s", args, code, out, errs)
		}
		return r
	}
	a, b := run("--seeds", "2", "--seed", "11"), run("--seeds", "2", "--seed", "11")
	if a["seeds"] != 2.0 || a["failed"] != 0.0 || a["guarded_packets"] == 0.0 || a["packets_sent"] != b["packets_sent"] {
		t.Errorf("%v\n%v", a, b)
	}
	if one := run("--seed", "12"); one["seeds"] != 1.0 || one["first_seed"] != 12.0 {
		t.Errorf("one seed: %v", one)
	}
	out, _, code := runArgs(t.Context(), "", "sim", "campaign", "--nodes", "5", "--seeds", "1", "--out", t.TempDir())
	for _, want := range []string{"seeds", "1 from 1 on, 5 to 5 nodes", "protected", "failed", "switches"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q in\n%s", code, want, out)
		}
	}
}

func TestSimCampaignUsage(t *testing.T) {
	isolate(t)
	for want, args := range map[string][]string{
		"write for example 10-20": {"campaign", "--nodes", "many"},
		"the smaller number":      {"campaign", "--nodes", "9-8"},
		"0 seeds":                 {"campaign", "--seeds", "0"},
		"unknown command":         {"campaign", "ring:4"},
		"write FROM:TO":           {"ring:4", "--between", "n1"},
		"two nodes of the map":    {"ring:4", "--between", "n1:n9"},
		"--liars":                 {"ring:4", "--liars", "UP"},
		"not a liar":              {"ring:4", "--liars", "n9"},
		"a share from 0 to 1":     {"ring:4", "--slander", "NaN"},
		"not a graph":             {"paths", "--nodes", "1"},
	} {
		_, errs, code := runArgs(t.Context(), "", append([]string{"sim"}, args...)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, want one about %q: %s", args, code, want, errs)
		}
	}
}

// Failures become files that x0t sim takes as they are, and the campaign a failure that names the command.
func TestSimCampaignFails(t *testing.T) {
	isolate(t)
	dir := filepath.Join(t.TempDir(), "a b")
	r := &campaign.Result{Seeds: 3, Failed: 1, Failures: []campaign.Failure{{
		Seed: 7, Error: "a packet was lost", Map: "link a b\nlink b c\n", Faults: "cut link:a-b at 2s\n", Args: "--seed 7 --duration 5s --between a:c --protect --promises",
	}}}
	var out, errs strings.Builder
	a := &app{out: &out, err: &errs, began: true}
	err := a.campaignDone(r, nil, dir)
	code := a.report(err)
	if command := "x0t sim --topology '" + dir + "/7.topo' --faults '" + dir + "/7.faults' --seed 7"; code != exitFailed ||
		!strings.Contains(errs.String(), "1 of 3 seeds failed") || !strings.Contains(errs.String(), command) || !strings.Contains(out.String(), "a packet was lost") {
		t.Errorf("exit %d:\n%s%s", code, out.String(), errs.String())
	}
	text, more, code := runArgs(t.Context(), "", "sim", "--topology", filepath.Join(dir, "7.topo"), "--faults", filepath.Join(dir, "7.faults"),
		"--seed", "7", "--duration", "5s", "--between", "a:c", "--protect", "--promises")
	if code != exitDone || !strings.Contains(text, "protected") {
		t.Errorf("exit %d:\n%s%s", code, text, more)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.campaignDone(r, nil, file); err == nil || !strings.Contains(err.Error(), "--out") {
		t.Errorf("files where none can be: %v", err)
	}
	if err := a.campaignDone(&campaign.Result{Seeds: 90}, campaign.ErrProvesNothing, dir); !errors.Is(err, campaign.ErrProvesNothing) {
		t.Errorf("a campaign that proves nothing: %v", err)
	}
}

// Who does not look at a terminal is told each ten seconds.
func TestCampaignProgress(t *testing.T) {
	var errs strings.Builder
	now := time.Unix(0, 0)
	a := &app{err: &errs, now: func() time.Time { return now }}
	tell := a.campaignProgress(campaign.Plan{Seeds: 100})
	for done := range uint64(30) {
		now = now.Add(time.Second)
		tell(done+1, done/20)
	}
	if got := errs.String(); strings.Count(got, "\n") != 3 || !strings.HasSuffix(got, "30 of 100 seeds, 1 failed, 1 a second\n") {
		t.Errorf("told:\n%s", got)
	}
}

func TestSimPaths(t *testing.T) {
	isolate(t)
	out, errs, code := runArgs(t.Context(), "", "sim", "paths", "--nodes", "20,30", "--runs", "3", "--json")
	var got []map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone || len(got) != 2 || got[1]["nodes"] != 30.0 || got[0]["tree_ms"] == nil {
		t.Errorf("exit %d: %v %s%s", code, err, out, errs)
	}
	if out, _, code := runArgs(t.Context(), "", "sim", "paths", "--nodes", "20", "--runs", "3"); code != exitDone || !strings.Contains(out, "tree after a change") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestSimScale(t *testing.T) {
	isolate(t)
	args := []string{"sim", "scale", "--nodes", "8,30", "--most", "8", "--runs", "3", "--duration", "20s"}
	out, errs, code := runArgs(t.Context(), "", append(args, "--json")...)
	var got []struct {
		Member, Paths, Mesh map[string]any
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone || len(got) != 2 {
		t.Fatalf("exit %d: %v %s%s", code, err, out, errs)
	}
	if got[0].Mesh["converged_ms"] == 0.0 || got[0].Mesh["churn_bytes_per_second"] == 0.0 || got[1].Mesh != nil || got[1].Member["nodes"] != 30.0 || got[1].Paths["tree_ms"] == nil {
		t.Errorf("%+v", got)
	}
	if out, _, code := runArgs(t.Context(), "", args...); code != exitDone || !strings.Contains(out, "control at rest, B/s") || !strings.Contains(out, "–") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	for want, args := range map[string][]string{"20s at least": {"--duration", "1s"}, "0 nodes": {"--nodes", "0"}, "0 runs": {"--runs", "0"}} {
		if _, errs, code := runArgs(t.Context(), "", append([]string{"sim", "scale"}, args...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, want one about %q: %s", args, code, want, errs)
		}
	}
}
