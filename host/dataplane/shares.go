package dataplane

import (
	"time"

	"x0tta6bl4/mesh"
)

// Bounds of shares.
const (
	sharePeriod = 10 * time.Millisecond
	shareSlots  = 1024      // labels are given out one after the other, so those of a node's links seldom meet in one
	shareFall   = 8         // a limit falls by an eighth of it a period,
	flowFall    = 4         // a flow's by a quarter, as meanwhile all of its neighbour's lose,
	shareRise   = 32        // and rises slowly, as the queue is late to tell that it was too much
	leastShare  = 32 * 1452 // bytes a period of a neighbour, so that a limit always finds its way up again,
	leastFlow   = 2 * 1452  // and of a flow
)

// shares sees to it that, while the queue stands, no neighbour takes more of it than is fair, and of what is a neighbour's no
// flow. As nothing can be read out of order, who is over a share is cut down to it. A neighbour is known by a label, see
// linkState.counted; a flow by a hash.
//
// What a share is, is found as AFD does (Pan, Breslau, Prabhakar, Shenker 2003): a neighbour's falls while the queue grows, a
// flow's while its neighbour uses up what it has; else they rise. Who brings less than that loses nothing. The zero value is ready.
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
	flows  [shareSlots]flowShare
}

// share is one neighbour's.
type share struct {
	number     uint32 // of the period that bytes are of
	bytes      uint32 // that came
	lastNumber uint32
	last       uint32 // bytes of the period lastNumber

	passed uint32 // bytes of this period that are within the shares
	spent  bool   // there were more
	flows  uint32 // of this period
	limit  uint32 // bytes of one flow in this period; 0 = any number
}

type flowShare struct{ number, bytes uint32 }

// take counts a frame of n bytes that came from a neighbour and waited, and reports whether it is within the shares of neighbour
// and flow. standing says that the queue is too long and does not get shorter by itself.
func (s *shares) take(from mesh.Label, flow uint32, n int, now, wait time.Duration, standing bool) bool {
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
	if s.limit == 0 {
		return true
	}
	return s.takeOfFlow(e, &s.flows[flow%shareSlots], bytes) && s.takeOf(e, bytes)
}

func (s *shares) takeOfFlow(e *share, f *flowShare, bytes uint32) bool {
	if f.number != s.number {
		*f = flowShare{number: s.number}
		e.flows++
	}
	f.bytes += bytes
	return e.limit == 0 || f.bytes <= e.limit
}

func (s *shares) takeOf(e *share, bytes uint32) bool {
	if e.passed+bytes > s.limit {
		e.spent = true
		return false
	}
	e.passed += bytes
	return true
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
		*e = share{number: s.number, lastNumber: e.number, last: e.bytes, limit: s.flowLimit(e)}
	}
	return e
}

// flowLimit returns what a flow of a neighbour may bring after the period that e is of.
func (s *shares) flowLimit(e *share) uint32 {
	switch {
	case s.limit == 0 || e.number+1 != s.number:
		return 0
	case e.spent && e.limit == 0:
		return max(s.limit/max(1, e.flows), leastFlow)
	case e.spent:
		return max(e.limit-e.limit/flowFall, leastFlow)
	case e.limit > s.limit:
		return 0 // one flow may have it all
	}
	return e.limit + e.limit/shareRise
}

// turn begins a period.
func (s *shares) turn(now time.Duration, standing bool) {
	long := now-s.began < 2*sharePeriod // else frames came so rarely that nothing stands
	s.fair = s.total / max(1, s.active)
	switch {
	case !long:
		s.limit, s.fair = 0, 0
	case s.limit == 0:
		if standing {
			s.limit = max(s.fair, leastShare)
		}
	case s.least > codelTarget && s.least > s.before-s.before/16:
		s.limit = max(s.limit-s.limit/shareFall, leastShare)
	case s.least > codelTarget: // it gets shorter: what was done is enough
	case s.most <= s.limit && s.limit > 2*s.most:
		s.limit = 0 // nobody wants that much
	default:
		s.limit += s.limit / shareRise
	}
	s.number++
	s.began, s.before, s.least = now, s.least, time.Hour
	s.total, s.active, s.most = 0, 0, 0
}
