package daemon

import (
	"bufio"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/core/node"
)

// A step moves the wall clock and nothing that timers and durations go by, as the machine's clock being set does.
func TestSetAhead(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0, time.Millisecond, -1000 * 24 * time.Hour, 1000 * 24 * time.Hour} {
		now := time.Now()
		got := setAhead(now, by)
		if d := got.Sub(now); d != 0 {
			t.Errorf("%s: time itself went by %s", by, d)
		}
		if d := got.Round(0).Sub(now.Round(0)); d != by {
			t.Errorf("%s: the wall clock went by %s", by, d)
		}
		if later := setAhead(now.Add(time.Second), -by); later.Sub(got) != time.Second || !later.After(got) {
			t.Errorf("%s: a second later is %s later", by, later.Sub(got))
		}
		if d := got.Add(time.Minute); d.Sub(now) != time.Minute || d.Round(0).Sub(now.Round(0)) != by+time.Minute {
			t.Errorf("%s: adding a minute to %s gives %s", by, got, d)
		}
	}
	wall := time.Date(2031, 1, 2, 3, 4, 5, 6, time.UTC)
	if got := setAhead(wall, time.Hour); !got.Equal(wall) {
		t.Errorf("a time without a monotonic reading became %s", got)
	}
}

func TestNoLabClockOutsideLabs(t *testing.T) {
	t.Setenv(labClockEnv, "")
	c, err := openLabClock(slog.Default())
	if c != nil || err != nil {
		t.Fatalf("%v, %v", c, err)
	}
	if d := time.Since(c.now()); d < 0 || d > time.Second {
		t.Errorf("the clock is off by %s", d)
	}
	c.close()
}

func TestLabClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock.sock")
	t.Setenv(labClockEnv, path)
	var log strings.Builder
	d := &Daemon{log: slog.New(slog.NewTextHandler(&log, nil)), events: make(chan node.ControlEvent, 16), done: make(chan struct{})}
	var err error
	if d.clock, err = openLabClock(d.log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "LAB ONLY") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the log does not warn: %s", log.String())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	over := make(chan struct{})
	go func() { d.serveLabClock(t.Context()); close(over) }()
	for _, c := range []struct {
		order, answer string
		ahead         time.Duration
	}{
		{`{"offset_ms":3600000}`, `{"offset_ms":3600000}`, time.Hour},
		{`{"offset_ms":-5}`, `{"offset_ms":-5}`, -5 * time.Millisecond},
		{`{"offset_ms":86400000001}`, "from -86400000000 to 86400000000", -5 * time.Millisecond},
		{`{}`, "offset_ms is needed", -5 * time.Millisecond},
		{`what?`, "send one line such as", -5 * time.Millisecond},
		{`{"offset_ms":0}`, `{"offset_ms":0}`, 0},
	} {
		if got := askLabClock(t, path, c.order); !strings.Contains(got, c.answer) {
			t.Errorf("%s: %s, want %s", c.order, got, c.answer)
		}
		if off := d.now().Round(0).Sub(time.Now().Round(0)) - c.ahead; off.Abs() > 500*time.Millisecond {
			t.Errorf("%s: the clock is %s from %s ahead", c.order, off, c.ahead)
		}
	}
	d.clock.close()
	<-over
}

func askLabClock(t *testing.T, path, order string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(order + "\n")); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// What a daemon that was killed left behind is no obstacle; a file of somebody's is, and stays.
func TestLabClockSocketInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	t.Setenv(labClockEnv, path)
	c, err := openLabClock(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLabClock(slog.New(slog.DiscardHandler)); !errors.Is(err, errLabClock) {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzReadLabOrder(f *testing.F) {
	f.Add(`{"offset_ms":3600000}`)
	f.Add(`{"offset_ms":-1}x`)
	f.Add(`{"offset_ms":1e300}`)
	f.Fuzz(func(t *testing.T, order string) {
		if d, err := readLabOrder(strings.NewReader(order)); err == nil && d.Abs() > labClockMost {
			t.Errorf("%q: %s", order, d)
		}
	})
}

// The slow machine hears of every step before it does anything else by the new time, and of nothing smaller.
func TestClockStepsAreNoticed(t *testing.T) {
	d := &Daemon{log: slog.New(slog.DiscardHandler), clock: &labClock{}}
	d.core = node.NewControl(node.Config{Self: testAlpha, Domain: testDomain, Rand: newRand()}, time.Now())
	d.reports = newMailbox[node.ControlEvent]()
	d.orders, d.jobs = newMailbox[node.ReflexEvent](), newMailbox[func()]()
	for _, c := range []struct {
		ahead time.Duration
		steps int
	}{{0, 0}, {time.Hour, 1}, {time.Hour, 0}, {time.Hour + 500*time.Millisecond, 0}, {0, 1}, {-time.Hour, 1}, {0, 1}} {
		d.clock.offset.Store(int64(c.ahead))
		before := d.core.Counters()["clock_set"]
		d.stepControl(node.Tick{})
		if got := d.core.Counters()["clock_set"] - before; got != uint64(c.steps) {
			t.Errorf("at %s ahead: told %d times, want %d", c.ahead, got, c.steps)
		}
	}
}
