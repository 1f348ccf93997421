package wire

import (
	"encoding/binary"

	"x0tta6bl4/mesh"
)

// AppendDetour appends to dst the frame b as it leaves by a detour, in place of the link that its next label names. As with
// SwapLabel, in stands where that label was and the hop index moves on; then come the labels of the detour, 2 bytes each,
// which leads past the next skip labels of the frame, then what is left of them. The flags are fl. On an error dst is
// unchanged: ErrTooManyLabels and ErrTooLong mean that the detour finds no room. It does not allocate if dst has the
// capacity. Seal what it appends for the next link. dst must not overlap b.
func AppendDetour(dst, b []byte, in mesh.Label, detour []byte, skip int, fl Flags) ([]byte, error) {
	if len(b) < HeaderLen {
		return dst, ErrTruncated
	}
	hop, n := int(b[1]), int(b[2])
	next, end := HeaderLen+2*hop, HeaderLen+2*n
	rest := next + 2*(1+skip)
	switch {
	case hop >= n || skip < 0 || rest > end:
		return dst, ErrNoMoreLabels
	case len(b) < end || len(detour)%2 != 0:
		return dst, ErrTruncated
	case in == 0 || binary.BigEndian.Uint16(b[next:]) == 0:
		return dst, ErrZeroLabel
	case n+len(detour)/2-skip > MaxLabels:
		return dst, ErrTooManyLabels
	case len(b)+len(detour)-2*skip > MaxFrame:
		return dst, ErrTooLong
	}
	start := len(dst)
	dst = append(dst, b[:next]...)
	PutHeader(dst[start:], FrameType(b[0]&0x0f), hop+1, n+len(detour)/2-skip, fl)
	dst = binary.BigEndian.AppendUint16(dst, uint16(in))
	dst = append(dst, detour...)
	return append(dst, b[rest:]...), nil
}
