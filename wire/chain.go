package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// MaxStateAsk is how many chains may be asked for at once.
const MaxStateAsk = 256

// StateAsk asks for the chains whose leaves have these hashes.
type StateAsk struct{ SVIDs [][32]byte }

// StateChain is the chain that batches name by the hash of its leaf. It comes before the first of them. Parsed, it aliases the
// message.
type StateChain struct{ Chain [][]byte }

func (StateAsk) stateMessage()   {}
func (StateChain) stateMessage() {}

// ChainHash returns what a batch names a chain by, the hash of its leaf; zero without a leaf.
func ChainHash(chain [][]byte) [32]byte {
	if len(chain) == 0 {
		return [32]byte{}
	}
	return sha256.Sum256(chain[0])
}

// AppendChain appends a chain of certificates (DER, leaf first). One that breaks a limit gives bytes that ParseChain refuses.
func AppendChain(dst []byte, chain [][]byte) []byte {
	dst = append(dst, byte(min(len(chain), math.MaxUint8)))
	for _, der := range chain {
		dst = binary.BigEndian.AppendUint16(dst, uint16(min(len(der), math.MaxUint16)))
		dst = append(dst, der...)
	}
	return dst
}

// ParseChain reads what AppendChain wrote. Nothing may stand behind it. The result aliases b.
func ParseChain(b []byte) ([][]byte, error) {
	r := &reader{b: b}
	chain := parseChain(r)
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Errorf("%w: %d bytes behind the last certificate", ErrMalformed, len(r.b)))
	}
	if r.err != nil {
		return nil, fmt.Errorf("chain: %w", r.err)
	}
	return chain, nil
}

func appendStateAsk(dst []byte, svids [][32]byte) ([]byte, error) {
	if len(svids) > MaxStateAsk {
		return nil, fmt.Errorf("%w: %d chains, at most %d", ErrTooLong, len(svids), MaxStateAsk)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(svids)))
	for i := range svids {
		dst = append(dst, svids[i][:]...)
	}
	return dst, nil
}

func parseStateAsk(r *reader) (m StateAsk) {
	for range r.count(int(r.u16()), MaxStateAsk, 32) {
		m.SVIDs = append(m.SVIDs, r.hash())
	}
	return m
}

// appendStateChain refuses what no neighbour would take.
func appendStateChain(dst []byte, chain [][]byte) ([]byte, error) {
	n := len(dst)
	dst = AppendChain(dst, chain)
	_, err := ParseChain(dst[n:])
	return dst, err
}
