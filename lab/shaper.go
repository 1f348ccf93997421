package lab

import "time"

// Limits of a direction that the relay carries.
const (
	relayQueue   = 4 << 20                // bytes that wait on it
	rateQueue    = 32 << 10               // bytes that wait for a limited rate, or …
	rateWait     = 100 * time.Millisecond // … so much time, whichever is more
	jitterPeriod = 10 * time.Millisecond  // the least time for which a jitter holds
	overtaken    = 10 * time.Millisecond  // how long a frame is held back for others to overtake it
)

// shaper decides when a frame leaves one direction of a link, and whether it does. Times are nanoseconds on any clock.
type shaper struct {
	own    int64 // the link's delay when nothing is wrong
	random func() float64

	cond   condition
	count  tally
	queued int // bytes on their way

	free   int64 // when the line is idle again, if its rate is limited
	last   int64 // when the last frame in order is due
	jitter int64 // which holds until redraw
	redraw int64
}

// set changes what happens to frames from now on. Those on their way keep their times.
func (s *shaper) set(c condition) {
	s.cond = c
	s.free, s.last, s.jitter, s.redraw = 0, 0, 0, 0
}

// admit takes a frame that came at now. It returns when it is due and how often; 0 copies: it is dropped.
func (s *shaper) admit(now int64, frame []byte) (due int64, copies int) {
	c := &s.cond
	switch {
	case c.MTU > 0 && len(frame)-etherHeader > c.MTU:
		s.count.Oversize++
		return 0, 0
	case c.Grey > 0 && forwarded(frame) && s.random() < c.Grey:
		s.count.Grey++
		return 0, 0
	case c.Loss > 0 && s.random() < c.Loss:
		s.count.Lost++
		return 0, 0
	case s.queued+len(frame) > relayQueue: // a real link's queue is full at some point, too
		return 0, 0
	}
	due, ok := s.transmit(now, len(frame))
	if !ok {
		return 0, 0
	}
	due = s.travel(now, due)
	if c.Reorder > 0 && s.random() < c.Reorder {
		s.count.Reordered++
		due += int64(overtaken)
	} else {
		s.last = due
	}
	if c.Duplicate > 0 && s.random() < c.Duplicate {
		s.count.Duplicated++
		return due, 2
	}
	return due, 1
}

// transmit returns when the last bit of a frame is on the line; false if the queue before it is full.
func (s *shaper) transmit(now int64, size int) (int64, bool) {
	if s.cond.Rate == 0 {
		return now, true
	}
	perByte := 8e9 / float64(s.cond.Rate)
	start := max(now, s.free)
	if start > now {
		s.count.Limited++
	}
	if wait := start - now; wait > max(int64(rateWait), int64(rateQueue*perByte)) {
		return 0, false
	}
	s.free = start + int64(float64(size)*perByte)
	return s.free, true
}

// travel adds the delays. A frame never overtakes the one before it.
func (s *shaper) travel(now, sent int64) int64 {
	due := sent + s.own + int64(s.cond.Delay)
	if s.cond.Delay > 0 {
		s.count.Delayed++
	}
	if j := s.cond.Jitter; j > 0 {
		if now >= s.redraw {
			s.jitter = int64(s.random() * float64(j))
			s.redraw = now + int64(max(j, jitterPeriod))
		}
		due += s.jitter
		s.count.Jittered++
	}
	return max(due, s.last)
}

// Where things are in an Ethernet frame with an IP packet, and in a frame of the mesh (docs/protocol.md, "Link frame"
// and "Part").
const (
	etherHeader  = 14
	ipv6Header   = 40
	udpHeader    = 8
	protoUDP     = 17
	meshData     = 0x30
	meshPart     = 0x34
	hopOfFrame   = 1
	meshHeader   = 20
	typeOfWhole  = meshHeader + 5 // of the frame that a part belongs to
	hopOfWhole   = meshHeader + 6
	meshTypeData = 0
)

// forwarded reports whether an Ethernet frame carries data that its sender does not send for itself: a data frame of
// the mesh, or a part of one, that has passed a relay.
func forwarded(frame []byte) bool {
	p := udpPayload(frame)
	switch {
	case len(p) <= hopOfFrame:
		return false
	case p[0] == meshData:
		return p[hopOfFrame] > 0
	case p[0] == meshPart:
		return len(p) > hopOfWhole && p[typeOfWhole] == meshTypeData && p[hopOfWhole] > 0
	}
	return false
}

// udpPayload is what the UDP datagram in an Ethernet frame holds, nil if there is none or it is a fragment.
func udpPayload(frame []byte) []byte {
	if len(frame) < etherHeader+1 {
		return nil
	}
	ip := frame[etherHeader:]
	var at int
	switch kind := uint16(frame[12])<<8 | uint16(frame[13]); {
	case kind == 0x0800 && len(ip) >= 20 && ip[9] == protoUDP && (uint16(ip[6])<<8|uint16(ip[7]))&0x1fff == 0:
		at = max(int(ip[0]&0x0f)*4, 20) // a shorter header is none
	case kind == 0x86dd && len(ip) >= ipv6Header && ip[6] == protoUDP:
		at = ipv6Header
	default:
		return nil
	}
	if len(ip) <= at+udpHeader {
		return nil
	}
	return ip[at+udpHeader:]
}
