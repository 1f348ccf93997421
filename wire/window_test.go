package wire

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// slowWindow remembers everything.
type slowWindow struct {
	size   uint64
	any    bool
	newest uint64
	seen   map[uint64]bool
}

func (w *slowWindow) fresh(c uint64) bool {
	if c == math.MaxUint64 || w.seen[c] {
		return false
	}
	return !w.any || c > w.newest || w.newest-c < w.size
}

func (w *slowWindow) accept(c uint64) bool {
	if !w.fresh(c) {
		return false
	}
	w.seen[c] = true
	if !w.any || c > w.newest {
		w.any, w.newest = true, c
	}
	return true
}

// Runs of counters, jumps ahead and steps back; after each of them the whole window and both its edges must say
// what the reference does.
func TestWindowAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{64, 128, 256}).Draw(t, "size")
		w, ref := newWindow(size), &slowWindow{size: uint64(size), seen: map[uint64]bool{}}
		c := rapid.SampledFrom([]uint64{0, 1, 63, 1 << 32, math.MaxUint64 - 900}).Draw(t, "base")
		for range drawLength(t, 1, 12) {
			switch rapid.IntRange(0, 2).Draw(t, "move") {
			case 0: // ahead, up to beyond the window
				c += uint64(drawLength(t, 0, size+70))
			case 1: // back
				c -= min(c, uint64(drawLength(t, 0, size+2)))
			}
			for range drawLength(t, 1, size+2) {
				if got, want := w.Accept(c), ref.accept(c); got != want {
					t.Fatalf("accept %d: %v, want %v", c, got, want)
				}
				c++
			}
			if w.Newest() != ref.newest {
				t.Fatalf("newest %d, want %d", w.Newest(), ref.newest)
			}
			for i := range uint64(size + 4) {
				if k := ref.newest + 2 - i; ref.newest+2 >= i && w.Check(k) != ref.fresh(k) {
					t.Fatalf("newest is %d: check %d: %v", ref.newest, k, w.Check(k))
				}
			}
		}
	})
}

func TestWindowSizes(t *testing.T) {
	for in, want := range map[int]int{0: MinWindow, MinWindow: MinWindow, MinWindow + 1: 2 * MinWindow, 1 << 30: MaxWindow} {
		if got := len(NewWindow(in).bits) * 64; got != want {
			t.Errorf("NewWindow(%d) has %d", in, got)
		}
	}
	w := NewWindow(0)
	if w.Newest() != 0 || !w.Check(0) {
		t.Error("a new window is not open")
	}
	for _, step := range []struct {
		c  uint64
		ok bool
	}{{5, true}, {5, false}, {0, true}, {0, false}, {5 + MinWindow, true}, {5, false}, {6, true}, {6, false}, {math.MaxUint64, false},
		{math.MaxUint64 - 1, true}, {math.MaxUint64 - 1, false}} {
		if got := w.Accept(step.c); got != step.ok {
			t.Errorf("Accept(%d) = %v", step.c, got)
		}
	}
}

// The nearest counter to the expected one, found by trying all three candidates.
func TestExtendCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		newest := rapid.Uint64Max(math.MaxUint64-1<<33).Draw(t, "newest")
		low := rapid.OneOf(rapid.Uint32(), rapid.Custom(func(t *rapid.T) uint32 {
			turn := rapid.SampledFrom([]uint32{0, 1 << 31}).Draw(t, "turn") // beside the expected one, or farthest from it
			return uint32(newest) + turn + rapid.Uint32Range(0, 9).Draw(t, "ahead") - 5
		})).Draw(t, "low")
		expected := newest + 1
		distance := func(c uint64) uint64 { return max(c, expected) - min(c, expected) }
		best := expected&^math.MaxUint32 | uint64(low)
		candidates := []uint64{best, best + 1<<32}
		if best >= 1<<32 {
			candidates = append(candidates, best-1<<32)
		}
		for _, c := range candidates {
			if distance(c) < distance(best) {
				best = c
			}
		}
		got := ExtendCounter(low, newest)
		if uint32(got) != low || distance(got) != distance(best) {
			t.Fatalf("ExtendCounter(%#x, %#x) = %#x, want %#x", low, newest, got, best)
		}
	})
	for _, c := range []struct {
		low          uint32
		newest, want uint64
	}{
		{0, 0, 0}, {1, 0, 1},
		// At equal distance the later one (RFC 9000 §A.3: ≤ on this side, > on the other).
		{0, 1<<32 + 1<<31 - 1, 2 << 32}, {1 << 31, 1<<32 - 1, 1<<32 + 1<<31}, {1<<31 + 1, 1<<32 - 1, 1<<31 + 1}, {0, math.MaxUint32, 1 << 32}, {math.MaxUint32, 1 << 32, math.MaxUint32},
		{0, math.MaxUint64, math.MaxUint64 &^ math.MaxUint32}, {math.MaxUint32, math.MaxUint64, math.MaxUint64},
		{0x9b32, 0xa82f30ea, 0x100009b32}, // ahead by a wrap is nearer than behind
	} {
		if got := ExtendCounter(c.low, c.newest); got != c.want {
			t.Errorf("ExtendCounter(%#x, %#x) = %#x, want %#x", c.low, c.newest, got, c.want)
		}
	}
}
