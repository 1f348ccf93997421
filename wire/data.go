package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// SealOverhead is what SealData adds to a plaintext in bytes: index, counter and tag.
const SealOverhead = sealHeader + sealTag

const (
	sealHeader = 4 + 8
	sealTag    = 16
)

// Suite names an AEAD for end-to-end data.
type Suite uint8

// The suites. SuiteChaCha20 (RFC 8439) is for CPUs without AES instructions; the standard library does not export
// it, so NewAEAD refuses it and a host that has an implementation passes its own cipher.AEAD to SealData and OpenData.
const (
	SuiteAES256GCM Suite = 1 + iota
	SuiteChaCha20
)

// NewAEAD returns the cipher of a suite for a key of 32 bytes. Its tag has 16 bytes and its nonce 12.
func NewAEAD(suite Suite, key []byte) (cipher.AEAD, error) {
	if suite != SuiteAES256GCM {
		return nil, fmt.Errorf("%w: suite %d; use AES-256-GCM (%d)", ErrSuite, suite, SuiteAES256GCM)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("%w: AES-256 takes 32 bytes, not %d", ErrKeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("wire: AES: %w", err)
	}
	return cipher.NewGCM(block)
}

// SealData appends to dst the payload of a data frame: index, counter and the sealed plaintext. A counter is
// used once per key; a packet for several paths is sealed once and its bytes are copied.
//
// To seal in place, plaintext begins exactly 12 bytes behind the end of dst in the same array and the array has
// 16 spare bytes behind plaintext. Otherwise the two must not overlap.
func SealData(dst []byte, aead cipher.AEAD, index uint32, counter uint64, plaintext []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, index)
	dst = binary.BigEndian.AppendUint64(dst, counter)
	head := dst[start:]
	return aead.Seal(dst, head, plaintext, head)
}

// OpenData authenticates and decrypts the payload of a data frame in place. The plaintext aliases payload; after an
// error the payload's content is undefined.
func OpenData(payload []byte, aead cipher.AEAD) (counter uint64, plaintext []byte, err error) {
	_, counter, ok := DataIndex(payload)
	if !ok {
		return 0, nil, ErrTruncated
	}
	head, sealed := payload[:sealHeader], payload[sealHeader:]
	plaintext, err = aead.Open(sealed[:0], head, sealed, head)
	if err != nil {
		return counter, nil, ErrAuth
	}
	return counter, plaintext, nil
}

// DataIndex returns the receiver's session index and the counter of a data payload; ok is false if it is too short
// to be one.
func DataIndex(payload []byte) (index uint32, counter uint64, ok bool) {
	if len(payload) < SealOverhead {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(payload), binary.BigEndian.Uint64(payload[4:]), true
}

// QuotedInner returns the inner header of the data payload that quote is the begin of, so that whoever sealed it can tell
// whether it did without having kept anything: behind index and counter a payload continues with that header, encrypted.
// Who has not seen the payload guesses those four bytes. ErrAuth: nobody seals such a header.
//
// All suites encrypt by a key stream, which the nonce determines; sealing zeros under it shows the stream. What is sealed here
// must not leave this function: the nonce has been used.
func QuotedInner(quote [QuoteLen]byte, aead cipher.AEAD) (Inner, error) {
	var plain [InnerHeader]byte
	stream := aead.Seal(nil, quote[:sealHeader], plain[:], nil)
	for i := range plain {
		plain[i] = stream[i] ^ quote[sealHeader+i]
	}
	in, _, err := ParseInner(plain[:])
	if err != nil || in.Kind == InnerKeepalive || [InnerHeader]byte(in.Append(nil)) != plain {
		return Inner{}, ErrAuth
	}
	if in.Kind != InnerPacket && (in.Class != 0 || in.Partial) || in.Kind == InnerProbeReply && in.Path != 0 {
		return Inner{}, ErrAuth
	}
	return in, nil
}
