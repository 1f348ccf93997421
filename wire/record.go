package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"x0tta6bl4/mesh"
)

// Limits of a node record; sizes in bytes, MaxRecord the whole.
const (
	MaxChain       = 4
	MaxCertificate = 8 << 10
	MaxAddresses   = 16
	MaxAddress     = 255
	MaxRecord      = 40 << 10
)

const recordPrefix = "x0t-record/1\x00"

// Record carries a node's SVID chain once, for all LSAs that name its leaf by hash, and where the node listens.
type Record struct {
	Origin      mesh.NodeID
	Incarnation uint64 // random, made with the origin's state directory
	Seq         uint64
	Time        time.Time // of origin; whole ms, UTC
	Chain       [][]byte  // 1 to MaxChain certificates, DER, leaf first; parsed: alias the input
	Roles       uint32
	Addresses   []string // on the underlay; printable ASCII without spaces
}

// Validate returns what ParseRecord would refuse, or nil.
func (rec Record) Validate() error {
	_, _, _, err := ParseRecord(rec.AppendSigned(nil, []byte{0}))
	return err
}

// SigningInput returns what the origin signs. A record that breaks a limit gives bytes that ParseRecord refuses.
func (rec Record) SigningInput() []byte {
	be := binary.BigEndian
	b := appendNode(beginSigned(recordPrefix), rec.Origin)
	b = be.AppendUint64(b, rec.Incarnation)
	b = be.AppendUint64(b, rec.Seq)
	b = be.AppendUint64(b, uint64(rec.Time.UnixMilli()))
	b = AppendChain(b, rec.Chain)
	b = be.AppendUint32(b, rec.Roles)
	b = append(b, byte(min(len(rec.Addresses), math.MaxUint8)))
	for _, a := range rec.Addresses {
		// A text too long to say so is written as an empty one, which no parser accepts either.
		if len(a) > MaxAddress {
			a = ""
		}
		b = append(append(b, byte(len(a))), a...)
	}
	return endSigned(b, recordPrefix)
}

// AppendSigned appends the whole record: its SigningInput and the signature of it.
func (rec Record) AppendSigned(dst, sig []byte) []byte {
	return appendSignature(dst, rec.SigningInput(), sig)
}

// ParseRecord reads a signed record. signed is what sig must be a valid signature of; both alias raw.
func ParseRecord(raw []byte) (rec Record, signed, sig []byte, err error) {
	r, signed, sig, err := openSigned(raw, recordPrefix, MaxRecord)
	if err != nil {
		return Record{}, nil, nil, fmt.Errorf("node record: %w", err)
	}
	rec = Record{Origin: r.node(), Incarnation: r.u64(), Seq: r.u64(), Time: r.time()}
	rec.Chain = parseChain(r)
	rec.Roles = r.u32()
	rec.Addresses = parseAddresses(r)
	if r.err != nil {
		return Record{}, nil, nil, fmt.Errorf("node record of %q: %w", rec.Origin, r.err)
	}
	return rec, signed, sig, nil
}

func parseChain(r *reader) (chain [][]byte) {
	n := r.count(int(r.u8()), MaxChain, 2)
	if n == 0 {
		r.fail(fmt.Errorf("%w: no certificate", ErrMalformed))
	}
	for range n {
		der := r.take(r.count(int(r.u16()), MaxCertificate, 1))
		if r.err == nil && len(der) == 0 {
			r.fail(fmt.Errorf("%w: empty certificate", ErrMalformed))
		}
		chain = append(chain, der)
	}
	return chain
}

func parseAddresses(r *reader) (addrs []string) {
	n := r.count(int(r.u8()), MaxAddresses, 2)
	for range n {
		a := r.take(int(r.u8()))
		if r.err == nil && !printable(a) {
			r.fail(fmt.Errorf("%w: address %q", ErrMalformed, a))
		}
		addrs = append(addrs, string(a))
	}
	return addrs
}

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}
