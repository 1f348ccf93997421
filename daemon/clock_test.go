package daemon

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/host/disk"
)

// A machine that sleeps through the time of its renewal must notice soon after it wakes: timers did not run.
func TestWaitUntilNoticesThatTheClockMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		wall := func() time.Time { return time.Now().Add(time.Duration(slept.Load())).Round(0) }
		start := time.Now()
		done := make(chan bool, 1)
		go func() { done <- waitUntil(t.Context(), wall().Add(12*time.Hour), wall) }()
		time.Sleep(time.Hour)
		slept.Store(int64(20 * time.Hour))
		if !<-done {
			t.Error("the wait ended as if its context had")
		}
		if late := time.Since(start) - time.Hour; late > clockCheck {
			t.Errorf("noticed %s after the clock moved, want at most %s", late, clockCheck)
		}
	})
}

func TestWaitUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if !waitUntil(t.Context(), start.Add(100*time.Second), time.Now) || time.Since(start) != 100*time.Second {
			t.Errorf("waited %s, want 100s", time.Since(start))
		}
		if !waitUntil(t.Context(), start, time.Now) {
			t.Error("a time that has passed")
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if waitUntil(ctx, time.Now().Add(time.Hour), time.Now) || waitUntil(ctx, start, time.Now) {
			t.Error("the end of the context went unnoticed")
		}
	})
}

func TestRenewalPause(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		12 * time.Hour: time.Minute, 5 * time.Minute: 30 * time.Second, 2 * time.Minute: 12 * time.Second,
		time.Minute: 6 * time.Second, 5 * time.Second: time.Second, -time.Hour: time.Second,
	} {
		if got := renewalPause(left); got != want {
			t.Errorf("with %s left: %s, want %s", left, got, want)
		}
	}
}

// Every life of a node has a later boot time than the one before, whatever the clock says.
func TestBootTimeNeverGoesBack(t *testing.T) {
	dir, err := disk.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	now := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	begin := func(at time.Time) (incarnation, boot uint64) {
		t.Helper()
		incarnation, boot, err := (&Daemon{store: newKeeper(dir), started: at}).instance()
		if err != nil {
			t.Fatal(err)
		}
		return incarnation, boot
	}
	inc, first := begin(now)
	if inc == 0 || first != uint64(now.UnixMilli()) {
		t.Errorf("incarnation %d, boot %d", inc, first)
	}
	if again, boot := begin(now.Add(-24 * time.Hour)); again != inc || boot != first+1 {
		t.Errorf("with the clock set back: incarnation %d, boot %d; want %d, %d", again, boot, inc, first+1)
	}
	if _, boot := begin(time.Unix(-5, 0)); boot != first+2 {
		t.Errorf("before 1970: boot %d, want %d", boot, first+2)
	}
	if _, boot := begin(now.Add(time.Hour)); boot != first+uint64(time.Hour.Milliseconds()) {
		t.Errorf("an hour later: boot %d", boot)
	}
}
