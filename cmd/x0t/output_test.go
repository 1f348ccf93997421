package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 300 * time.Millisecond: "300ms", 59900 * time.Millisecond: "59s", time.Minute: "1m", 61 * time.Second: "1m1s",
		time.Hour: "1h", 90 * time.Minute: "1h30m", 24 * time.Hour: "1d", 49*time.Hour + 59*time.Minute: "2d1h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
	a := &app{now: func() time.Time { return noon }}
	for at, want := range map[time.Time]string{{}: "-", noon: "0ms ago", noon.Add(-time.Minute): "1m ago", noon.Add(time.Hour): "in 1h"} {
		if got := a.when(at); got != want {
			t.Errorf("when(%v) = %s, want %s", at, got, want)
		}
	}
}

func TestSizeAndPercentAndMs(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_940: "999.9 kB", 999_960: "1.0 MB", 1 << 63: "9.2 EB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for f, want := range map[float64]string{0: "0 %", 0.0001: "<0.1 %", 0.123: "12.3 %", 0.5: "50 %", 1: "100 %"} {
		if got := percent(f); got != want {
			t.Errorf("percent(%v) = %s, want %s", f, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "-", 50 * time.Microsecond: "0.05 ms", 12 * time.Millisecond: "12.0 ms", 2 * time.Second: "2.00 s"} {
		if got := ms(api.Millis(d)).text; got != want {
			t.Errorf("ms(%v) = %s, want %s", d, got, want)
		}
	}
}

// Colours must not move the columns, and must not come unless they are wanted.
func TestTableColours(t *testing.T) {
	show := func(colour bool) string {
		var out strings.Builder
		var tab table
		tab.head("A", "B")
		tab.row(cell{"→", red}, text("x"))
		tab.row(text("long"), text(""))
		tab.print(&app{out: &out, colour: colour})
		return out.String()
	}
	if got, want := show(false), "A     B\n→     x\nlong  -\n"; got != want {
		t.Errorf("plain:\n%q, want\n%q", got, want)
	}
	if got, want := show(true), "\x1b[1mA\x1b[0m     \x1b[1mB\x1b[0m\n\x1b[31m→\x1b[0m     x\nlong  -\n"; got != want {
		t.Errorf("coloured:\n%q, want\n%q", got, want)
	}
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if wantColour(f) || wantColour(&strings.Builder{}) {
		t.Error("colours for something that is no terminal")
	}
}

func TestVersion(t *testing.T) {
	old := version
	version = "v9.9.9"
	defer func() { version = old }()
	out, _, code := runArgs(t.Context(), "", "version", "--json")
	var v map[string]string
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v["version"] != "v9.9.9" || !strings.HasPrefix(v["go"], "go1.") {
		t.Errorf("%d %s %v", code, out, err)
	}
	if out, _, code := runArgs(t.Context(), "", "version"); code != 0 || !strings.HasPrefix(out, "x0t v9.9.9 (go1.") {
		t.Errorf("%d %s", code, out)
	}
}

// Every verb takes --json and says what it is for.
func TestEveryVerbIsDescribed(t *testing.T) {
	isolate(t)
	a := &app{}
	for _, v := range a.verbs() {
		if v.Short == "" {
			t.Errorf("%s has no description", v.Name())
		}
	}
	out, errs, code := runArgs(t.Context(), "")
	if code != exitUsage || out != "" || !strings.Contains(errs, "which command?") {
		t.Errorf("without a verb: %d %s %s", code, out, errs)
	}
	out, _, code = runArgs(t.Context(), "", "completion", "bash")
	if code != 0 || !strings.Contains(out, "__start_x0t") {
		t.Errorf("completion: %d", code)
	}
}

// endless is a fake on which a ping ends only when the caller goes.
type endless struct{ fake }

func (endless) Ping(ctx context.Context, _ api.PingRequest, emit func(api.PingReply) error) error {
	if err := emit(api.PingReply{Seq: 1, RTT: msec(1)}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// stopper ends a context when something was written to it.
type stopper struct {
	strings.Builder
	stop context.CancelFunc
}

func (s *stopper) Write(b []byte) (int, error) {
	s.stop()
	return s.Builder.Write(b)
}

func TestInterruptedPingSumsUp(t *testing.T) {
	isolate(t)
	socket := shortDir(t) + "/s"
	serveBackend(t, socket, endless{})
	ctx, cancel := context.WithCancel(t.Context())
	out := &stopper{stop: cancel}
	code := Run(ctx, []string{"ping", "gamma", "-c", "0", "--socket", socket}, strings.NewReader(""), out, os.Stderr)
	if code != exitDone || !strings.Contains(out.String(), "gamma: 1 sent, 1 received, 0 % lost") {
		t.Errorf("%d %s", code, out.String())
	}
}
