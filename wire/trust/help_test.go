package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

var (
	td  = spiffeid.RequireTrustDomainFromString("example.mesh")
	now = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// authority is a CA as host/authority makes it.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	jwt  []byte
}

func caTemplate(td spiffeid.TrustDomain, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{td.ID().URL()},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{td.Name()},
	}
}

func newCA(td spiffeid.TrustDomain, name string, change func(*x509.Certificate)) authority {
	t, key := caTemplate(td, name), newKey()
	if change != nil {
		change(t)
	}
	der := must(x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key))
	return authority{must(x509.ParseCertificate(der)), key, must(x509.MarshalPKIXPublicKey(&newKey().PublicKey))}
}

func (a authority) add(name string) AddAuthority {
	return AddAuthority{mesh.MustNodeID(name), a.cert.Raw, a.jwt}
}

func leafTemplate(id string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, URIs: []*url.URL{must(url.Parse(id))},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a authority) sign(t *x509.Certificate) *x509.Certificate {
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, t, a.cert, &newKey().PublicKey, a.key))))
}

func domainKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte{31: seed})
}

// newLog has one authority.
func newLog(t *testing.T) (*Log, authority) {
	t.Helper()
	l, err := NewLog(domainKey(1), td, now)
	if err != nil {
		t.Fatal(err)
	}
	a := newCA(td, "alpha", nil)
	if l, err = l.Append(a.add("alpha"), now, DomainSigner(domainKey(1))); err != nil {
		t.Fatal(err)
	}
	return l, a
}
