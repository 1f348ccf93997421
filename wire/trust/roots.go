package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ErrAuthorityCert is wrapped by every error about a certificate that cannot be an authority's.
var ErrAuthorityCert = errors.New("not an authority certificate of this trust domain")

// Roots are the CA certificates that may sign SVIDs of one trust domain. It is immutable, and a source of that
// domain's bundle and of no other's (x509bundle.Source).
type Roots struct {
	td     spiffeid.TrustDomain
	cas    []*x509.Certificate
	bundle *x509bundle.Bundle
}

// NewRoots returns the roots of td. Each certificate must pass CheckAuthority. None is allowed: then nothing verifies.
func NewRoots(td spiffeid.TrustDomain, cas ...*x509.Certificate) (*Roots, error) {
	for _, c := range cas {
		if err := CheckAuthority(c, td); err != nil {
			return nil, err
		}
	}
	return newRoots(td, cas), nil
}

func newRoots(td spiffeid.TrustDomain, cas []*x509.Certificate) *Roots {
	return &Roots{td, slices.Clone(cas), x509bundle.FromX509Authorities(td, cas)}
}

// TrustDomain returns the domain that the roots belong to.
func (r *Roots) TrustDomain() spiffeid.TrustDomain { return r.td }

// Certificates returns the CA certificates in the order of their admission.
func (r *Roots) Certificates() []*x509.Certificate { return slices.Clone(r.cas) }

// GetX509BundleForTrustDomain returns the bundle of the own trust domain and an error for every other.
func (r *Roots) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return r.bundle.GetX509BundleForTrustDomain(td)
}

// CheckAuthority reports why c may not sign SVIDs of td, or nil: X.509-SVID §4 (CA true, keyCertSign, an ID
// without a path) and, tighter than it, pathlen 0, an ECDSA P-256 key, a signature of its own, and a critical
// name constraint that permits the URIs of td only, so that software that knows nothing of SPIFFE refuses a
// stray ID as well.
func CheckAuthority(c *x509.Certificate, td spiffeid.TrustDomain) error {
	bad := func(what string) error { return fmt.Errorf("%w %q: %s", ErrAuthorityCert, td, what) }
	id, err := x509svid.IDFromCert(c)
	key, isEC := c.PublicKey.(*ecdsa.PublicKey)
	switch {
	case err != nil:
		return bad(err.Error())
	case id != td.ID():
		return bad("its ID is " + id.String())
	case !c.BasicConstraintsValid || !c.IsCA:
		return bad("its CA flag is not set")
	case c.MaxPathLen != 0 || !c.MaxPathLenZero:
		return bad("its path length is not 0")
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return bad("its key usage lacks keyCertSign")
	case !c.PermittedDNSDomainsCritical || len(c.PermittedURIDomains) != 1 || c.PermittedURIDomains[0] != td.Name():
		return bad("it lacks the critical name constraint to the URIs of the trust domain")
	case !isEC || key.Curve != elliptic.P256():
		return bad("its key is not ECDSA P-256")
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		return bad("it is not signed by its own key: " + err.Error())
	}
	return nil
}
