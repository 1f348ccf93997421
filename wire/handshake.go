package wire

import "encoding/binary"

// HandshakeHeader is what precedes the QUIC datagram in a handshake payload, MaxDatagram the longest datagram, both
// in bytes.
const (
	HandshakeHeader = 12
	MaxDatagram     = 1252
)

// Handshake is the payload of a handshake frame: one QUIC datagram of a conversation between two ends that have no
// session yet. It names no node in clear; the conversation tells whose connection it is.
type Handshake struct {
	FromInitiator bool
	Conversation  uint64 // random, chosen by the initiator
	Datagram      []byte // 1 to MaxDatagram bytes; parsed: aliases the payload
}

// Append appends the payload.
func (h Handshake) Append(dst []byte) []byte {
	dst = append(dst, bit(h.FromInitiator, 0), 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, h.Conversation)
	return append(dst, h.Datagram...)
}

// ParseHandshake reads the payload of a handshake frame.
func ParseHandshake(b []byte) (Handshake, error) {
	if len(b) <= HandshakeHeader {
		return Handshake{}, ErrTruncated
	}
	if len(b) > HandshakeHeader+MaxDatagram {
		return Handshake{}, ErrTooLong
	}
	return Handshake{
		FromInitiator: b[0]&1 != 0,
		Conversation:  binary.BigEndian.Uint64(b[4:]),
		Datagram:      b[HandshakeHeader:],
	}, nil
}
