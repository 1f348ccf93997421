package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"time"

	"x0tta6bl4/mesh"
)

// Issue binds node to a key and returns the chain (DER, leaf first) of an SVID for it that lives ttl from now; 0
// is the authority's own. It refuses a name that another key holds (ErrNameTaken) and one whose mesh address is
// another node's (ErrAddressTaken). Of a CSR take only the public key: see PublicKeyOfCSR.
func (a *Authority) Issue(pub *ecdsa.PublicKey, node mesh.NodeID, ttl time.Duration, now time.Time) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issue(pub, node, ttl, now, func(reg *registry, key boundKey) error {
		if !reg.holds(node, key.Hash) {
			if err := a.checkFree(reg, node, now); err != nil {
				return err
			}
			delete(reg.Names, node) // what is left of a node that is long gone
		}
		reg.bind(node, key, now)
		return nil
	})
}

// issue lets change bind the key in a copy of the registry, keeps the copy, and only then signs.
func (a *Authority) issue(pub *ecdsa.PublicKey, node mesh.NodeID, ttl time.Duration, now time.Time, change func(*registry, boundKey) error) ([][]byte, error) {
	hash, err := keyHash(pub)
	if err != nil || pub.Curve != elliptic.P256() {
		return nil, ErrKeyType
	}
	leaf, err := a.leafTemplate(node, ttl, now)
	if err != nil {
		return nil, err
	}
	next := a.reg.clone()
	if err := change(next, boundKey{hash, leaf.NotAfter}); err != nil {
		return nil, err
	}
	if err := a.keepRegistry(next); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.ca, pub, a.caKey)
	if err != nil {
		return nil, fmt.Errorf("sign the SVID of %s: %w", node, err)
	}
	return [][]byte{der}, nil
}

// leafTemplate fills in an X.509-SVID (X.509-SVID §§2–4). Its times tell when it was issued: see SVID.Issued.
func (a *Authority) leafTemplate(node mesh.NodeID, ttl time.Duration, now time.Time) (*x509.Certificate, error) {
	if ttl == 0 {
		ttl = time.Duration(a.ttl.Load())
	}
	ttl, err := checkTTL(ttl)
	if err != nil {
		return nil, err
	}
	// A certificate has whole seconds.
	issued := now.Truncate(time.Second)
	ttl = min(ttl, a.ca.NotAfter.Sub(issued)).Truncate(time.Second)
	if ttl < MinTTL {
		return nil, fmt.Errorf("%w: the authority's own certificate ends %s; make a new authority", ErrTTL, a.ca.NotAfter)
	}
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"x0t"}, CommonName: node.String()},
		URIs:                  []*url.URL{node.SPIFFEID(a.td).URL()},
		NotBefore:             issued.Add(-min(maxBackdate, ttl/2)),
		NotAfter:              issued.Add(ttl),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, nil
}

// RenewSelf returns a new SVID, with a new key, for the authority's own node.
func (a *Authority) RenewSelf(now time.Time) (*SVID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issueSelf(now)
}

func (a *Authority) issueSelf(now time.Time) (*SVID, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	chain, err := a.issue(&key.PublicKey, a.node, 0, now, func(reg *registry, k boundKey) error {
		reg.bind(a.node, k, now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return NewSVID(chain, key)
}

// PublicKeyOfCSR returns the only thing that counts in a certificate signing request (PKCS #10): its key, once
// it is shown that the sender holds the private half.
func PublicKeyOfCSR(der []byte) (*ecdsa.PublicKey, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	pub, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: the request's is %s", ErrKeyType, csr.PublicKeyAlgorithm)
	}
	return pub, nil
}

func makeCSR(key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}
