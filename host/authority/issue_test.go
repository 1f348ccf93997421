package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestInitBeginsADomain(t *testing.T) {
	store := newMemory()
	a, err := Init(store, td, alpha, time.Hour, start)
	if err != nil {
		t.Fatal(err)
	}
	m, err := LoadMembership(store)
	if err != nil {
		t.Fatal(err)
	}
	if m.SVID.Node != alpha || m.Authority != alpha || m.Log.Head() != a.Log().Head() || a.Sealing() != "file" {
		t.Errorf("%+v", m)
	}
	if n, err := trust.VerifySVID(m.SVID.Chain, m.Log.Roots(), start, trust.VerifyOptions{}); n != alpha || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	if !IsAuthority(store) || a.Node() != alpha || a.Domain() != td {
		t.Error("no authority")
	}
	if _, err := Init(store, td, alpha, 0, start); !errors.Is(err, ErrInitialized) {
		t.Errorf("a second Init: %v", err)
	}
	b, err := Open(store, 0)
	if err != nil || b.Log().Head() != a.Log().Head() || b.Node() != alpha {
		t.Errorf("Open: %v", err)
	}
	if names := b.Names(start); len(names) != 1 || names[0].Node != alpha || !names[0].Live {
		t.Errorf("%+v", names)
	}
}

// Wherever an Init is interrupted, it can be repeated, and before its end there is no identity.
func TestInitCanBeRepeated(t *testing.T) {
	for _, name := range []string{fileDomainKey, fileJWTKey, fileCA, fileRegistry, fileMembership, fileLog, fileSVID} {
		store := newMemory()
		store.failing(name)
		if _, err := Init(store, td, alpha, 0, start); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", name, err)
		}
		if HasIdentity(store) {
			t.Errorf("%s: an identity is there", name)
		}
		if _, err := LoadMembership(store); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%s: %v", name, err)
		}
		store.failing("")
		if _, err := Init(store, td, alpha, 0, start); err != nil {
			t.Errorf("%s, repeated: %v", name, err)
		}
		if _, err := Open(store, 0); err != nil {
			t.Errorf("%s, opened: %v", name, err)
		}
	}
}

func TestInitRefuses(t *testing.T) {
	for name, err := range map[string]error{
		"no domain": second(Init(newMemory(), spiffeid.TrustDomain{}, alpha, 0, start)),
		"no name":   second(Init(newMemory(), td, mesh.NodeID{}, 0, start)),
		"short TTL": second(Init(newMemory(), td, alpha, time.Millisecond, start)),
		"long TTL":  second(Init(newMemory(), td, alpha, MaxTTL+1, start)),
		"address":   second(Init(newMemory(), spiffeid.RequireTrustDomainFromString("192.0.2.1"), alpha, 0, start)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// An authority in use whose SVID got lost is not begun anew over its keys.
	w := newWorld(t)
	w.token(beta, nil)
	delete(w.store.files, fileSVID)
	if _, err := Init(w.store, td, alpha, 0, start); !errors.Is(err, ErrInitialized) {
		t.Error(err)
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestOpenSaysWhatIsDamaged(t *testing.T) {
	if _, err := Open(newMemory(), 0); !errors.Is(err, ErrNotAuthority) {
		t.Error(err)
	}
	good := newWorld(t).store
	if _, err := Open(good, time.Second); !errors.Is(err, ErrTTL) {
		t.Error(err)
	}
	key := must(marshalKey(must(newKey())))
	other := newMemory()
	must(Init(other, spiffeid.RequireTrustDomainFromString("other.mesh"), alpha, 0, start))
	ca := good.files[fileCA]
	_, cert := pem.Decode(ca)
	for name, c := range map[string]struct {
		file  string
		bytes []byte
	}{
		"empty CA":            {fileCA, nil},
		"garbage key":         {fileCA, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")},
		"CA without cert":     {fileCA, key},
		"garbage cert":        {fileCA, append(bytes.Clone(key), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)},
		"foreign key":         {fileCA, append(bytes.Clone(key), cert...)},
		"ed25519 CA key":      {fileCA, good.files[fileDomainKey]},
		"registry":            {fileRegistry, []byte("{")},
		"registry version":    {fileRegistry, []byte(`{"version":9}`)},
		"registry null":       {fileRegistry, []byte(`{"version":1,"names":{"a":null}}`)},
		"registry token null": {fileRegistry, []byte(`{"version":1,"tokens":{"a":null}}`)},
		"SVID":                {fileSVID, []byte("x")},
		"SVID ed25519":        {fileSVID, good.files[fileDomainKey]},
		"SVID is the CA":      {fileSVID, ca},
		"log":                 {fileLog, []byte("x0tl")},
		"log of another":      {fileLog, other.files[fileLog]},
		"membership":          {fileMembership, []byte("x")},
	} {
		bad := good.copy()
		bad.files[c.file] = c.bytes
		if _, err := Open(bad, 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, file := range []string{fileLog, fileMembership} {
		bad := good.copy()
		delete(bad.files, file)
		if _, err := Open(bad, 0); err == nil {
			t.Errorf("without %s: opened", file)
		}
	}
	if _, err := Open(good.copy(), 0); err != nil {
		t.Errorf("without a defect: %v", err)
	}
}

// The certificate alone tells when it was issued, to the second, so half-life needs no other record.
func TestIssueTimes(t *testing.T) {
	a := newWorld(t).auth
	issued := start.Truncate(time.Second)
	for _, ttl := range []time.Duration{2 * time.Second, 3 * time.Second, 20 * time.Second, 119 * time.Second, 2 * time.Minute, time.Hour, 0, MaxTTL} {
		key := must(newKey())
		chain, err := a.Issue(&key.PublicKey, beta, ttl, start)
		if err != nil {
			t.Fatal(err)
		}
		a.reg.Names[beta].Keys = []boundKey{{NotAfter: start.Add(-RenewGrace)}} // let the name go for the next one
		s := must(NewSVID(chain, key))
		life := ttl
		if life == 0 {
			life = DefaultTTL
		}
		if !s.NotAfter().Equal(issued.Add(life)) {
			t.Errorf("%s: ends %s", ttl, s.NotAfter())
		}
		back := issued.Sub(s.Chain[0].NotBefore)
		if want := min(time.Minute, life/2); back < want-time.Second || back > want+time.Second {
			t.Errorf("%s: backdated %s", ttl, back)
		}
		if d := s.Issued().Sub(issued).Abs(); d > time.Second {
			t.Errorf("%s: issued %s, off by %s", ttl, s.Issued(), d)
		}
		if d := s.RenewAt().Sub(issued.Add(life / 2)).Abs(); d > time.Second {
			t.Errorf("%s: renewal off by %s", ttl, d)
		}
	}
}

func TestTTLChanges(t *testing.T) {
	a := newWorld(t).auth
	for _, tt := range []struct {
		set, life time.Duration
		err       error
	}{
		{time.Hour, time.Hour, nil}, {MinTTL - 1, time.Hour, ErrTTL}, {MaxTTL + 1, time.Hour, ErrTTL}, {0, DefaultTTL, nil}, {MinTTL, MinTTL, nil},
	} {
		if err := a.SetTTL(tt.set); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", tt.set, err)
		}
		key := must(newKey())
		s := must(NewSVID(must(a.Issue(&key.PublicKey, beta, 0, start)), key))
		if end := start.Truncate(time.Second).Add(tt.life); !s.NotAfter().Equal(end) {
			t.Errorf("%s: ends %s, want %s", tt.set, s.NotAfter(), end)
		}
		a.reg.Names[beta].Keys = []boundKey{{NotAfter: start.Add(-RenewGrace)}}
	}
}

func TestIssueEndsWithTheAuthority(t *testing.T) {
	w := newWorld(t)
	key := must(newKey())
	late := w.auth.ca.NotAfter.Add(-time.Hour)
	s := must(NewSVID(must(w.auth.Issue(&key.PublicKey, beta, 0, late)), key))
	if !s.NotAfter().Equal(w.auth.ca.NotAfter) {
		t.Errorf("ends %s, the authority %s", s.NotAfter(), w.auth.ca.NotAfter)
	}
	if _, err := w.auth.Issue(&key.PublicKey, beta, 0, w.auth.ca.NotAfter); !errors.Is(err, ErrTTL) {
		t.Error(err)
	}
}

func TestIssueRefuses(t *testing.T) {
	w := newWorld(t)
	key, other := must(newKey()), must(newKey())
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	if _, err := w.auth.Issue(&p384.PublicKey, beta, 0, start); !errors.Is(err, ErrKeyType) {
		t.Errorf("P-384: %v", err)
	}
	if _, err := w.auth.Issue(&key.PublicKey, beta, time.Millisecond, start); !errors.Is(err, ErrTTL) {
		t.Errorf("TTL: %v", err)
	}
	if _, err := w.auth.Issue(&key.PublicKey, alpha, 0, start); !errors.Is(err, ErrNameTaken) {
		t.Errorf("the authority's own name: %v", err)
	}
	w.store.failing(fileRegistry)
	if _, err := w.auth.Issue(&key.PublicKey, beta, 0, start); !errors.Is(err, errDisk) || len(w.auth.Names(start)) != 1 {
		t.Errorf("unwritable: %v", err)
	}
	w.store.failing("")
	for range 2 { // the holder may ask again
		if _, err := w.auth.Issue(&key.PublicKey, beta, 0, start); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.auth.Issue(&other.PublicKey, beta, 0, start.Add(DefaultTTL+RenewGrace-2*time.Second)); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a name in grace: %v", err)
	}
	if _, err := w.auth.Issue(&other.PublicKey, beta, 0, start.Add(DefaultTTL+RenewGrace)); err != nil {
		t.Errorf("a name that lapsed: %v", err)
	}
	w.auth.addr = func(spiffeid.TrustDomain, mesh.NodeID) netip.Addr { return netip.IPv6Loopback() }
	if _, err := w.auth.Issue(&other.PublicKey, gamma, 0, start); !errors.Is(err, ErrAddressTaken) {
		t.Errorf("address: %v", err)
	}
	if _, err := w.auth.CreateToken(TokenOptions{Node: gamma, Replace: true}, start); !errors.Is(err, ErrAddressTaken) {
		t.Errorf("token: %v", err)
	}
}

func TestCSRGivesItsKeyOnly(t *testing.T) {
	key := must(newKey())
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"evil"}}, key))
	pub, err := PublicKeyOfCSR(der)
	if err != nil || !pub.Equal(&key.PublicKey) {
		t.Error(err)
	}
	w := newWorld(t)
	leaf := must(NewSVID(must(w.auth.Issue(pub, beta, 0, start)), key)).Chain[0]
	if len(leaf.DNSNames) != 0 {
		t.Error("took names from the request")
	}
	forged := bytes.Clone(der)
	forged[len(forged)-1] ^= 1
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for name, c := range map[string]struct {
		der  []byte
		want error
	}{
		"garbage": {[]byte("x"), ErrCSR}, "forged": {forged, ErrCSR},
		"RSA":     {must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, rsaKey)), ErrKeyType},
		"ed25519": {must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, edKey)), ErrKeyType},
	} {
		if _, err := PublicKeyOfCSR(c.der); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLogGrowsAtTheAuthority(t *testing.T) {
	w := newWorld(t)
	before := w.auth.Log()
	other := newMemory()
	b := must(Init(other, td, beta, 0, start)) // for its keys
	entry := b.Log().Authorities()[0]
	op := trust.AddAuthority{Node: beta, CA: entry.CA.Raw, JWT: must(x509.MarshalPKIXPublicKey(entry.JWT))}
	delete(w.store.files, fileDomainKey) // offline: the only authority suffices
	if err := w.auth.Append(op, start); err != nil {
		t.Fatal(err)
	}
	if m := must(LoadMembership(w.store)); m.Log.Head() != w.auth.Log().Head() || len(m.Log.Authorities()) != 2 {
		t.Error("not kept")
	}
	if err := w.auth.Append(trust.RevokeAuthority{CA: entry.ID()}, start); !errors.Is(err, trust.ErrLogSignature) {
		t.Errorf("one of two without the domain key: %v", err)
	}
	if err := w.auth.AdoptLog(before); !errors.Is(err, trust.ErrLogRollback) {
		t.Errorf("rollback: %v", err)
	}
	if err := w.auth.AdoptLog(b.Log()); !errors.Is(err, trust.ErrLogForked) {
		t.Errorf("another's: %v", err)
	}
	if err := w.auth.AdoptLog(w.auth.Log()); err != nil {
		t.Error(err)
	}
	w.store.files[fileDomainKey] = []byte("x")
	if err := w.auth.Append(op, start); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	w.store.failing(fileLog)
	if err := w.auth.AdoptLog(w.auth.Log()); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

// openssl is a second implementation of X.509: it must accept the chain, refuse the SVID of another domain by
// the name constraint alone, and read the same things out of the certificate.
func TestOpenSSLAgrees(t *testing.T) {
	bin, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	w := newWorld(t)
	dir := t.TempDir()
	write := func(name string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca.pem", w.auth.ca.Raw)
	key := must(newKey())
	leaf := must(w.auth.Issue(&key.PublicKey, beta, 0, start))[0]
	verify := func(path string) (string, error) {
		out, err := exec.Command(bin, "verify", "-x509_strict", "-purpose", "sslserver", "-attime", strconv.FormatInt(start.Unix(), 10), "-CAfile", ca, path).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(write("leaf.pem", leaf)); err != nil {
		t.Errorf("openssl verify: %v: %s", err, out)
	}
	stray := must(w.auth.leafTemplate(beta, 0, start))
	stray.URIs = []*url.URL{must(url.Parse("spiffe://evil.mesh/node/beta"))}
	der := must(x509.CreateCertificate(rand.Reader, stray, w.auth.ca, &key.PublicKey, w.auth.caKey))
	if out, err := verify(write("stray.pem", der)); err == nil || !strings.Contains(out, "permitted subtree violation") {
		t.Errorf("openssl verify of a stray domain: %v: %s", err, out)
	}
	text := func(path string) string {
		out, err := exec.Command(bin, "x509", "-noout", "-text", "-in", path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	for path, wants := range map[string][]string{
		filepath.Join(dir, "leaf.pem"): {
			"ASN1 OID: prime256v1", "X509v3 Key Usage: critical Digital Signature X509v3", "URI:spiffe://example.mesh/node/beta",
			"TLS Web Server Authentication, TLS Web Client Authentication", "X509v3 Basic Constraints: critical CA:FALSE",
			"Not Before: May 6 07:07:09 2031 GMT Not After : May 7 07:08:09 2031 GMT",
		},
		ca: {
			"X509v3 Key Usage: critical Certificate Sign, CRL Sign", "CA:TRUE, pathlen:0", "URI:spiffe://example.mesh",
			"X509v3 Name Constraints: critical Permitted: URI:example.mesh",
		},
	} {
		got := text(path)
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", filepath.Base(path), want, got)
			}
		}
	}
}

// An authority signs checkpoints that its domain believes, until it is revoked.
func TestCheckpoint(t *testing.T) {
	w := newWorld(t)
	b, err := w.auth.Checkpoint([][32]byte{{1}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.auth.Log().Covers(b); err != nil || len(got) != 1 || got[0] != [32]byte{1} {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := w.auth.Checkpoint(make([][32]byte, trust.MaxCheckpoint+1)); !errors.Is(err, trust.ErrCheckpoint) {
		t.Errorf("too many: %v", err)
	}
	if err := w.auth.Append(trust.RevokeAuthority{CA: w.auth.Log().Authorities()[0].ID()}, start); err != nil {
		t.Fatal(err)
	}
	if _, err := w.auth.Checkpoint(nil); !errors.Is(err, trust.ErrCheckpointAuthority) {
		t.Errorf("revoked: %v", err)
	}
}
