package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// MaxSignature is the longest signature of a signed object in bytes.
const MaxSignature = 512

// beginSigned starts the signing input of an object; endSigned fills in the length of the body.
func beginSigned(prefix string) []byte { return append([]byte(prefix), 0, 0, 0, 0) }

func endSigned(b []byte, prefix string) []byte {
	binary.BigEndian.PutUint32(b[len(prefix):], uint32(len(b)-len(prefix)-4))
	return b
}

func appendSignature(dst, input, sig []byte) []byte {
	dst = append(dst, input...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(sig)))
	return append(dst, sig...)
}

// openSigned takes a signed object apart. All results alias raw.
func openSigned(raw []byte, prefix string, limit int) (body *reader, signed, sig []byte, err error) {
	if len(raw) > limit {
		return nil, nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(raw), limit)
	}
	rest, ok := bytes.CutPrefix(raw, []byte(prefix))
	if !ok {
		return nil, nil, nil, ErrNotSigned
	}
	r := &reader{b: rest}
	body = &reader{b: r.take(r.count(int(r.u32()), limit, 1))}
	signed = raw[:len(raw)-len(r.b)]
	sig = r.take(r.count(int(r.u16()), MaxSignature, 1))
	switch {
	case r.err != nil:
		return nil, nil, nil, r.err
	case len(sig) == 0:
		return nil, nil, nil, fmt.Errorf("%w: no signature", ErrTruncated)
	case len(r.b) > 0:
		return nil, nil, nil, ErrTrailing
	}
	return body, signed, sig, nil
}
