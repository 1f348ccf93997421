package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"x0tta6bl4/mesh"
)

// errLine says that a line of the journal cannot be read.
var errLine = errors.New("not a line of the journal")

// appendLine appends changes that became part of the state together:
//
//	taken, Unix ms (8) ‖ changes: flags (1, bit 0 gone) ‖ hybrid time (8) ‖ author: length (1) ‖ name ‖ key length (2) ‖ key ‖
//	value length (4) ‖ value
func appendLine(dst []byte, cs []change) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(cs[0].taken))
	for i := range cs {
		c := &cs[i]
		flags := byte(0)
		if c.gone {
			flags = 1
		}
		dst = be.AppendUint64(append(dst, flags), uint64(c.at))
		dst = append(append(dst, byte(len(c.author.String()))), c.author.String()...)
		dst = append(be.AppendUint16(dst, uint16(len(c.key))), c.key...)
		dst = append(be.AppendUint32(dst, uint32(len(c.value))), c.value...)
	}
	return dst
}

// parseLine reads what appendLine wrote. The result aliases b.
func parseLine(b []byte) (cs []change, err error) {
	r := fields{b: b}
	taken := r.number(8)
	if taken > math.MaxInt64 {
		return nil, errLine
	}
	for len(r.b) > 0 && !r.bad {
		c := change{taken: int64(taken), gone: r.number(1)&1 != 0, at: mesh.Hybrid(r.number(8))}
		name := string(r.take(r.number(1)))
		c.key = r.take(r.number(2))
		c.value = r.take(r.number(4))
		if r.bad {
			break
		}
		if c.author, err = mesh.ParseNodeID(name); err != nil {
			return nil, fmt.Errorf("%w: %w", errLine, err)
		}
		cs = append(cs, c)
	}
	if r.bad || len(cs) == 0 {
		return nil, errLine
	}
	return cs, nil
}

// fields takes fields off a byte string; bad: one did not fit, and all further ones are empty.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n uint64) []byte {
	if f.bad || n > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

// number reads a number of so many bytes, 8 at most.
func (f *fields) number(bytes uint64) (n uint64) {
	for _, b := range f.take(bytes) {
		n = n<<8 | uint64(b)
	}
	return n
}
