package wire

import (
	"encoding/binary"
	"fmt"
	"slices"

	"x0tta6bl4/mesh"
)

// Sizes of a link frame in bytes, and the most labels it holds.
const (
	HeaderLen = 20
	MaxFrame  = 1452
	MaxLabels = 32
)

// frameMagic is the upper half of the first byte. QUIC sets 0x40 in it, so one socket serves both (RFC 9443).
const frameMagic = 0x30

// FrameType says what the payload of a link frame is.
type FrameType uint8

// The frame types. ParseFrame refuses all others.
const (
	TypeData           FrameType = iota // an end-to-end ciphertext
	TypeHello                           // link liveness and measurement
	TypeError                           // a relay's report about a frame it could not pass on
	TypeHandshake                       // a QUIC datagram of an end-to-end handshake
	TypePart                            // half of a frame that is larger than the link carries
	TypeChallenge                       // proves that the neighbour receives at its new underlay address
	TypeChallengeReply                  // the challenge's nonce, returned
	typeCount
)

func (t FrameType) String() string {
	names := [...]string{"data", "hello", "error", "handshake", "part", "challenge", "challenge-reply"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("frametype(%d)", uint8(t))
}

// Flags is byte 3 of a link frame.
type Flags uint8

// The flags. Bits 4 and 5 are the ECN code point; bits 6 and 7 are reserved.
const (
	FlagProtected Flags = 1 << iota // of a class that is always sent on two paths
	FlagSuspect                     // a copy, made because the link it would take is suspect
	FlagRepaired                    // a relay put its detour in the place of a dead link; at most once
	FlagProbe                       // not set any more: a relay must not tell probes from packets
	flagsECN      Flags = 3 << 4
	flagsReserved Flags = 3 << 6
)

// ECN returns the code point of RFC 3168 (0 not capable … 3 congestion experienced).
func (f Flags) ECN() uint8 { return uint8(f&flagsECN) >> 4 }

// WithECN returns f with the code point ecn.
func (f Flags) WithECN(ecn uint8) Flags { return f&^flagsECN | Flags(ecn&3)<<4 }

// Frame is the view of a link frame. Labels and Payload alias the bytes it was parsed from.
type Frame struct {
	Type    FrameType
	Hop     uint8 // labels used up; ≤ len(Labels)/2
	Flags   Flags // reserved bits cleared
	Session uint32
	Counter uint32 // low half; see ExtendCounter
	MAC     uint64
	Labels  []byte // 2 bytes each
	Payload []byte
}

// ParseFrame reads a whole datagram as a link frame. It checks bounds only: the MAC, the replay window and the
// labels' values come later.
func ParseFrame(b []byte) (Frame, error) {
	switch {
	case len(b) < HeaderLen:
		return Frame{}, ErrTruncated
	case b[0]&0xf0 != frameMagic || b[0]&0x0f >= byte(typeCount):
		return Frame{}, ErrFrameType
	case len(b) > MaxFrame:
		return Frame{}, ErrTooLong
	case b[2] > MaxLabels:
		return Frame{}, ErrTooManyLabels
	case b[1] > b[2]:
		return Frame{}, ErrHopIndex
	}
	end := HeaderLen + 2*int(b[2])
	if len(b) < end {
		return Frame{}, ErrTruncated
	}
	return Frame{
		Type:    FrameType(b[0] & 0x0f),
		Hop:     b[1],
		Flags:   Flags(b[3]) &^ flagsReserved,
		Session: binary.BigEndian.Uint32(b[4:]),
		Counter: binary.BigEndian.Uint32(b[8:]),
		MAC:     binary.BigEndian.Uint64(b[12:]),
		Labels:  b[HeaderLen:end],
		Payload: b[end:],
	}, nil
}

// PutHeader writes bytes 0 to 3 of the frame that begins at b, which must be at least 4 bytes long. hop and n
// are at most MaxLabels.
func PutHeader(b []byte, t FrameType, hop, n int, fl Flags) {
	b[0] = frameMagic | byte(t)&0x0f
	b[1] = byte(hop)
	b[2] = byte(n)
	b[3] = byte(fl &^ flagsReserved)
}

// FlagsOf returns the flags of a parsed frame.
func FlagsOf(b []byte) Flags { return Flags(b[3]) &^ flagsReserved }

// SetFlags replaces the flags of a parsed frame, as a relay does that marks congestion or repairs. Seal after it.
func SetFlags(b []byte, fl Flags) { b[3] = byte(fl &^ flagsReserved) }

// AppendFrame appends a frame with hop index 0 and zero session, counter and MAC: Seal it. labels are those
// behind the source's own first link, at most MaxLabels. It allocates only if dst lacks the capacity.
func AppendFrame(dst []byte, t FrameType, fl Flags, labels []mesh.Label, payload []byte) []byte {
	var h [HeaderLen]byte
	PutHeader(h[:], t, 0, len(labels), fl)
	dst = append(slices.Grow(dst, HeaderLen+2*len(labels)+len(payload)), h[:]...)
	dst = appendLabels(dst, labels)
	return append(dst, payload...)
}

func appendLabels(dst []byte, labels []mesh.Label) []byte {
	for _, l := range labels {
		dst = binary.BigEndian.AppendUint16(dst, uint16(l))
	}
	return dst
}
