package mesh

import (
	"testing"
	"time"
)

func TestHybrid(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 987_654_321, time.FixedZone("", 3600))
	h := HybridAt(at)
	if got := h.Time(); !got.Equal(at.Truncate(time.Millisecond)) || h.Logical() != 0 {
		t.Errorf("%v reads as %v+%d", at, got, h.Logical())
	}
	if h+5 <= h || (h+5).Logical() != 5 || HybridAt(at.Add(time.Millisecond)) <= h+0xffff {
		t.Error("a later time is not greater")
	}
	if got, want := (h + 5).String(), "2026-05-04T02:02:01.987Z+5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if HybridAt(time.Unix(-1, 0)) != 0 || HybridAt(time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC)) != MaxHybrid&^0xffff {
		t.Error("times out of range are not clamped")
	}
}
