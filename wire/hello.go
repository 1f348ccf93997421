package wire

import "encoding/binary"

// HelloLen is the length of a hello payload in bytes.
const HelloLen = 41

// Hello is the payload of a hello frame. Clocks are each side's own: what is echoed is the other's.
type Hello struct {
	Seq        uint32 // counts the sender's hellos on this link session, from 1
	SentAt     uint64 // sender's clock, µs
	EchoSeq    uint32 // newest hello heard; 0 = none
	EchoSentAt uint64 // its SentAt
	EchoDelay  uint32 // µs between its coming and this hello's leaving
	Heard      uint32 // hellos heard with HeardFrom ≤ seq ≤ EchoSeq
	HeardFrom  uint32
	Interval   uint32 // µs to the sender's next regular hello
	Probe      bool   // answer at once
	Padded     bool   // the sender echoes padded hellos: its EchoSentAt tells which of several with one Seq came last
}

// Append appends the payload. Zero bytes behind it pad a hello to the size of the frame that is to be tried.
func (h Hello) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, h.Seq)
	dst = be.AppendUint64(dst, h.SentAt)
	dst = be.AppendUint32(dst, h.EchoSeq)
	dst = be.AppendUint64(dst, h.EchoSentAt)
	dst = be.AppendUint32(dst, h.EchoDelay)
	dst = be.AppendUint32(dst, h.Heard)
	dst = be.AppendUint32(dst, h.HeardFrom)
	dst = be.AppendUint32(dst, h.Interval)
	return append(dst, bit(h.Probe, 0)|bit(h.Padded, 1))
}

// ParseHello reads the payload of a hello frame. Padding is ignored.
func ParseHello(b []byte) (Hello, error) {
	if len(b) < HelloLen {
		return Hello{}, ErrTruncated
	}
	be := binary.BigEndian
	return Hello{
		Seq:        be.Uint32(b),
		SentAt:     be.Uint64(b[4:]),
		EchoSeq:    be.Uint32(b[12:]),
		EchoSentAt: be.Uint64(b[16:]),
		EchoDelay:  be.Uint32(b[24:]),
		Heard:      be.Uint32(b[28:]),
		HeardFrom:  be.Uint32(b[32:]),
		Interval:   be.Uint32(b[36:]),
		Probe:      b[40]&1 != 0,
		Padded:     b[40]&2 != 0,
	}, nil
}

// ChallengeLen is the length of the payload of a challenge and of its reply in bytes.
const ChallengeLen = 16

// Challenge is the payload of a challenge frame: random bytes that the neighbour returns from the address that it
// claims to have moved to.
type Challenge [ChallengeLen]byte

// Append appends the payload.
func (c Challenge) Append(dst []byte) []byte { return append(dst, c[:]...) }

// ParseChallenge reads the payload of a challenge or challenge reply frame.
func ParseChallenge(b []byte) (c Challenge, err error) {
	if len(b) < ChallengeLen {
		return Challenge{}, ErrTruncated
	}
	return Challenge(b[:ChallengeLen]), nil
}

func bit(set bool, n uint) byte {
	if set {
		return 1 << n
	}
	return 0
}
