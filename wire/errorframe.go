package wire

import (
	"encoding/binary"
	"fmt"

	"x0tta6bl4/mesh"
)

// ErrorLen is the length of an error payload in bytes, QuoteLen how much of the cause's payload it quotes.
const (
	ErrorLen = 22
	QuoteLen = 16
)

// ErrorCode says why a relay could not pass a frame on.
type ErrorCode uint8

// The codes. ParseErrorFrame refuses all others.
const (
	ErrorLinkDown    ErrorCode = 1 + iota // the next link is down
	ErrorNoLabel                          // the relay has no link of that label
	ErrorNoSession                        // the destination knows no end-to-end session of that index
	ErrorTooBig                           // the next link does not carry it; MTU says what it does
	ErrorLinkSuspect                      // passed on, and also sent by the detour
	ErrorUTurn                            // it would leave by the link it came in on
)

func (c ErrorCode) String() string {
	names := [...]string{"", "link-down", "no-label", "no-session", "too-big", "link-suspect", "u-turn"}
	if c != 0 && int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("errorcode(%d)", uint8(c))
}

// ErrorFrame is the payload of an error frame. It is a hint: whoever saw the quoted packet could have sent it.
type ErrorFrame struct {
	Code  ErrorCode
	Label mesh.Label // of the link that failed, at the reporter; 0 where there is none
	MTU   uint16     // of that link, for ErrorTooBig; else 0
	Quote [QuoteLen]byte
	Hop   uint8 // the hop index of the cause when it reached the reporter
}

// Append appends the payload.
func (e ErrorFrame) Append(dst []byte) []byte {
	dst = append(dst, byte(e.Code))
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Label))
	dst = binary.BigEndian.AppendUint16(dst, e.MTU)
	dst = append(dst, e.Quote[:]...)
	return append(dst, e.Hop)
}

// ParseErrorFrame reads the payload of an error frame.
func ParseErrorFrame(b []byte) (ErrorFrame, error) {
	if len(b) < ErrorLen {
		return ErrorFrame{}, ErrTruncated
	}
	e := ErrorFrame{
		Code:  ErrorCode(b[0]),
		Label: mesh.Label(binary.BigEndian.Uint16(b[1:])),
		MTU:   binary.BigEndian.Uint16(b[3:]),
		Quote: [QuoteLen]byte(b[5:21]),
		Hop:   b[21],
	}
	if e.Code < ErrorLinkDown || e.Code > ErrorUTurn {
		return ErrorFrame{}, ErrErrorCode
	}
	if e.Hop > MaxLabels {
		return ErrorFrame{}, ErrHopIndex
	}
	return e, nil
}

// QuoteOf returns what an error about a frame with this payload quotes: its first 16 bytes, zeros behind a shorter one.
func QuoteOf(payload []byte) (q [QuoteLen]byte) {
	copy(q[:], payload)
	return q
}
