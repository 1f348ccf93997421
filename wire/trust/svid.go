package trust

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"x0tta6bl4/mesh"
)

// What can be wrong with the SVID of a node. Each is wrapped by exactly one refusal of VerifySVID.
var (
	ErrChain               = errors.New("certificate chain does not verify")
	ErrNoURISAN            = errors.New("certificate names no SPIFFE ID (no URI SAN)")
	ErrManyURISANs         = errors.New("certificate has more than one URI SAN")
	ErrSPIFFEID            = errors.New("certificate's URI SAN is not a SPIFFE ID")
	ErrWrongDomain         = errors.New("SVID of another trust domain")
	ErrNoPath              = errors.New("SPIFFE ID of the SVID has no path")
	ErrNotNode             = errors.New("SVID is not a node's")
	ErrLeafIsCA            = errors.New("SVID is a CA certificate")
	ErrKeyUsageMissing     = errors.New("SVID has no key usage")
	ErrKeyUsageNotCritical = errors.New("SVID's key usage is not critical")
	ErrDigitalSignature    = errors.New("SVID's key usage lacks digitalSignature")
	ErrKeyUsageSign        = errors.New("SVID's key usage allows signing certificates or CRLs")
	ErrExtKeyUsage         = errors.New("SVID's extended key usage lacks serverAuth or clientAuth")
	ErrExpired             = errors.New("SVID has expired")
	ErrNotYetValid         = errors.New("SVID is not valid yet")
	ErrAuthorityExpired    = errors.New("authority certificate has expired or is not valid yet")
	ErrSelfSigned          = errors.New("SVID is signed by its own key")
	ErrUnknownAuthority    = errors.New("SVID is signed by no authority of the trust domain")
)

// MaxChain is the largest number of certificates in the chain of an SVID, and MaxCert that of bytes in one.
const (
	MaxChain = 4
	MaxCert  = 8 << 10
)

// maxRSA is the largest RSA key in bits that a signature is checked with, as in crypto/tls: who sends a chain chooses what its
// checks cost.
const maxRSA = 8192

// VerifyOptions loosens VerifySVID. The zero value loosens nothing.
type VerifyOptions struct {
	// Grace accepts an SVID that expired no longer ago: for a late renewal, or for members of an island that
	// reach no authority.
	Grace time.Duration
}

// ParseChain parses the certificates of a chain, leaf first.
func ParseChain(raw [][]byte) ([]*x509.Certificate, error) {
	if len(raw) == 0 || len(raw) > MaxChain {
		return nil, fmt.Errorf("%w: it has %d certificates, not 1 to %d", ErrChain, len(raw), MaxChain)
	}
	chain := make([]*x509.Certificate, len(raw))
	for i, der := range raw {
		if len(der) > MaxCert {
			return nil, fmt.Errorf("%w: certificate %d has %d bytes, more than %d", ErrChain, i, len(der), MaxCert)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrChain, i, err)
		}
		chain[i] = c
	}
	return chain, nil
}

// VerifySVID returns the node that chain (leaf first) belongs to at the time now, or the reason why it belongs
// to none. It is the one place where the rules of X.509-SVID §§3–5 are enforced for nodes: go-spiffe finds the
// ID and builds the chain, and what it leaves open is checked here. Roots come from the own trust domain only.
// The chain's times are the last thing checked, so that ErrExpired is said of genuine SVIDs only.
func VerifySVID(chain []*x509.Certificate, roots *Roots, now time.Time, opt VerifyOptions) (mesh.NodeID, error) {
	if len(chain) == 0 || len(chain) > MaxChain {
		return mesh.NodeID{}, fmt.Errorf("%w: it has %d certificates, not 1 to %d", ErrChain, len(chain), MaxChain)
	}
	if roots == nil || now.IsZero() {
		return mesh.NodeID{}, fmt.Errorf("%w: no roots or no time to verify it with", ErrChain)
	}
	leaf := chain[0]
	node, err := nodeOf(leaf, roots.td)
	if err != nil {
		return mesh.NodeID{}, err
	}
	if err := checkUsage(leaf); err != nil {
		return mesh.NodeID{}, fmt.Errorf("SVID of %s: %w", node, err)
	}
	for i, c := range chain {
		if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
			return mesh.NodeID{}, fmt.Errorf("SVID of %s: %w: certificate %d has an RSA key of %d bits, more than %d", node, ErrChain, i, key.N.BitLen(), maxRSA)
		}
	}
	if err := checkSignatures(chain, roots, now); err != nil {
		return mesh.NodeID{}, fmt.Errorf("SVID of %s: %w", node, err)
	}
	if err := checkTimes(leaf, now, opt.Grace); err != nil {
		return mesh.NodeID{}, fmt.Errorf("SVID of %s: %w", node, err)
	}
	return node, nil
}

// nodeOf returns the node that leaf names. X.509-SVID §2 wants exactly one URI SAN; go-spiffe does not insist
// on a path.
func nodeOf(leaf *x509.Certificate, td spiffeid.TrustDomain) (mesh.NodeID, error) {
	switch len(leaf.URIs) {
	case 0:
		return mesh.NodeID{}, ErrNoURISAN
	case 1:
	default:
		return mesh.NodeID{}, fmt.Errorf("%w: it has %d", ErrManyURISANs, len(leaf.URIs))
	}
	id, err := x509svid.IDFromCert(leaf)
	switch {
	case err != nil:
		return mesh.NodeID{}, fmt.Errorf("%w: %w", ErrSPIFFEID, err)
	case id.TrustDomain() != td:
		return mesh.NodeID{}, fmt.Errorf("%w: it names %q, this is %q", ErrWrongDomain, id.TrustDomain(), td)
	case id.Path() == "":
		return mesh.NodeID{}, fmt.Errorf("%w: %s", ErrNoPath, id)
	}
	node, err := mesh.NodeIDFromSPIFFE(id)
	if err != nil {
		return mesh.NodeID{}, fmt.Errorf("%w: %w", ErrNotNode, err)
	}
	return node, nil
}

var oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 15}

// checkUsage enforces X.509-SVID §§4.1, 4.3, 4.4. go-spiffe's Verify asks for neither digitalSignature nor a
// critical key usage nor anything of the extended key usage.
func checkUsage(leaf *x509.Certificate) error {
	usage := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidKeyUsage) })
	const sign = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case leaf.IsCA:
		return ErrLeafIsCA
	case usage < 0:
		return ErrKeyUsageMissing
	case !leaf.Extensions[usage].Critical:
		return ErrKeyUsageNotCritical
	case leaf.KeyUsage&sign != 0:
		return ErrKeyUsageSign
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return ErrDigitalSignature
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return nil
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return ErrExtKeyUsage
	}
	return nil
}

// checkSignatures verifies the chain at now, or at the end of leaf's life that is nearest to now: whether leaf
// is valid now is checkTimes' question.
func checkSignatures(chain []*x509.Certificate, roots *Roots, now time.Time) error {
	leaf := chain[0]
	at := now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	_, _, err := x509svid.Verify(chain, roots, x509svid.WithTime(at))
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("%w: %w", ErrAuthorityExpired, err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
			return ErrSelfSigned
		}
		return fmt.Errorf("%w: its issuer is %q", ErrUnknownAuthority, leaf.Issuer)
	}
	return fmt.Errorf("%w: %w", ErrChain, err)
}

func checkTimes(leaf *x509.Certificate, now time.Time, grace time.Duration) error {
	if now.After(leaf.NotAfter.Add(max(grace, 0))) {
		return fmt.Errorf("%w at %s, and it is %s", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("%w until %s, and it is %s; check both clocks",
			ErrNotYetValid, leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
