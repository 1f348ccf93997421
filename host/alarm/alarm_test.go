package alarm

import (
	"testing"
	"time"
)

func rings(t *testing.T, a *Alarm) {
	t.Helper()
	select {
	case <-a.C:
	case <-time.After(10 * time.Second):
		t.Fatal("the alarm did not ring")
	}
}

func TestAlarmRingsOnceAndNotTooEarly(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, d := range []time.Duration{20 * time.Millisecond, time.Millisecond, 0, -time.Second} {
		began := time.Now()
		a.Set(d)
		rings(t, a)
		if took := time.Since(began); took < d {
			t.Errorf("set to %s, it rang after %s", d, took)
		}
		if len(a.C) != 0 {
			t.Errorf("set to %s, it rang twice", d)
		}
	}
}

func TestLaterSettingCounts(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.Set(time.Hour)
	a.Set(time.Millisecond)
	rings(t, a)
}

func TestCloseEndsIt(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a.Set(0)
	if err := a.Close(); err == nil {
		t.Error("closing twice went unnoticed")
	}
	if len(a.C) != 0 {
		t.Error("it rang after Close")
	}
}
