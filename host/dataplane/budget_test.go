package dataplane

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A second's worth at once, then as much as the rate allows; what finds no room costs nothing.
func TestBudget(t *testing.T) {
	const rate = 1_000_000
	var b budget
	now := time.Hour
	for _, tt := range []struct {
		name    string
		after   time.Duration // since the step before
		n       int
		rate    uint64
		passing bool
	}{
		{"the burst", 0, 60_000, rate, true},
		{"the rest of it", 0, 940_000, rate, true},
		{"a byte more", 0, 1, rate, false},
		{"too early", 999 * time.Microsecond, 1000, rate, false},
		{"in time", time.Microsecond, 1000, rate, true},
		{"a long rest gives no more than a burst", time.Hour, 1_000_001, rate, false},
		{"and no less", 0, 1_000_000, rate, true},
		{"no budget", time.Hour, 1, 0, false},
		{"a third of a byte is a whole one", time.Hour, 3, 3, true},
		{"so that none is won", 333_333_333, 1, 3, false},
		{"but a nanosecond later", 1, 1, 3, true},
	} {
		now += tt.after
		if got := b.take(now, tt.n, tt.rate); got != tt.passing {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestBudgetOfManyGoroutines(t *testing.T) {
	var b budget
	var wg sync.WaitGroup
	var passed atomic.Uint64
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.take(time.Hour, 1000, 1_000_000) {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got != 1000 {
		t.Errorf("%d passed, want 1000", got)
	}
}

func TestDuplicateRate(t *testing.T) {
	for part, want := range map[float64]uint64{0: 1_250_000, -1: 0, 0.5: 6_250_000, 1: 12_500_000, 2: 12_500_000} {
		if got := duplicateRate(part); got != want {
			t.Errorf("%v: %d bytes a second, want %d", part, got, want)
		}
	}
}
