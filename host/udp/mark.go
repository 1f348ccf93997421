package udp

import (
	crand "crypto/rand"
	"encoding/binary"

	"golang.org/x/net/bpf"
)

// ConnectionIDLen is the length in bytes of what NewConnectionID makes.
const ConnectionIDLen = 12

// marker makes QUIC connection IDs that the kernel's filter recognises without knowing each: eight random bytes and a tag
// of 32 bits that follows from them by a key of this process. To those who have seen none of our IDs the tag is 32 bits to
// guess; whoever has seen one can send it again, so a good tag only decides which queue a datagram waits in. It is no MAC:
// many IDs of one process give the key away.
type marker struct{ k [4]uint32 }

func newMarker() *marker {
	var b [16]byte
	_, _ = crand.Read(b[:]) // never fails (crypto/rand)
	m := &marker{}
	for i := range m.k {
		m.k[i] = binary.BigEndian.Uint32(b[4*i:]) | 1 // odd: to multiply by it loses nothing
	}
	return m
}

// id returns a new connection ID.
func (m *marker) id() []byte {
	b := make([]byte, ConnectionIDLen)
	_, _ = crand.Read(b[:8])
	binary.BigEndian.PutUint32(b[8:], m.tag(b))
	return b
}

// knows reports whether the connection ID at the start of b has our tag.
func (m *marker) knows(b []byte) bool {
	return len(b) >= ConnectionIDLen && binary.BigEndian.Uint32(b[8:]) == m.tag(b)
}

// tag mixes the first eight bytes of an ID with the key; program does the same.
func (m *marker) tag(b []byte) uint32 {
	a := (binary.BigEndian.Uint32(b) ^ m.k[0]) * m.k[1]
	a ^= a >> 15
	a = (a ^ binary.BigEndian.Uint32(b[4:])) * m.k[2]
	a ^= a >> 13
	a *= m.k[3]
	return a ^ a>>16
}

// program tests the connection ID that begins at byte `at` of the datagram.
func (m *marker) program(at uint32, yes, no []bpf.Instruction) []bpf.Instruction {
	mix := func(shift uint32) []bpf.Instruction { // A ^= A >> shift
		return []bpf.Instruction{bpf.TAX{}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: shift}, bpf.ALUOpX{Op: bpf.ALUOpXor}}
	}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: at, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: m.k[0]},
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: m.k[1]},
	}
	p = append(p, mix(15)...)
	p = append(p, bpf.TAX{}, bpf.LoadAbsolute{Off: at + 4, Size: 4}, bpf.ALUOpX{Op: bpf.ALUOpXor},
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: m.k[2]})
	p = append(p, mix(13)...)
	p = append(p, bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: m.k[3]})
	p = append(p, mix(16)...)
	p = append(p, bpf.TAX{}, bpf.LoadAbsolute{Off: at + 8, Size: 4},
		bpf.JumpIfX{Cond: bpf.JumpEqual, SkipFalse: uint8(len(yes))}) // #nosec G115 -- a few
	return append(append(p, yes...), no...)
}
