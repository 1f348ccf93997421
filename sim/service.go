package sim

import "time"

// service is what the user of a flow notices.
//
//	outage   the longest time without a delivery, less the packet interval, while a physical way existed all along
//	rejoin   the longest time from the return of a physical way, or of an end, to the next delivery
//
// A flow counts from its first delivery: the time before that is convergence.
type service struct {
	last    time.Time // last delivery, or when a way came back
	able    bool      // both ends run and a physical way joins them
	waiting bool      // a way came back and nothing has arrived since
	outage  time.Duration
	rejoin  time.Duration
	outages []time.Duration // each that was noticed: a packet did not come when it was due
	rejoins []time.Duration
}

// possible notes whether a physical way exists now.
func (s *service) possible(now time.Time, able bool, interval time.Duration) {
	if s.last.IsZero() || able == s.able {
		return
	}
	s.settle(now, interval)
	s.able, s.waiting, s.last = able, able, now
}

// delivered notes that a packet arrived. One that was under way when the last way broke ends no outage.
func (s *service) delivered(now time.Time, able bool, interval time.Duration) {
	s.settle(now, interval)
	s.last, s.able, s.waiting = now, able, false
}

// settle ends the span that began with the last delivery.
func (s *service) settle(now time.Time, interval time.Duration) {
	switch span := now.Sub(s.last); {
	case s.last.IsZero() || !s.able:
	case s.waiting:
		s.rejoin = max(s.rejoin, span)
		s.rejoins = append(s.rejoins, span)
	default:
		s.outage = max(s.outage, span-interval)
		if span >= 2*interval {
			s.outages = append(s.outages, span-interval)
		}
	}
}
