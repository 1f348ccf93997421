package wire

import (
	"encoding/binary"
	"math/bits"
)

// MACKey authenticates frames in one direction of one link session.
type MACKey struct{ k0, k1 uint64 }

// MACKeySize is the length of a MACKey in bytes.
const MACKeySize = 16

// NewMACKey makes a key of 16 bytes. Keys come out of a key schedule, never off the network: it panics on any
// other length.
func NewMACKey(key []byte) MACKey {
	if len(key) != MACKeySize {
		panic("wire: a MAC key has 16 bytes")
	}
	return MACKey{binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])}
}

// macPrefix is how much of a payload that is protected end to end the link MAC covers: enough to tie the labels
// to one packet, little enough that a relay's cost does not grow with packet size.
const macPrefix = 16

// Seal makes the complete frame b ready for its next link: it fills in session index, counter and MAC.
func Seal(b []byte, key *MACKey, session uint32, counter uint64) {
	if len(b) < HeaderLen {
		return
	}
	binary.BigEndian.PutUint32(b[4:], session)
	binary.BigEndian.PutUint32(b[8:], uint32(counter))
	binary.BigEndian.PutUint64(b[12:], frameMAC(b, key, uint32(counter>>32)))
}

// Check reports whether the whole frame b was sealed with key and with exactly this 64-bit counter.
func Check(b []byte, key *MACKey, counter uint64) bool {
	if len(b) < HeaderLen || binary.BigEndian.Uint32(b[8:]) != uint32(counter) {
		return false
	}
	// One comparison of two registers: it leaks no timing of single bytes.
	return binary.BigEndian.Uint64(b[12:]) == frameMAC(b, key, uint32(counter>>32))
}

func frameMAC(b []byte, key *MACKey, counterHigh uint32) uint64 {
	end := len(b)
	if t := FrameType(b[0] & 0x0f); t == TypeData || t == TypeHandshake {
		end = min(end, HeaderLen+2*int(b[2])+macPrefix)
	}
	// The MAC's own eight bytes are left out, so the words are shifted against the frame: three words are put
	// together here and the rest is read where it lies.
	var head [24]byte
	copy(head[:12], b)
	binary.BigEndian.PutUint32(head[12:], counterHigh)
	binary.BigEndian.PutUint16(head[16:], uint16(len(b)))
	n := copy(head[18:], b[HeaderLen:end])
	return sipHash(key, head[:18+n], b[HeaderLen+n:end])
}

// sipHash is SipHash-2-4 (Aumasson, Bernstein 2012) of head ‖ tail. The length of head is a multiple of 8 or tail
// is empty.
func sipHash(key *MACKey, head, tail []byte) uint64 {
	v0 := key.k0 ^ 0x736f6d6570736575
	v1 := key.k1 ^ 0x646f72616e646f6d
	v2 := key.k0 ^ 0x6c7967656e657261
	v3 := key.k1 ^ 0x7465646279746573
	length := uint64(len(head) + len(tail))
	p, next := head, tail
	for {
		for ; len(p) >= 8; p = p[8:] {
			m := binary.LittleEndian.Uint64(p)
			v3 ^= m
			v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
			v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
			v0 ^= m
		}
		if len(next) == 0 {
			break
		}
		p, next = next, nil
	}
	m := length << 56
	for i, c := range p {
		m |= uint64(c) << (8 * i)
	}
	v3 ^= m
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= m
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32) + v3
	v2 += v1
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
