package wire

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ExporterLabel is the TLS exporter label of all session secrets (RFC 8446 §7.5), SecretSize how many bytes are
// exported, ALPNLink and ALPNE2E the protocols that fix the version of everything in this package.
const (
	ExporterLabel = "EXPORTER-x0t-1"
	SecretSize    = 32
	ALPNLink      = "x0t-link/1"
	ALPNE2E       = "x0t-e2e/1"
)

const exporterVersion = 1

// Purpose keeps the secrets of links and of end-to-end sessions apart.
type Purpose uint8

// The purposes.
const (
	PurposeLink Purpose = 1 + iota
	PurposeE2E
)

func (p Purpose) String() string {
	switch p {
	case PurposeLink:
		return "link"
	case PurposeE2E:
		return "e2e"
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// ALPN returns the TLS application protocol of the purpose, or "" if there is no such purpose.
func (p Purpose) ALPN() string {
	switch p {
	case PurposeLink:
		return ALPNLink
	case PurposeE2E:
		return ALPNE2E
	}
	return ""
}

// ExporterContext returns the context of the TLS exporter for one lane of a session that client opened.
func ExporterContext(p Purpose, client, server spiffeid.ID, lane uint16) []byte {
	b := []byte{exporterVersion, byte(p)}
	for _, id := range []spiffeid.ID{client, server} {
		s := id.String()
		b = binary.BigEndian.AppendUint16(b, uint16(len(s))) // a SPIFFE ID has at most 2048 bytes
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint16(b, lane)
}

// LinkKeys authenticate the frames of a link session.
type LinkKeys struct{ Send, Recv MACKey }

// DeriveLinkKeys expands an exported secret. client is true at the end that opened the connection.
func DeriveLinkKeys(secret []byte, client bool) (LinkKeys, error) {
	c2s, s2c, err := deriveBoth(secret, "mac", MACKeySize)
	if err != nil {
		return LinkKeys{}, err
	}
	k := LinkKeys{Send: NewMACKey(c2s), Recv: NewMACKey(s2c)}
	if !client {
		k.Send, k.Recv = k.Recv, k.Send
	}
	return k, nil
}

// DataKeys are the AEAD keys of an end-to-end session.
type DataKeys struct{ Send, Recv [32]byte }

// DeriveDataKeys expands an exported secret. client is true at the end that opened the connection.
func DeriveDataKeys(secret []byte, client bool) (DataKeys, error) {
	c2s, s2c, err := deriveBoth(secret, "aead", 32)
	if err != nil {
		return DataKeys{}, err
	}
	k := DataKeys{Send: [32]byte(c2s), Recv: [32]byte(s2c)}
	if !client {
		k.Send, k.Recv = k.Recv, k.Send
	}
	return k, nil
}

// EpochPackets is how many counters one end-to-end key serves. RFC 9001 §6.6 allows AES-GCM 2^23 packets a key, and appendix B.1
// 2^28 if none is longer than 2^11 bytes, as no frame is, for an attacker's advantage of at most 2^-57. It grows with the square:
// here it is 2^-69. At 450,000 packets a second a key serves for 9 s.
const EpochPackets = 1 << 22

// Epoch returns how many times the key of a session was replaced when something is sealed with a counter.
func Epoch(counter uint64) uint64 { return counter / EpochPackets }

// NextEpoch returns the key that follows key. The step cannot be undone: erase key once it is out of use.
func NextEpoch(key [32]byte) ([32]byte, error) {
	next, err := hkdf.Expand(sha256.New, key[:], "next epoch", len(key))
	if err != nil {
		return [32]byte{}, fmt.Errorf("wire: next epoch's key: %w", err)
	}
	return [32]byte(next), nil
}

func deriveBoth(secret []byte, what string, size int) (c2s, s2c []byte, err error) {
	if len(secret) != SecretSize {
		return nil, nil, fmt.Errorf("%w: a session secret has %d bytes, not %d", ErrKeySize, SecretSize, len(secret))
	}
	if c2s, err = hkdf.Expand(sha256.New, secret, "c2s "+what, size); err != nil {
		return nil, nil, fmt.Errorf("wire: session keys: %w", err)
	}
	if s2c, err = hkdf.Expand(sha256.New, secret, "s2c "+what, size); err != nil {
		return nil, nil, fmt.Errorf("wire: session keys: %w", err)
	}
	return c2s, s2c, nil
}
