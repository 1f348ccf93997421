package dataplane

import (
	"time"

	"x0tta6bl4/mesh"
)

// Bounds of shares.
const (
	sharePeriod = 10 * time.Millisecond
	shareSlots  = 1024      // labels are given out one after the other, so those of a node's links seldom meet in one
	shareGain   = 8         // the limit changes by an eighth of it a period
	leastShare  = 32 * 1452 // bytes a period; so that a limit always finds its way up again
)

// shares sees to it that, while the queue stands, no neighbour takes more of it than is fair: as nothing can be read out of order,
// one over its share is cut down to it. A neighbour is known by a label, see linkState.counted. What a share is, is found as AFD does (Pan, Breslau, Prabhakar, Shenker 2003): it
// falls while the queue grows, and rises while it is short. A neighbour that brings less than that loses nothing.
// The zero value is ready.
type shares struct {
	began  time.Duration // of this period
	number uint32        // of this period
	limit  uint32        // bytes of one neighbour in this period; 0 = any number
	least  time.Duration // that a frame of this period waited
	before time.Duration // of the last period
	total  uint32        // bytes that came in this period
	active uint32        // neighbours that they came from
	fair   uint32        // bytes of one neighbour that were its equal part in the last period
	most   uint32        // bytes of one neighbour in this period
	at     [shareSlots]share
}

type share struct {
	number     uint32 // of the period that bytes are of
	bytes      uint32
	lastNumber uint32
	last       uint32 // bytes of the period lastNumber
}

// take counts a frame of n bytes that came from a neighbour and waited, and reports whether it is within its share. standing says
// that the queue is too long and does not get shorter by itself.
func (s *shares) take(from mesh.Label, n int, now, wait time.Duration, standing bool) bool {
	if now-s.began >= sharePeriod {
		s.turn(now, standing)
	}
	s.least = min(s.least, wait)
	e := s.of(from)
	bytes := uint32(n) // #nosec G115 -- a frame's length
	s.total += bytes
	if e.bytes == 0 {
		s.active++
	}
	e.bytes += bytes
	s.most = max(s.most, e.bytes)
	return s.limit == 0 || e.bytes <= s.limit
}

// over reports whether a neighbour brought at least its equal part, in the last period: one always does. If that was too long ago
// all do.
func (s *shares) over(from mesh.Label) bool {
	e := s.of(from)
	return s.fair == 0 || e.lastNumber+1 == s.number && e.last >= s.fair
}

// of returns the entry of a neighbour, brought up to this period.
func (s *shares) of(from mesh.Label) *share {
	e := &s.at[from%shareSlots]
	if e.number != s.number {
		*e = share{number: s.number, lastNumber: e.number, last: e.bytes}
	}
	return e
}

// turn begins a period.
func (s *shares) turn(now time.Duration, standing bool) {
	long := now-s.began < 2*sharePeriod // else frames came so rarely that nothing stands
	s.fair = s.total / max(1, s.active)
	switch {
	case !long:
		s.limit, s.fair = 0, 0
	case s.limit == 0:
		if standing && s.active > 1 {
			s.limit = max(s.fair, leastShare)
		}
	case s.least > codelTarget && s.least > s.before-s.before/16:
		s.limit = max(s.limit-s.limit/shareGain, leastShare)
	case s.least > codelTarget: // it gets shorter: what was done is enough
	case s.most <= s.limit && s.limit > 2*s.most:
		s.limit = 0 // nobody wants that much
	default:
		s.limit += s.limit / shareGain
	}
	s.number++
	s.began, s.before, s.least = now, s.least, time.Hour
	s.total, s.active, s.most = 0, 0, 0
}
