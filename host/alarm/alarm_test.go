package alarm

import (
	"sync"
	"testing"
	"time"
)

func open(t *testing.T) *Alarm {
	t.Helper()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestWaitIsNeverTooShort(t *testing.T) {
	a := open(t)
	for _, d := range []time.Duration{20 * time.Millisecond, time.Millisecond, 0, -time.Second} {
		began := time.Now()
		a.Set(d)
		if !a.Wait() {
			t.Fatal("closed")
		}
		if took := time.Since(began); took < d {
			t.Errorf("set to %s, it rang after %s", d, took)
		}
	}
}

func TestLaterSettingCounts(t *testing.T) {
	a := open(t)
	a.Set(time.Hour)
	a.Set(time.Millisecond)
	if !a.Wait() {
		t.Error("closed")
	}
}

// Whatever the order of ringing and setting, no ring is lost: the waiter sets the alarm to an hour each time.
func TestNoRingIsLost(t *testing.T) {
	a := open(t)
	const rings = 2000
	todo := make(chan int, rings)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range rings {
			todo <- i
			a.Ring()
		}
	})
	for seen := 0; seen < rings; {
		a.Set(time.Hour)
		if !a.Wait() {
			t.Fatal("closed")
		}
		for ; len(todo) > 0; seen++ {
			<-todo
		}
	}
	wg.Wait()
}

func TestCloseEndsWait(t *testing.T) {
	a := open(t)
	done := make(chan bool)
	go func() { done <- a.Wait() }()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if <-done {
		t.Error("Wait returned true")
	}
	a.Set(0)
	a.Ring()
	if err := a.Close(); err == nil {
		t.Error("closing twice went unnoticed")
	}
}

// What one clock counts more than the other since the last look is told once.
func TestSlept(t *testing.T) {
	a := open(t)
	if d := a.Slept(); d != 0 {
		t.Errorf("slept %s without a suspension", d)
	}
	a.apart -= 3 * time.Second
	if d := a.Slept(); d < 2900*time.Millisecond || d > 4*time.Second {
		t.Errorf("slept %s, want some 3s", d)
	}
	if d := a.Slept(); d != 0 {
		t.Errorf("slept %s again", d)
	}
}

// What is set is put off, what is rung is not.
func TestDefer(t *testing.T) {
	a := open(t)
	a.Set(time.Millisecond)
	began := time.Now()
	a.Defer(30 * time.Millisecond)
	if !a.Wait() || time.Since(began) < 30*time.Millisecond {
		t.Errorf("put off by 30 ms, it rang after %v", time.Since(began))
	}
	a.Set(time.Hour)
	a.Ring()
	a.Defer(time.Hour)
	if !a.Wait() {
		t.Error("closed")
	}
	const rings = 500
	var turns sync.WaitGroup
	turns.Go(func() {
		for range rings {
			a.Defer(time.Hour)
		}
	})
	for range rings {
		turns.Add(1)
		go func() { a.Ring(); turns.Done() }()
		a.Wait()
		a.Set(time.Hour)
	}
	turns.Wait()
}
