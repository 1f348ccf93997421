package wire

import "math"

// ExtendCounter returns the 64-bit counter nearest to newest+1 whose lower half is low (the rule of RFC 9000
// §A.3, with 32 bits on the wire).
func ExtendCounter(low uint32, newest uint64) uint64 {
	const window, half = uint64(1) << 32, uint64(1) << 31
	expected := newest
	if expected != math.MaxUint64 {
		expected++
	}
	c := expected&^(window-1) | uint64(low)
	switch {
	case c < expected && expected-c >= half && c <= math.MaxUint64-window:
		return c + window
	case c > expected && c-expected > half && c >= window:
		return c - window
	}
	return c
}

// MinWindow and MaxWindow bound the size of a replay window in counters.
const (
	MinWindow = 1 << 16
	MaxWindow = 1 << 20
)

// Window refuses what was received before: an anti-replay window over a ring bitmap that is never shifted
// (RFC 6479). Slots are cleared one by one as the window moves, so the whole bitmap is window and RFC 6479's spare
// word is not needed. It is not safe for concurrent use.
//
// Invariant: bit c%size is set exactly if next-size ≤ c < next and c was accepted.
type Window struct {
	bits []uint64
	mask uint64 // size - 1
	next uint64 // newest accepted counter + 1; 0 = none yet
}

// NewWindow makes a window of size counters, rounded up to a power of two between MinWindow and MaxWindow.
func NewWindow(size int) *Window {
	n := MinWindow
	for n < size && n < MaxWindow {
		n *= 2
	}
	return newWindow(n)
}

func newWindow(size int) *Window {
	return &Window{bits: make([]uint64, size/64), mask: uint64(size - 1)}
}

// Check reports whether Accept(c) would be true. Call it before the costly authentication of a packet.
func (w *Window) Check(c uint64) bool {
	if c >= w.next {
		return c != math.MaxUint64 // next could not move beyond it; no session lives that long
	}
	return w.next-c <= w.mask+1 && w.bits[c&w.mask>>6]&(1<<(c&63)) == 0
}

// Accept marks c as received and reports whether it was fresh. Call it only for packets that are authentic.
func (w *Window) Accept(c uint64) bool {
	if !w.Check(c) {
		return false
	}
	if c >= w.next {
		w.clear(w.next, c-w.next)
		w.next = c + 1
	}
	w.bits[c&w.mask>>6] |= 1 << (c & 63)
	return true
}

// Newest returns the highest counter accepted so far, or 0.
func (w *Window) Newest() uint64 {
	if w.next == 0 {
		return 0
	}
	return w.next - 1
}

// clear empties the slots of n counters from c on, which were skipped.
func (w *Window) clear(c, n uint64) {
	if n > w.mask {
		clear(w.bits)
		return
	}
	for n > 0 {
		if c&63 == 0 && n >= 64 {
			w.bits[c&w.mask>>6] = 0
			c, n = c+64, n-64
			continue
		}
		w.bits[c&w.mask>>6] &^= 1 << (c & 63)
		c, n = c+1, n-1
	}
}
