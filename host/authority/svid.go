package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"x0tta6bl4/mesh"
)

// maxBackdate is how long before its issue an SVID is valid at most, for receivers whose clocks are late.
const maxBackdate = 60 * time.Second

// SVID is a node's X.509-SVID with its key. It is immutable and was well-formed when made; whether it is valid
// now, trust.VerifySVID says.
type SVID struct {
	ID    spiffeid.ID
	Node  mesh.NodeID
	Chain []*x509.Certificate // leaf first
	Key   *ecdsa.PrivateKey
}

// NewSVID joins a chain (DER, leaf first) and the key it is for.
func NewSVID(chain [][]byte, key *ecdsa.PrivateKey) (*SVID, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyType, err)
	}
	s, err := x509svid.ParseRaw(bytes.Join(chain, nil), der)
	if err != nil {
		return nil, fmt.Errorf("SVID: %w", err)
	}
	node, err := mesh.NodeIDFromSPIFFE(s.ID)
	if err != nil {
		return nil, fmt.Errorf("SVID: %w", err)
	}
	return &SVID{s.ID, node, s.Certificates, key}, nil
}

// NotAfter returns the end of the SVID's life.
func (s *SVID) NotAfter() time.Time { return s.Chain[0].NotAfter }

// Issued returns when the SVID was issued, to the second. A certificate tells only when it begins, which is
// min(60 s, TTL/2) earlier; so the span from beginning to end is TTL+60 s, or 1.5 TTL where that is under 180 s.
func (s *SVID) Issued() time.Time {
	begin, end := s.Chain[0].NotBefore, s.Chain[0].NotAfter
	return begin.Add(min(maxBackdate, end.Sub(begin)/3))
}

// RenewAt returns half of the life, counted from issue.
func (s *SVID) RenewAt() time.Time {
	issued := s.Issued()
	return issued.Add(s.NotAfter().Sub(issued) / 2)
}

// Raw returns the chain in DER, leaf first.
func (s *SVID) Raw() [][]byte {
	raw := make([][]byte, len(s.Chain))
	for i, c := range s.Chain {
		raw[i] = c.Raw
	}
	return raw
}

// Hash returns the SHA-256 of the leaf, by which records and announcements name the SVID.
func (s *SVID) Hash() [32]byte { return sha256.Sum256(s.Chain[0].Raw) }

// Certificate returns the SVID as crypto/tls wants it.
func (s *SVID) Certificate() tls.Certificate {
	return tls.Certificate{Certificate: s.Raw(), PrivateKey: s.Key, Leaf: s.Chain[0]}
}

// Sign returns an ECDSA signature (ASN.1) over the SHA-256 of message.
func (s *SVID) Sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, s.Key, digest[:])
}

func (s *SVID) marshal() ([]byte, error) {
	out, err := marshalKey(s.Key)
	if err != nil {
		return nil, err
	}
	for _, c := range s.Chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out, nil
}

// parseSVID reads what marshal wrote.
func parseSVID(b []byte) (*SVID, error) {
	s, err := unmarshalSVID(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; restore it from a copy", ErrCorrupt, fileSVID, err)
	}
	return s, nil
}

func unmarshalSVID(b []byte) (*SVID, error) {
	pair, err := tls.X509KeyPair(b, b)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, ErrKeyType
	}
	return NewSVID(pair.Certificate, key)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// marshalKey writes a private key as PEM (PKCS #8).
func marshalKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// readKey reads a private key of type K from the first block of a file.
func readKey[K any](store Store, name string) (K, []byte, error) {
	var none K
	b, err := readNeeded(store, name)
	if err != nil {
		return none, nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil {
		return none, nil, fmt.Errorf("%w: %s holds no key; restore it from a copy", ErrCorrupt, name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return none, nil, fmt.Errorf("%w: %s: %w; restore it from a copy", ErrCorrupt, name, err)
	}
	k, ok := key.(K)
	if !ok {
		return none, nil, fmt.Errorf("%w: %s holds a %T; restore it from a copy", ErrCorrupt, name, key)
	}
	return k, rest, nil
}
