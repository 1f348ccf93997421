package wire

import (
	"encoding/binary"
	"time"
)

// MinLinkMTU is the smallest MTU, in bytes of datagram payload, of an underlay that a link may use: it takes QUIC's
// datagrams whole, and any frame in two parts.
const MinLinkMTU = 1232

const partHeader = 10

// splittable reports whether frames of type t are forwarded and so may meet a link thinner than themselves.
func splittable(t FrameType) bool { return t == TypeData || t == TypeError || t == TypeHandshake }

// SplitFrame cuts a frame that is larger than mtu into two part frames of at most mtu bytes, ready to be sealed for
// the link. id is new for every frame split on a link session.
func SplitFrame(frame []byte, mtu int, id uint32) (a, b []byte, err error) {
	return AppendParts(nil, nil, frame, mtu, id)
}

// AppendParts is SplitFrame into buffers of the caller's; with capacity for mtu bytes in each it does not allocate.
func AppendParts(dstA, dstB, frame []byte, mtu int, id uint32) (a, b []byte, err error) {
	f, err := ParseFrame(frame)
	if err != nil {
		return dstA, dstB, err
	}
	if !splittable(f.Type) {
		return dstA, dstB, ErrPart
	}
	body := frame[HeaderLen:]
	half := (len(body) + 1) / 2
	if half == 0 || HeaderLen+partHeader+half > mtu {
		return dstA, dstB, ErrTooLong
	}
	a = appendPart(dstA, frame, id, 0, body[:half])
	b = appendPart(dstB, frame, id, 1, body[half:])
	return a, b, nil
}

func appendPart(dst, frame []byte, id uint32, index uint8, bytes []byte) []byte {
	// The part frame has the flags of the whole one, so that a congested link may mark either.
	dst = AppendFrame(dst, TypePart, Flags(frame[3]), nil, nil)
	dst = binary.BigEndian.AppendUint32(dst, id)
	dst = append(dst, index, frame[0]&0x0f, frame[1], frame[2], byte(Flags(frame[3])&^flagsReserved), 0)
	return append(dst, bytes...)
}

// Bounds of a Joiner: frames of which one part came, and how long they wait for the other.
const (
	MaxPending  = 16
	JoinTimeout = time.Second
)

// JoinStats counts what became of the parts given to a Joiner.
type JoinStats struct {
	Joined  uint64 // frames made whole
	Expired uint64 // first parts whose second did not come in time
	Evicted uint64 // first parts that made room for newer ones
	Invalid uint64 // parts or joined frames that are malformed or do not match
}

// Joiner rejoins the frames that a neighbour split. Each link session has one, since ids are the sender's. The zero
// value is ready; memory is taken when the first part comes, and at most for MaxPending frames. It is not safe for
// concurrent use.
type Joiner struct {
	slots []joinSlot
	stats JoinStats
}

// joinSlot holds one part until the other comes. Part 0 lies at its final place behind the header, part 1 at the
// end of buf, so that either can come first.
type joinSlot struct {
	used  bool
	id    uint32
	index uint8
	head  [4]byte // type, hop, n, flags of the frame
	since time.Time
	size  int
	buf   [MaxFrame]byte
}

// Stats returns the counts so far.
func (j *Joiner) Stats() JoinStats { return j.stats }

// Add takes the payload of a part frame. ok reports that it completed a frame; session index, counter and MAC of that
// frame are zero, its parts having been checked, and it is valid until the next call.
func (j *Joiner) Add(now time.Time, payload []byte) (frame []byte, ok bool, err error) {
	p, err := parsePart(payload)
	if err != nil {
		j.stats.Invalid++
		return nil, false, err
	}
	if j.slots == nil {
		j.slots = make([]joinSlot, MaxPending)
	}
	j.expire(now)
	s := j.find(p.id)
	if s == nil {
		j.hold(now, p)
		return nil, false, nil
	}
	if s.index == p.index || s.head != p.head || HeaderLen+s.size+len(p.bytes) > MaxFrame {
		// The window of the link refuses replays, so this is a new frame under an old id: the newer one counts.
		j.stats.Invalid++
		s.used = false
		j.hold(now, p)
		return nil, false, ErrPart
	}
	return j.join(s, p)
}

func (j *Joiner) join(s *joinSlot, p part) ([]byte, bool, error) {
	s.used = false
	total := HeaderLen + s.size + len(p.bytes)
	if p.index == 1 {
		copy(s.buf[HeaderLen+s.size:], p.bytes)
	} else {
		copy(s.buf[HeaderLen:], p.bytes)
		copy(s.buf[HeaderLen+len(p.bytes):], s.buf[MaxFrame-s.size:])
	}
	clear(s.buf[:HeaderLen])
	PutHeader(s.buf[:], FrameType(p.head[0]), int(p.head[1]), int(p.head[2]), Flags(p.head[3]))
	frame := s.buf[:total:total]
	if _, err := ParseFrame(frame); err != nil {
		j.stats.Invalid++
		return nil, false, err
	}
	j.stats.Joined++
	return frame, true, nil
}

func (j *Joiner) find(id uint32) *joinSlot {
	for i := range j.slots {
		if s := &j.slots[i]; s.used && s.id == id {
			return s
		}
	}
	return nil
}

// hold keeps p in a free slot, or in that of the part that has waited longest.
func (j *Joiner) hold(now time.Time, p part) {
	s := &j.slots[0]
	for i := range j.slots {
		c := &j.slots[i]
		if !c.used {
			s = c
			break
		}
		if c.since.Before(s.since) {
			s = c
		}
	}
	if s.used {
		j.stats.Evicted++
	}
	s.used, s.id, s.index, s.head, s.since, s.size = true, p.id, p.index, p.head, now, len(p.bytes)
	if p.index == 0 {
		copy(s.buf[HeaderLen:], p.bytes)
	} else {
		copy(s.buf[MaxFrame-len(p.bytes):], p.bytes)
	}
}

func (j *Joiner) expire(now time.Time) {
	for i := range j.slots {
		if s := &j.slots[i]; s.used && now.Sub(s.since) > JoinTimeout {
			s.used = false
			j.stats.Expired++
		}
	}
}

type part struct {
	id    uint32
	index uint8
	head  [4]byte
	bytes []byte
}

func parsePart(b []byte) (part, error) {
	if len(b) < partHeader {
		return part{}, ErrTruncated
	}
	p := part{
		id:    binary.BigEndian.Uint32(b),
		index: b[4],
		head:  [4]byte(b[5:9]),
		bytes: b[partHeader:],
	}
	switch {
	case p.index > 1 || !splittable(FrameType(p.head[0])):
		return part{}, ErrPart
	case p.head[2] > MaxLabels:
		return part{}, ErrTooManyLabels
	case p.head[1] > p.head[2]:
		return part{}, ErrHopIndex
	case len(p.bytes) > MaxFrame-HeaderLen:
		return part{}, ErrTooLong
	}
	return p, nil
}
