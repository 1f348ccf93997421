package wire

import (
	"encoding/binary"

	"x0tta6bl4/mesh"
)

// InnerHeader is the length in bytes of what precedes the packet in every end-to-end plaintext.
const InnerHeader = 4

// InnerKind says what an end-to-end plaintext is.
type InnerKind uint8

// The kinds. ParseInner refuses all others.
const (
	InnerPacket     InnerKind = iota // an IP packet
	InnerProbe                       // a probe request
	InnerProbeReply                  // its answer
	InnerKeepalive                   // nothing; keeps the session alive
	innerKindCount
)

// Bits of Inner.Class.
const (
	ClassECN       = 0x03 // the ECN code point of the sender's packet
	ClassProtected = 0x04 // the sender asked for two paths
	classReserved  = 0xf8
)

const probeHeader = 18

// Inner is the header of an end-to-end plaintext.
type Inner struct {
	Kind    InnerKind
	Class   uint8  // ClassECN and ClassProtected
	Segment uint16 // bytes per segment of a super-packet; 0 = one packet
}

// Append appends the header.
func (i Inner) Append(dst []byte) []byte {
	dst = append(dst, byte(i.Kind), i.Class&^classReserved)
	return binary.BigEndian.AppendUint16(dst, i.Segment)
}

// ParseInner reads the header of an end-to-end plaintext and returns what follows it.
func ParseInner(b []byte) (Inner, []byte, error) {
	if len(b) < InnerHeader {
		return Inner{}, nil, ErrTruncated
	}
	if b[0] >= byte(innerKindCount) {
		return Inner{}, nil, ErrInnerKind
	}
	i := Inner{InnerKind(b[0]), b[1] &^ classReserved, binary.BigEndian.Uint16(b[2:])}
	return i, b[InnerHeader:], nil
}

// Probe asks for an answer over the same path, or is that answer.
type Probe struct {
	ID     uint64
	SentAt int64        // ns on the requester's clock; means nothing to the other end, which returns it
	Path   uint8        // the requester's number of the path
	Labels []mesh.Label // of the path, in a request that says it; none in a reply
}

// Append appends the probe, which is what follows the inner header. At most MaxLabels labels are sent.
func (p Probe) Append(dst []byte) []byte {
	labels := p.Labels[:min(len(p.Labels), MaxLabels)]
	dst = binary.BigEndian.AppendUint64(dst, p.ID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.SentAt))
	dst = append(dst, p.Path, byte(len(labels)))
	return appendLabels(dst, labels)
}

// ParseProbe reads what follows the inner header of a probe request or reply.
func ParseProbe(b []byte) (Probe, error) {
	if len(b) < probeHeader {
		return Probe{}, ErrTruncated
	}
	n := int(b[17])
	if n > MaxLabels {
		return Probe{}, ErrTooManyLabels
	}
	if len(b) < probeHeader+2*n {
		return Probe{}, ErrTruncated
	}
	p := Probe{
		ID:     binary.BigEndian.Uint64(b),
		SentAt: int64(binary.BigEndian.Uint64(b[8:])),
		Path:   b[16],
	}
	for k := range n {
		p.Labels = append(p.Labels, mesh.Label(binary.BigEndian.Uint16(b[probeHeader+2*k:])))
	}
	return p, nil
}
