package udp

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A node at rest hears little but hellos, of which most only say that all is well. To wake up for each would be most of its
// work, so those that want no answer may stay in the kernel until their reader is awake for another reason. The kernel
// notes when each came.

// collectMost is how many hellos are taken at once, in batches: a flood of them must not hold up whoever collects.
const collectMost = 16

// Gather says whether hellos that want no answer wait for Collect, without waking anybody. At first they do not, and where the
// kernel does not sort they never do.
func (s *Socket) Gather(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hellos == nil || s.gathers.Load() == on {
		return nil
	}
	s.gathers.Store(on)
	if err := s.ports[calm].announce(!on); err != nil {
		s.gathers.Store(!on)
		return fmt.Errorf("udp: wait for hellos at %s: %w", s.local, err)
	}
	return nil
}

// Collect calls Handlers.Hello for the hellos that wait, on this goroutine. It takes a thousand at most and reports whether
// those were all: if not, there is a flood of them, which a goroutine of its own bears better.
func (s *Socket) Collect() (all bool) {
	if s.hellos == nil || !s.gathers.Load() {
		return true
	}
	s.hellos.Lock()
	defer s.hellos.Unlock()
	for range collectMost {
		n, errno := s.hellos.read()
		if errno == unix.EAGAIN || s.closed() {
			return true
		}
		if errno != 0 {
			s.count.receiveErrors.Add(1) // of one datagram; the next read goes on
			continue
		}
		s.count.waited.Add(uint64(n)) // #nosec G115 -- at most a batch
		if s.hand(calm, s.hellos); n < s.hellos.size {
			return true
		}
	}
	return false
}

// hello hands on a datagram that came by the queue of hellos.
func (s *Socket) hello(from netip.AddrPort, b []byte, at time.Time) {
	if !mayWait(b) || !from.IsValid() || s.h.Hello == nil {
		s.count.garbage.Add(1)
		return
	}
	s.count.frames.Add(1)
	s.h.Hello(s, from, b, at)
}

// dates tell when datagrams came that are read later.
type dates struct {
	now   time.Time // of this batch
	since time.Time // what is in it came after that
	empty time.Time // when nothing was left to read
}

// next begins a batch; all says that it leaves nothing behind.
func (d *dates) next(all bool) {
	d.now, d.since = time.Now(), d.empty
	if all {
		d.empty = d.now
	}
}

// of returns when a datagram came that the kernel stamped, in nanoseconds of the wall clock; 0 = it did not. That clock may
// have been set in between, so the time is never before nothing had come yet, nor in the future.
func (d *dates) of(stamp int64) time.Time {
	at := d.now
	if stamp != 0 {
		at = at.Add(time.Duration(stamp - at.UnixNano()))
	}
	switch {
	case at.Before(d.since):
		return d.since
	case at.After(d.now):
		return d.now
	}
	return at
}
