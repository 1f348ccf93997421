package trust

import "encoding/binary"

// reader takes fields off a byte string. After the first field that does not fit, bad is set and every further
// field is empty, so that parsers check once at their end.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() int {
	if v := r.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (r *reader) u16() int {
	if v := r.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
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

// long reads a u32 length and that many bytes.
func (r *reader) long() []byte {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

func (r *reader) b8() []byte  { return r.take(r.u8()) }
func (r *reader) b16() []byte { return r.take(r.u16()) }
func (r *reader) s8() string  { return string(r.b8()) }

func (r *reader) b32() (v [32]byte) {
	copy(v[:], r.take(32))
	return v
}

func appendB8[T string | []byte](dst []byte, v T) []byte {
	return append(append(dst, byte(len(v))), v...)
}

func appendB16(dst, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(v))), v...) // #nosec G115 -- callers bound the length
}

func appendB32(dst, v []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...) // #nosec G115 -- callers bound the length
}
