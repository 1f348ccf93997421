package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
	"x0tta6bl4/wire/trust"
)

func TestWhoMayWriteWhat(t *testing.T) {
	own := replica.OwnPrefix
	for _, tt := range []struct {
		key    string
		author string
		kind   wire.EntryKind
		ok     bool
	}{
		{"anything", "beta", wire.EntryCounter, true},
		{own + "authority-log/beta", "beta", wire.EntryRegister, true},
		{own + "of-a-later-version/x/beta", "beta", wire.EntryRegister, true},
		{own + "authority-log/alpha", "beta", wire.EntryRegister, false},
		{own + "authority-log/xbeta", "beta", wire.EntryRegister, false},
		{own + "authority-log/beta/", "beta", wire.EntryRegister, false},
		{own + "authority-log/beta", "beta", wire.EntrySet, false},
		{own, "beta", wire.EntryRegister, false},
		{"\x00", "beta", wire.EntryRegister, false},
		{"\x00x/beta", "beta", wire.EntryRegister, true},
	} {
		w := crdt.Write{Dot: wire.Dot{Author: mesh.MustNodeID(tt.author)}, Kind: tt.kind, Key: []byte(tt.key)}
		if err := mayWrite(w); (err == nil) != tt.ok {
			t.Errorf("%s writes %q: %v", tt.author, tt.key, err)
		}
	}
}

// Room is kept for authority logs and shared configuration, and for no other of the mesh's own keys.
func TestRoomIsKeptForLogs(t *testing.T) {
	config := decreesOn(configTopic, nil)
	for key, kept := range map[string]bool{
		string(logKey(mesh.MustNodeID("beta"))): true, replica.OwnPrefix + "other/beta": false, "authority-log/beta": false, "": false,
		string(config.key("routing.k/"+forAll, testBeta)): true, replica.OwnPrefix + "configs/beta": false, "config/a/beta": false,
	} {
		if isVital([]byte(key)) != kept {
			t.Errorf("%q: %v", key, !kept)
		}
	}
}

// another makes an authority to be admitted.
func another(t *testing.T, name string, domain string) trust.AddAuthority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{{Scheme: "spiffe", Host: domain}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{domain},
	}
	ca, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&jwt.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return trust.AddAuthority{Node: mesh.MustNodeID(name), CA: ca, JWT: der}
}

// domainSigner signs with the domain key of a member's state.
func domainSigner(t *testing.T, m *Membership) trust.Signer {
	t.Helper()
	b, err := m.Store.Read("domain.key")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return trust.DomainSigner(key.(ed25519.PrivateKey))
}

// What an authority appends to its log comes to a member over the shared state; what contradicts what the member knows does not.
func TestAuthorityLogBySharedState(t *testing.T) {
	ds, rs := map[string]*Daemon{}, map[string]*replica.Replica{}
	for name := range previous {
		d, _, err := started(copyState(t, name))
		if err != nil {
			t.Fatal(err)
		}
		defer d.identity.Close()
		if d.identity.Authority != nil { // the fixture's SVIDs have ended
			if err := d.renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r, err := d.openReplica(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		ds[name], rs[name] = d, r
	}
	a, b := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	meet := func(r *replica.Replica, n string, s io.ReadWriteCloser) { _ = r.Meet(ctx, mesh.MustNodeID(n), s) }
	go meet(rs["alpha"], "beta", a)
	go meet(rs["beta"], "alpha", b)
	go ds["alpha"].publishLog(ctx, rs["alpha"])

	alpha, beta := ds["alpha"].identity, ds["beta"].identity
	if err := alpha.Authority.Append(another(t, "gamma", alpha.Domain.Name()), time.Now()); err != nil {
		t.Fatal(err)
	}
	l := alpha.Authority.Log()
	alpha.setLog(l)
	if err := putLog(ctx, rs["alpha"], ds["alpha"].self, l); err != nil {
		t.Fatal(err)
	}
	arrived := errors.New("it is there")
	limited, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if err := rs["beta"].Subscribe(limited, []byte(logPrefix), func(c api.KVChange) error {
		if ds["beta"].logChanged(limited, rs["beta"], c); beta.Log().Head() == l.Head() {
			return arrived
		}
		return nil
	}); !errors.Is(err, arrived) {
		t.Fatalf("beta's log has %d entries, alpha's %d: %v", beta.Log().Len(), l.Len(), err)
	}
	if got, err := beta.Store.Read("authority.log"); err != nil || string(got) != string(l.Bytes()) {
		t.Errorf("on disk it is another: %v", err)
	}
}

func TestLogsThatAreNotFollowed(t *testing.T) {
	d, _, err := started(copyState(t, "alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.identity.Close()
	m := d.identity
	first := m.Log()
	gamma, err := m.Authority.Log().Append(another(t, "gamma", m.Domain.Name()), time.Now(), domainSigner(t, m))
	if err != nil {
		t.Fatal(err)
	}
	delta, err := first.Append(another(t, "delta", m.Domain.Name()), time.Now(), domainSigner(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if newer, err := m.follow(gamma.Bytes()); !newer || err != nil || m.Authority.Log().Head() != gamma.Head() {
		t.Fatalf("a continuation: %t, %v", newer, err)
	}
	stranger, err := trust.NewLog(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), m.Domain, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.follow(stranger.Bytes()); !errors.Is(err, trust.ErrLogDomain) {
		t.Errorf("a stranger's: %v", err)
	}
	if _, err := m.follow(delta.Bytes()); !errors.Is(err, trust.ErrLogForked) {
		t.Errorf("a fork: %v", err)
	}
	if _, err := m.follow([]byte(strings.Repeat("x", 1000))); !errors.Is(err, trust.ErrLogFormat) {
		t.Errorf("garbage: %v", err)
	}
	for _, old := range []*trust.Log{first, gamma} {
		if newer, err := m.follow(old.Bytes()); newer || err != nil {
			t.Errorf("what is known: %t, %v", newer, err)
		}
	}
	if m.Log().Head() != gamma.Head() {
		t.Error("one of them was taken up")
	}
}
