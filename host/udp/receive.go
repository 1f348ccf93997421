package udp

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// readLoop reads one class until the socket is closed. It is one wait of the poller's, which between two of them would
// forget what came meanwhile: so it need not ask the kernel once more each time whether nothing is left.
func (s *Socket) readLoop(c class, r *reader) {
	var pace allowance
	take := func(uintptr) (over bool) {
		for {
			switch n, goOn := s.readBatch(c, r, &pace); {
			case !goOn:
				return true
			case n < r.size:
				return false
			}
		}
	}
	for {
		err := r.port.poll.Read(take)
		if s.closed() {
			return
		}
		if err != nil {
			s.count.receiveErrors.Add(1)
		}
		if !s.pause(errorPause) { // never spin on an error that stays
			return
		}
	}
}

const errorPause = 10 * time.Millisecond

// readBatch hands on what has come, a batch at most, and returns how much that was. It goes on until the socket is closed:
// ICMP errors, full tables and refusals by a packet filter come back here as errors too, and concern one peer.
func (s *Socket) readBatch(c class, r *reader, pace *allowance) (n int, goOn bool) {
	if c == calm && s.gathers.Load() {
		return 0, true // Collect's; what is left when it ends is announced
	}
	r.Lock()
	n, errno := r.read()
	if errno == 0 {
		s.hand(c, r)
	}
	r.Unlock()
	switch {
	case s.closed():
		return 0, false
	case errno == unix.EAGAIN:
		return 0, true
	case errno != 0:
		s.count.receiveErrors.Add(1)
		return r.size, s.pause(errorPause)
	}
	if rate := paces[c]; rate != 0 && !pace.take(s.now(), rate, float64(n)) {
		return n, s.pause(pacePause)
	}
	return n, true
}

// hand gives the datagrams of the reader's last batch to whom they are for.
func (s *Socket) hand(c class, r *reader) {
	told := c == framed && s.h.Came != nil
	few := told && r.few()
	if c == calm || told {
		r.dates.next(r.n < r.size)
	}
	bytes, count := 0, 0
	for i := range r.n {
		a := r.datagrams(i)
		b := a.b
		bytes += len(b)
		if told && a.whole {
			s.h.Came(r.dates.of(a.stamp), few, a.ecn == ecnMask)
		}
		for ok := true; ok; ok = len(b) > 0 {
			count++
			if !a.whole {
				s.count.truncated.Add(1)
				continue
			}
			d := b[:min(a.size, len(b))] // of its capacity the rest is of those that follow
			b = b[len(d):]
			if c == calm {
				s.hello(a.from, d, r.dates.of(a.stamp))
				continue
			}
			s.demux(c, a.from, d)
		}
		if c == framed && s.h.Flush != nil && (i == r.n-1 || a.size < len(a.b)) {
			s.h.Flush() // many that came together have waited enough
		}
	}
	s.count.read[c].Add(uint64(count))       // #nosec G115 -- a number of things
	s.count.receivedBytes.Add(uint64(bytes)) // #nosec G115 -- lengths
}

// paces are how many datagrams of a class are read a second; 0 = as many as come. What comes faster waits in the kernel
// until the queue is full, which costs next to nothing, and leaves the processors to frames.
var paces = [classes]float64{acquainted: readQUIC, strange: readStrangers, expected: readExpected}

const pacePause = 5 * time.Millisecond

// now is the time since the socket was opened, never 0.
func (s *Socket) now() time.Duration { return max(1, time.Since(s.started)) }

func (s *Socket) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// pause waits for d; false means that the socket was closed meanwhile.
func (s *Socket) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

const (
	dataFrame = 0x30 // the first byte of a frame of data (wire.TypeData),
	ecnOffset = 3    // the byte in which it has its ECN code point (wire.Flags),
	ecnShift  = 4    // and where

	ecnMask = 3 // the code point in an IP header (RFC 3168 §5); all bits are congestion experienced
)

// ecnOf returns the code point that the IP header of a datagram is to have: that of the data in it (RFC 6040 §4.1).
func ecnOf(b []byte) uint8 {
	if len(b) <= ecnOffset || b[0] != dataFrame {
		return 0
	}
	return b[ecnOffset] >> ecnShift & ecnMask
}

// demux hands on a datagram that came by a class's queue. The kernel has sorted it, where it does that, but by rules that may
// have changed while it waited; and of a broadcast it gives every queue a copy.
func (s *Socket) demux(c class, from netip.AddrPort, b []byte) {
	frames := c == framed
	switch {
	case len(b) == 0 || !from.IsValid():
		s.count.garbage.Add(1)
	case frames && b[0]&0xf0 == 0x30 && s.h.Frame != nil:
		s.count.frames.Add(1)
		s.h.Frame(s, from, b) // which looks up the session itself
	case frames && s.ports.sorted():
		s.count.garbage.Add(1)
	default:
		s.demuxQUIC(from, b)
	}
}

func (s *Socket) demuxQUIC(from netip.AddrPort, b []byte) {
	rules := s.rules.Load()
	switch rules.classify(b) {
	case acquainted:
		s.quic.deliver(from, b)
	case strange:
		allow := s.arrivals.allow
		if rules.expects(from.Addr()) {
			allow = s.arrivals.allowMember
		}
		if !allow(from.Addr(), s.now()) {
			s.count.newcomersLimited.Add(1)
			return
		}
		s.count.newcomers.Add(1)
		s.quic.deliver(from, b)
	default:
		s.count.garbage.Add(1)
	}
}
