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

// Bits of Inner.Class. The five bits above them are Inner.Path.
const (
	ClassECN       = 0x03 // the ECN code point of the sender's packet
	ClassProtected = 0x04 // the sender asked for two paths
	classMask      = 0x07
	pathShift      = 3

	innerPartial = 1 // of the flags behind the class
)

// PathNumbers is how many numbers of paths there are, 0 included, which is that of no path.
const PathNumbers = 32

const (
	probeHeader = 18
	probeCounts = 12
)

// Inner is the header of an end-to-end plaintext.
type Inner struct {
	Kind    InnerKind
	Class   uint8 // ClassECN and ClassProtected
	Partial bool  // a packet's TCP or UDP checksum is 0: whoever opens this makes it anew
	Path    uint8 // the sender's number of the path that this goes by, below PathNumbers; 0 = counted for none
}

// Append appends the header.
func (i Inner) Append(dst []byte) []byte {
	dst = append(dst, byte(i.Kind), i.Class&classMask|i.Path<<pathShift)
	flags := uint16(0)
	if i.Partial {
		flags |= innerPartial
	}
	return binary.BigEndian.AppendUint16(dst, flags)
}

// ParseInner reads the header of an end-to-end plaintext and returns what follows it.
func ParseInner(b []byte) (Inner, []byte, error) {
	if len(b) < InnerHeader {
		return Inner{}, nil, ErrTruncated
	}
	if b[0] >= byte(innerKindCount) {
		return Inner{}, nil, ErrInnerKind
	}
	i := Inner{Kind: InnerKind(b[0]), Class: b[1] & classMask, Path: b[1] >> pathShift}
	i.Partial = binary.BigEndian.Uint16(b[2:])&innerPartial != 0
	return i, b[InnerHeader:], nil
}

// Probe asks for an answer over the same path, or is that answer.
type Probe struct {
	ID     uint64
	SentAt int64        // ns on the requester's clock; means nothing to the other end, which returns it
	Path   uint8        // the requester's number of the path
	Labels []mesh.Label // of the path, in a request that says it; none in a reply

	// Counts of the frames that go by the path of that number, this one included; nil: the probe has none, as those of
	// nodes that do not count.
	Counts *ProbeCounts
}

// ProbeCounts tell what of the data that was sent by a path has arrived. A request has Sent only; the answer returns it
// and adds the others. All count within one session and direction, from 0 at its begin, modulo 2^32.
type ProbeCounts struct {
	Index    uint32 // of the session that was counted: the one which the request came in
	Sent     uint32 // by the requester, when it sent the request
	Received uint32 // by the other end, when it answered
}

// Append appends the probe, which is what follows the inner header. At most MaxLabels labels are sent.
func (p Probe) Append(dst []byte) []byte {
	labels := p.Labels[:min(len(p.Labels), MaxLabels)]
	dst = binary.BigEndian.AppendUint64(dst, p.ID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.SentAt))
	dst = append(dst, p.Path, byte(len(labels)))
	dst = appendLabels(dst, labels)
	if c := p.Counts; c != nil {
		dst = binary.BigEndian.AppendUint32(dst, c.Index)
		dst = binary.BigEndian.AppendUint32(dst, c.Sent)
		dst = binary.BigEndian.AppendUint32(dst, c.Received)
	}
	return dst
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
	if c := b[probeHeader+2*n:]; len(c) >= probeCounts {
		p.Counts = &ProbeCounts{binary.BigEndian.Uint32(c), binary.BigEndian.Uint32(c[4:]), binary.BigEndian.Uint32(c[8:])}
	}
	return p, nil
}
