package wire

import (
	"encoding/binary"

	"x0tta6bl4/mesh"
)

// labelOffset returns where label k of frame b stands, or 0 if b has no such label.
func labelOffset(b []byte, k int) int {
	if len(b) < HeaderLen || k < 0 || k >= int(b[2]) {
		return 0
	}
	if off := HeaderLen + 2*k; off+2 <= len(b) {
		return off
	}
	return 0
}

// LabelAt returns label k of frame b, or 0 if it has none.
func LabelAt(b []byte, k int) mesh.Label {
	off := labelOffset(b, k)
	if off == 0 {
		return 0
	}
	return mesh.Label(binary.BigEndian.Uint16(b[off:]))
}

// SwapLabel takes the next label of frame b as the link to send it out by, leaves in its place in, this node's
// label of the link the frame came in on, and moves the hop index on. On an error b is unchanged; ErrNoMoreLabels
// means that the frame has arrived. The MAC is stale afterwards: Seal for the next link.
func SwapLabel(b []byte, in mesh.Label) (out mesh.Label, err error) {
	if len(b) < HeaderLen {
		return 0, ErrTruncated
	}
	if b[1] >= b[2] {
		return 0, ErrNoMoreLabels
	}
	off := labelOffset(b, int(b[1]))
	if off == 0 {
		return 0, ErrTruncated
	}
	out = mesh.Label(binary.BigEndian.Uint16(b[off:]))
	if out == 0 || in == 0 {
		return 0, ErrZeroLabel
	}
	binary.BigEndian.PutUint16(b[off:], uint16(in))
	b[1]++
	return out, nil
}

// ReversedPrefix appends to dst the labels by which a frame goes back to the source of b, behind the link that b
// came in on: the consumed labels, last first. A relay that reports an error calls it before SwapLabel.
func ReversedPrefix(b []byte, dst []mesh.Label) []mesh.Label {
	if len(b) < HeaderLen {
		return dst
	}
	for k := int(min(b[1], b[2])) - 1; k >= 0; k-- {
		if l := LabelAt(b, k); l != 0 {
			dst = append(dst, l)
		}
	}
	return dst
}
