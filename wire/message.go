package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"x0tta6bl4/mesh"
)

// Sizes in bytes: the length in front of a control message, the most it may say, and a reason's limit.
const (
	MessageHeader = 4
	MaxMessage    = 256 << 10
	MaxReason     = 255
)

// Version is the protocol version that LinkOpen and PeerOpen name.
const Version = 1

// Message is a control message: one of the types below.
type Message interface{ message() }

// LinkOpen is the first message of each side on a link connection.
type LinkOpen struct {
	Version      uint8
	Index        uint32        // the sender's receive index for frames of this session
	Label        mesh.Label    // the sender's label of the link
	Hello        time.Duration // its hello interval; whole µs
	MTU          uint16        // the largest datagram it can send and take on the underlay
	Capabilities uint32
	Boot         uint64
}

// PeerOpen is the first message of each side on an end-to-end connection.
type PeerOpen struct {
	Version uint8
	Index   uint32 // the sender's receive index for data of this session
	MTU     uint16 // the largest inner packet it takes
	Boot    uint64
}

// RecordMsg carries a signed node record as its origin made it. Parsed, Raw aliases the message.
type RecordMsg struct{ Raw []byte }

// LSAMsg carries a signed link-state announcement as its origin made it. Parsed, Raw aliases the message.
type LSAMsg struct{ Raw []byte }

// LogMsg carries the log of authorities. Parsed, Raw aliases the message.
type LogMsg struct{ Raw []byte }

// Digest is the hash of the sender's Summary. Equal digests mean equal databases.
type Digest struct{ Hash [32]byte }

// Summary lists what the sender's database holds.
type Summary struct{ Entries []SummaryEntry }

// SummaryEntry is the newest of one origin.
type SummaryEntry struct {
	Origin    mesh.NodeID
	Boot, Seq uint64 // of its LSA
	SVID      [32]byte
	RecordSeq uint64
}

// RecordRequest asks for the records with these SVIDs.
type RecordRequest struct{ SVIDs [][32]byte }

// Bye says why the sender closes the connection.
type Bye struct{ Reason string }

func (LinkOpen) message()      {}
func (PeerOpen) message()      {}
func (RecordMsg) message()     {}
func (LSAMsg) message()        {}
func (LogMsg) message()        {}
func (Digest) message()        {}
func (Summary) message()       {}
func (RecordRequest) message() {}
func (Bye) message()           {}

const (
	msgLinkOpen = 1 + iota
	msgPeerOpen
	msgRecord
	msgLSA
	msgLog
	msgDigest
	msgSummary
	msgRecordRequest
	msgBye
)

// minSummaryEntry is the encoded size of an entry with a name of one character.
const minSummaryEntry = 2 + 8 + 8 + 32 + 8

// Digest returns the hash that stands for s. The order of entries counts: sort them by origin.
func (s Summary) Digest() Digest { return Digest{sha256.Sum256(s.append([]byte("x0t-summary/1\x00")))} }

// MessageLength reads the length in front of a message: how many bytes of type and body follow.
func MessageLength(b []byte) (int, error) {
	if len(b) < MessageHeader {
		return 0, ErrTruncated
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 {
		return 0, fmt.Errorf("%w: a message without a type", ErrTruncated)
	}
	if n > MaxMessage {
		return 0, fmt.Errorf("%w: a message of %d bytes, at most %d", ErrTooLong, n, MaxMessage)
	}
	return int(n), nil
}

// AppendMessage appends the length, the type and the body of m. On an error dst is returned as it was.
func AppendMessage(dst []byte, m Message) ([]byte, error) {
	start := len(dst)
	out, err := appendBody(append(dst, 0, 0, 0, 0), m)
	if err != nil {
		return dst, err
	}
	n := len(out) - start - MessageHeader
	if n > MaxMessage {
		return dst, fmt.Errorf("%w: a %T of %d bytes, at most %d", ErrTooLong, m, n, MaxMessage)
	}
	binary.BigEndian.PutUint32(out[start:], uint32(n))
	return out, nil
}

func appendBody(dst []byte, m Message) ([]byte, error) {
	switch m := m.(type) {
	case LinkOpen:
		return m.append(append(dst, msgLinkOpen))
	case PeerOpen:
		return m.append(append(dst, msgPeerOpen))
	case RecordMsg:
		return append(append(dst, msgRecord), m.Raw...), nil
	case LSAMsg:
		return append(append(dst, msgLSA), m.Raw...), nil
	case LogMsg:
		return append(append(dst, msgLog), m.Raw...), nil
	case Digest:
		return append(append(dst, msgDigest), m.Hash[:]...), nil
	case Summary:
		return m.append(append(dst, msgSummary)), nil
	case RecordRequest:
		dst = binary.BigEndian.AppendUint32(append(dst, msgRecordRequest), uint32(len(m.SVIDs)))
		for i := range m.SVIDs {
			dst = append(dst, m.SVIDs[i][:]...)
		}
		return dst, nil
	case Bye:
		reason := clipReason(m.Reason)
		return append(append(dst, msgBye, byte(len(reason))), reason...), nil
	}
	return nil, fmt.Errorf("%w: %T", ErrUnknownMessage, m)
}

func (m LinkOpen) append(dst []byte) ([]byte, error) {
	us := m.Hello.Microseconds()
	switch {
	case m.Version != Version:
		return nil, fmt.Errorf("%w: %d in a link open, not %d", ErrVersion, m.Version, Version)
	case m.Label == 0:
		return nil, fmt.Errorf("%w: link open", ErrZeroLabel)
	case us <= 0 || us > math.MaxUint32:
		return nil, fmt.Errorf("%w: hello interval %v in a link open", ErrMalformed, m.Hello)
	}
	be := binary.BigEndian
	dst = be.AppendUint32(append(dst, m.Version), m.Index)
	dst = be.AppendUint16(dst, uint16(m.Label))
	dst = be.AppendUint32(dst, uint32(us))
	dst = be.AppendUint16(dst, m.MTU)
	dst = be.AppendUint32(dst, m.Capabilities)
	return be.AppendUint64(dst, m.Boot), nil
}

func (m PeerOpen) append(dst []byte) ([]byte, error) {
	if m.Version != Version {
		return nil, fmt.Errorf("%w: %d in a peer open, not %d", ErrVersion, m.Version, Version)
	}
	be := binary.BigEndian
	dst = be.AppendUint32(append(dst, m.Version), m.Index)
	dst = be.AppendUint16(dst, m.MTU)
	return be.AppendUint64(dst, m.Boot), nil
}

func (s Summary) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(len(s.Entries)))
	for i := range s.Entries {
		e := &s.Entries[i]
		dst = appendNode(dst, e.Origin)
		dst = be.AppendUint64(dst, e.Boot)
		dst = be.AppendUint64(dst, e.Seq)
		dst = append(dst, e.SVID[:]...)
		dst = be.AppendUint64(dst, e.RecordSeq)
	}
	return dst
}

// ParseMessage reads the type and body of a message, without the length in front. A caller skips a message whose
// error is ErrUnknownMessage and closes the connection at any other.
func ParseMessage(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: a message of %d bytes, at most %d", ErrTooLong, len(b), MaxMessage)
	}
	r := &reader{b: b}
	kind := r.u8()
	m, err := parseBody(kind, r)
	if err == nil {
		err = r.err
	}
	if err != nil {
		return nil, fmt.Errorf("message of type %d: %w", kind, err)
	}
	return m, nil
}

func parseBody(kind uint8, r *reader) (Message, error) {
	if r.err != nil {
		return nil, r.err
	}
	switch kind {
	case msgLinkOpen:
		return parseLinkOpen(r)
	case msgPeerOpen:
		return parsePeerOpen(r)
	case msgRecord:
		return RecordMsg{r.b}, nil
	case msgLSA:
		return LSAMsg{r.b}, nil
	case msgLog:
		return LogMsg{r.b}, nil
	case msgDigest:
		return Digest{r.hash()}, nil
	case msgSummary:
		return parseSummary(r), nil
	case msgRecordRequest:
		return parseRecordRequest(r), nil
	case msgBye:
		return Bye{clipReason(string(r.take(int(r.u8()))))}, nil
	}
	return nil, ErrUnknownMessage
}

func parseLinkOpen(r *reader) (Message, error) {
	// The version comes first and alone, so that a later one may change everything behind it.
	m := LinkOpen{Version: r.u8()}
	if r.err == nil && m.Version != Version {
		return nil, fmt.Errorf("%w: %d, not %d", ErrVersion, m.Version, Version)
	}
	m.Index = r.u32()
	m.Label = mesh.Label(r.u16())
	m.Hello = time.Duration(r.u32()) * time.Microsecond
	m.MTU = r.u16()
	m.Capabilities = r.u32()
	m.Boot = r.u64()
	switch {
	case r.err != nil:
		return nil, r.err
	case m.Label == 0:
		return nil, ErrZeroLabel
	case m.Hello == 0:
		return nil, fmt.Errorf("%w: hello interval 0", ErrMalformed)
	}
	return m, nil
}

func parsePeerOpen(r *reader) (Message, error) {
	m := PeerOpen{Version: r.u8()}
	if r.err == nil && m.Version != Version {
		return nil, fmt.Errorf("%w: %d, not %d", ErrVersion, m.Version, Version)
	}
	m.Index = r.u32()
	m.MTU = r.u16()
	m.Boot = r.u64()
	return m, nil
}

func parseSummary(r *reader) Summary {
	n := r.count(int(r.u32()), MaxMessage/minSummaryEntry, minSummaryEntry)
	var s Summary
	for range n {
		s.Entries = append(s.Entries, SummaryEntry{
			Origin:    r.node(),
			Boot:      r.u64(),
			Seq:       r.u64(),
			SVID:      r.hash(),
			RecordSeq: r.u64(),
		})
		if r.err != nil {
			break
		}
	}
	return s
}

func parseRecordRequest(r *reader) RecordRequest {
	n := r.count(int(r.u32()), MaxMessage/32, 32)
	var q RecordRequest
	for range n {
		q.SVIDs = append(q.SVIDs, r.hash())
	}
	return q
}

// clipReason makes a text that may come from anywhere fit a message and safe for one line of a log.
func clipReason(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
	for len(s) > MaxReason {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
