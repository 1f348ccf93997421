package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"x0tta6bl4/mesh"
)

// reader takes fields off the front of a message. The first failure sticks and every later field is zero, so a
// parser reads a whole format and looks at err once; loops over a count stop at it.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, or nil.
func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(ErrTruncated)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) hash() (h [32]byte) {
	copy(h[:], r.take(32))
	return h
}

func (r *reader) node() mesh.NodeID {
	name := r.take(int(r.u8()))
	if r.err != nil {
		return mesh.NodeID{}
	}
	n, err := mesh.ParseNodeID(string(name))
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	return n
}

// count checks a number of elements against its limit and against what the remaining bytes can hold, so that a
// count never makes us allocate more than was sent.
func (r *reader) count(n, limit, size int) int {
	if r.err != nil {
		return 0
	}
	if n > limit {
		r.fail(fmt.Errorf("%w: %d elements, at most %d", ErrTooLong, n, limit))
		return 0
	}
	if n*size > len(r.b) {
		r.fail(ErrTruncated)
		return 0
	}
	return n
}

// time reads Unix milliseconds between 1970 and 9999: what JSON and people can write.
func (r *reader) time() time.Time {
	ms := r.u64()
	if ms > maxUnixMilli {
		r.fail(fmt.Errorf("%w: time %d ms", ErrMalformed, ms))
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

const maxUnixMilli = 253_402_300_799_999 // 9999-12-31T23:59:59.999Z

func appendNode(dst []byte, n mesh.NodeID) []byte {
	name := n.String() // at most mesh.MaxName bytes
	return append(append(dst, byte(len(name))), name...)
}
