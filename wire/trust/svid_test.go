package trust

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// keyUsage returns the extension by hand: crypto/x509 always makes it critical.
func keyUsage(critical bool) pkix.Extension {
	return pkix.Extension{Id: oidKeyUsage, Critical: critical, Value: []byte{3, 2, 7, 0x80}}
}

func selfSigned(t *x509.Certificate) *x509.Certificate {
	key := newKey()
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key))))
}

// Each case spoils one thing of an SVID that verifies otherwise: the case before it has none of the defect.
func TestVerifySVIDRefusesEachDefect(t *testing.T) {
	ca, stranger := newCA(td, "alpha", nil), newCA(td, "alpha", nil)
	roots, err := NewRoots(td, ca.cert)
	if err != nil {
		t.Fatal(err)
	}
	uri := func(s string) []*url.URL { return []*url.URL{must(url.Parse(s))} }
	cases := []struct {
		name  string
		spoil func(*x509.Certificate)
		want  error
	}{
		{"no URI SAN", func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"beta"} }, ErrNoURISAN},
		{"two URI SANs", func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("spiffe://example.mesh/node/x")...) }, ErrManyURISANs},
		{"two URI SANs, one of them no SPIFFE ID", func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("https://example.mesh/")...) }, ErrManyURISANs},
		{"other scheme", func(c *x509.Certificate) { c.URIs = uri("https://example.mesh/node/beta") }, ErrSPIFFEID},
		{"port", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh:1/node/beta") }, ErrSPIFFEID},
		{"trailing slash", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh/node/beta/") }, ErrSPIFFEID},
		{"other domain", func(c *x509.Certificate) { c.URIs = uri("spiffe://evil.mesh/node/beta") }, ErrWrongDomain},
		{"subdomain", func(c *x509.Certificate) { c.URIs = uri("spiffe://a.example.mesh/node/beta") }, ErrWrongDomain},
		{"no path", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh") }, ErrNoPath},
		{"workload", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh/web") }, ErrNotNode},
		{"below a node", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh/node/beta/web") }, ErrNotNode},
		{"prefix of /node/", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh/node") }, ErrNotNode},
		{"like /node/", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh/node-evil/beta") }, ErrNotNode},
		{"upper-case name", func(c *x509.Certificate) { c.URIs = uri("spiffe://example.mesh/node/Beta") }, ErrNotNode},
		{"CA", func(c *x509.Certificate) { c.IsCA = true }, ErrLeafIsCA},
		{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }, ErrKeyUsageMissing},
		{"key usage not critical", func(c *x509.Certificate) { c.KeyUsage, c.ExtraExtensions = 0, []pkix.Extension{keyUsage(false)} }, ErrKeyUsageNotCritical},
		{"no digitalSignature", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, ErrDigitalSignature},
		{"keyCertSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, ErrKeyUsageSign},
		{"cRLSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, ErrKeyUsageSign},
		{"server only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, ErrExtKeyUsage},
		{"client only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, ErrExtKeyUsage},
		{"code signing", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }, ErrExtKeyUsage},
		{"any", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, ErrExtKeyUsage},
		{"expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, ErrExpired},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, ErrNotYetValid},
		{"ends before it begins", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(time.Hour), now.Add(-time.Hour) }, ErrAuthorityExpired},
		{"unknown critical extension", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, ErrChain},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			good, bad := leafTemplate("spiffe://example.mesh/node/beta"), leafTemplate("spiffe://example.mesh/node/beta")
			tc.spoil(bad)
			if _, err := VerifySVID([]*x509.Certificate{ca.sign(bad)}, roots, now, VerifyOptions{}); !errors.Is(err, tc.want) {
				t.Errorf("with the defect: %v, want %v", err, tc.want)
			}
			if n, err := VerifySVID([]*x509.Certificate{ca.sign(good)}, roots, now, VerifyOptions{}); err != nil || n.String() != "beta" {
				t.Errorf("without it: %v, %v", n, err)
			}
		})
	}
	for name, c := range map[string]struct {
		leaf *x509.Certificate
		want error
	}{
		"self-signed":               {selfSigned(leafTemplate("spiffe://example.mesh/node/beta")), ErrSelfSigned},
		"stranger of the same name": {stranger.sign(leafTemplate("spiffe://example.mesh/node/beta")), ErrUnknownAuthority},
	} {
		if _, err := VerifySVID([]*x509.Certificate{c.leaf}, roots, now, VerifyOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestVerifySVIDAcceptsWithoutExtKeyUsage(t *testing.T) {
	ca := newCA(td, "alpha", nil)
	roots, _ := NewRoots(td, ca.cert)
	leaf := leafTemplate("spiffe://example.mesh/node/beta")
	leaf.ExtKeyUsage, leaf.KeyUsage, leaf.ExtraExtensions = nil, 0, []pkix.Extension{keyUsage(true)}
	if n, err := VerifySVID([]*x509.Certificate{ca.sign(leaf)}, roots, now, VerifyOptions{}); err != nil || n.String() != "beta" {
		t.Errorf("%v, %v", n, err)
	}
}

func TestVerifySVIDTimes(t *testing.T) {
	ca := newCA(td, "alpha", func(c *x509.Certificate) { c.NotAfter = now.Add(2 * time.Hour) })
	roots, _ := NewRoots(td, ca.cert)
	leaf := []*x509.Certificate{ca.sign(leafTemplate("spiffe://example.mesh/node/beta"))}
	short := newCA(td, "short", func(c *x509.Certificate) { c.NotAfter = now.Add(time.Minute) })
	shortRoots, _ := NewRoots(td, short.cert)
	outlives := []*x509.Certificate{short.sign(leafTemplate("spiffe://example.mesh/node/beta"))}
	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		roots *Roots
		at    time.Duration // from now; the leaf lives from -1 min to +1 h
		grace time.Duration
		want  error
	}{
		{"first second", leaf, roots, -time.Minute, 0, nil},
		{"a second early", leaf, roots, -time.Minute - time.Second, 0, ErrNotYetValid},
		{"grace does not reach back", leaf, roots, -time.Minute - time.Second, time.Hour, ErrNotYetValid},
		{"last second", leaf, roots, time.Hour, 0, nil},
		{"a second late", leaf, roots, time.Hour + time.Second, 0, ErrExpired},
		{"negative grace is none", leaf, roots, time.Hour, -time.Hour, nil},
		{"in grace", leaf, roots, time.Hour + time.Second, time.Second, nil},
		{"past grace", leaf, roots, time.Hour + 2*time.Second, time.Second, ErrExpired},
		{"grace outlives the authority's certificate", leaf, roots, 3 * time.Hour, 4 * time.Hour, nil},
		{"authority's certificate ended", outlives, shortRoots, 2 * time.Minute, 0, ErrAuthorityExpired},
	} {
		if _, err := VerifySVID(c.chain, c.roots, now.Add(c.at), VerifyOptions{Grace: c.grace}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestVerifySVIDNeedsChainRootsAndTime(t *testing.T) {
	ca := newCA(td, "alpha", nil)
	roots, _ := NewRoots(td, ca.cert)
	leaf := ca.sign(leafTemplate("spiffe://example.mesh/node/beta"))
	none, _ := NewRoots(td)
	for name, err := range map[string]error{
		"no chain":  second(VerifySVID(nil, roots, now, VerifyOptions{})),
		"too long":  second(VerifySVID([]*x509.Certificate{leaf, leaf, leaf, leaf, leaf}, roots, now, VerifyOptions{})),
		"no roots":  second(VerifySVID([]*x509.Certificate{leaf}, nil, now, VerifyOptions{})),
		"zero time": second(VerifySVID([]*x509.Certificate{leaf}, roots, time.Time{}, VerifyOptions{})),
	} {
		if !errors.Is(err, ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An empty set revokes everything.
	if _, err := VerifySVID([]*x509.Certificate{leaf}, none, now, VerifyOptions{}); !errors.Is(err, ErrUnknownAuthority) {
		t.Errorf("no authorities: %v", err)
	}
	if n, err := VerifySVID([]*x509.Certificate{leaf, ca.cert}, roots, now, VerifyOptions{}); err != nil || n.String() != "beta" {
		t.Errorf("chain with its root: %v, %v", n, err)
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestParseChain(t *testing.T) {
	ca := newCA(td, "alpha", nil)
	raw := ca.cert.Raw
	if c, err := ParseChain([][]byte{raw, raw}); err != nil || len(c) != 2 {
		t.Errorf("%v", err)
	}
	for name, bad := range map[string][][]byte{
		"none": nil, "five": {raw, raw, raw, raw, raw}, "garbage": {[]byte("x")}, "cut": {raw[:len(raw)-1]}, "trailing": {append(raw, 0)},
		"huge": {make([]byte, MaxCert+1)},
	} {
		if _, err := ParseChain(bad); !errors.Is(err, ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckAuthorityRefusesEachDefect(t *testing.T) {
	other := spiffeid.RequireTrustDomainFromString("other.mesh")
	for name, spoil := range map[string]func(*x509.Certificate){
		"no ID":               func(c *x509.Certificate) { c.URIs = nil },
		"other domain":        func(c *x509.Certificate) { c.URIs = []*url.URL{other.ID().URL()} },
		"path":                func(c *x509.Certificate) { c.URIs[0] = must(url.Parse("spiffe://example.mesh/ca")) },
		"no CA":               func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false },
		"path length 1":       func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false },
		"no path length":      func(c *x509.Certificate) { c.MaxPathLenZero = false },
		"no keyCertSign":      func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
		"no constraint":       func(c *x509.Certificate) { c.PermittedURIDomains = nil },
		"wide constraint":     func(c *x509.Certificate) { c.PermittedURIDomains = append(c.PermittedURIDomains, "other.mesh") },
		"constraint too free": func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false },
	} {
		bad := newCA(td, "a", spoil)
		if err := CheckAuthority(bad.cert, td); !errors.Is(err, ErrAuthorityCert) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := NewRoots(td, bad.cert); !errors.Is(err, ErrAuthorityCert) {
			t.Errorf("%s as root: %v", name, err)
		}
	}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	tmpl := caTemplate(td, "a")
	c := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &rsaKey.PublicKey, rsaKey))))
	if err := CheckAuthority(c, td); !errors.Is(err, ErrAuthorityCert) || !strings.Contains(err.Error(), "P-256") {
		t.Errorf("RSA: %v", err)
	}
	a, b := newCA(td, "a", nil), newCA(td, "b", nil)
	c = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, caTemplate(td, "a"), b.cert, &a.key.PublicKey, b.key))))
	if err := CheckAuthority(c, td); !errors.Is(err, ErrAuthorityCert) {
		t.Errorf("signed by another: %v", err)
	}
	if err := CheckAuthority(a.cert, td); err != nil {
		t.Errorf("without a defect: %v", err)
	}
}

func TestRootsAreOfTheirDomainOnly(t *testing.T) {
	ca := newCA(td, "alpha", nil)
	roots, _ := NewRoots(td, ca.cert)
	if _, err := roots.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("other.mesh")); err == nil {
		t.Error("gave a bundle for another domain")
	}
	if b, err := roots.GetX509BundleForTrustDomain(td); err != nil || len(b.X509Authorities()) != 1 {
		t.Error(err)
	}
	if roots.TrustDomain() != td || len(roots.Certificates()) != 1 {
		t.Error("roots")
	}
}

// The name constraint alone must stop an authority's certificate of another domain's SVID, for software that
// compares no trust domains.
func TestNameConstraintBindsTheAuthority(t *testing.T) {
	ca := newCA(td, "alpha", nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	leaf := ca.sign(leafTemplate("spiffe://evil.mesh/node/beta"))
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now}); err == nil {
		t.Error("crypto/x509 accepts it")
	}
}

// Who sends a chain chooses its keys: one that is dear to check with is refused before.
func TestLargeKeyRefused(t *testing.T) {
	ca := newCA(td, "alpha", nil)
	roots, err := NewRoots(td, ca.cert)
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.sign(leafTemplate("spiffe://example.mesh/node/beta"))
	for _, c := range []struct {
		bits uint
		want error
	}{{maxRSA, ErrChain}, {maxRSA - 1, nil}} {
		dear := *ca.cert
		dear.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), c.bits), E: 3}
		if _, err := VerifySVID([]*x509.Certificate{leaf, &dear}, roots, now, VerifyOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%d bits: %v", c.bits+1, err)
		}
	}
}
