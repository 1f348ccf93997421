package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// BeaconLen is the length of a beacon in bytes.
const BeaconLen = 48

const (
	beaconMagic   = "x0tb"
	beaconVersion = 1
	beaconContext = "x0t-beacon/1\x00"
)

// Beacon says to an interface's segment that a member of some trust domain listens for links there. It names neither the
// node nor the domain; who knows the domain's name, or guesses it, recognises it (DomainHash). Nothing in it is
// authentic: it is a hint where to try a handshake.
type Beacon struct {
	Answer bool     // sent to one node because of its beacon; never answered itself
	Port   uint16   // UDP port of the sender's links, at the address that the beacon came from; never 0
	Nonce  uint64   // random, the same for as long as the sender's process has its interface
	Salt   [16]byte // random, new in every beacon
	Hash   [16]byte // DomainHash of the sender's domain
}

// DomainHash returns the first half of HMAC-SHA-256 (RFC 2104) of a trust domain's name, with the salt as key. With the
// salt the domains of a segment cannot be looked up in a table that was made before, but a name can be tried.
func DomainHash(salt [16]byte, domain spiffeid.TrustDomain) [16]byte {
	h := hmac.New(sha256.New, salt[:])
	h.Write([]byte(beaconContext + domain.Name()))
	return [16]byte(h.Sum(nil))
}

// Of reports whether the beacon is of a trust domain.
func (b Beacon) Of(domain spiffeid.TrustDomain) bool { return b.Hash == DomainHash(b.Salt, domain) }

// Append appends the beacon.
func (b Beacon) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(dst, beaconMagic...)
	dst = append(dst, beaconVersion, bit(b.Answer, 0))
	dst = be.AppendUint16(dst, b.Port)
	dst = be.AppendUint64(dst, b.Nonce)
	dst = append(dst, b.Salt[:]...)
	return append(dst, b.Hash[:]...)
}

// ParseBeacon reads a beacon. Errors are ErrTruncated, ErrMalformed (not a beacon, or without a port) and ErrVersion.
func ParseBeacon(p []byte) (b Beacon, err error) {
	if len(p) < BeaconLen {
		return Beacon{}, ErrTruncated
	}
	be := binary.BigEndian
	b = Beacon{
		Answer: p[5]&1 != 0,
		Port:   be.Uint16(p[6:]),
		Nonce:  be.Uint64(p[8:]),
		Salt:   [16]byte(p[16:]),
		Hash:   [16]byte(p[32:]),
	}
	switch {
	case string(p[:4]) != beaconMagic || b.Port == 0:
		return Beacon{}, ErrMalformed
	case p[4] != beaconVersion:
		return Beacon{}, ErrVersion
	}
	return b, nil
}
