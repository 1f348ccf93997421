package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

func TestRenewAtHalfLife(t *testing.T) {
	w := newWorld(t)
	store := newMemory()
	m, err := w.join(w.token(beta, nil), store)
	if err != nil {
		t.Fatal(err)
	}
	src := NewSource(store, m.SVID)
	half := m.SVID.RenewAt()
	if d := half.Sub(start.Add(DefaultTTL / 2)).Abs(); d > time.Second {
		t.Errorf("half of the life is off by %s", d)
	}
	w.clock.set(half)
	r, err := w.renew(src, m.Log)
	if err != nil {
		t.Fatal(err)
	}
	if r.SVID.Key.Equal(m.SVID.Key) || r.Authority != alpha || r.Log.Head() != m.Log.Head() || r.Skew != 0 {
		t.Errorf("%+v", r)
	}
	if src.Current() != m.SVID {
		t.Error("in use before it is rotated in")
	}
	if err := src.Rotate(r.SVID); err != nil {
		t.Fatal(err)
	}
	if got := must(src.GetX509SVID()); got.Certificates[0] != r.SVID.Chain[0] || src.Certificate().Leaf != r.SVID.Chain[0] {
		t.Error("the source gives another SVID")
	}
	if kept := must(LoadMembership(store)); kept.SVID.Hash() != r.SVID.Hash() {
		t.Error("a restart would use the old one")
	}
	if d := r.SVID.NotAfter().Sub(half.Add(DefaultTTL)).Abs(); d > time.Second {
		t.Errorf("the new life is off by %s", d)
	}
}

func TestSourceRefusesToGoBack(t *testing.T) {
	w := newWorld(t)
	m, other := w.mustJoin(beta), w.mustJoin(gamma)
	store := newMemory()
	src := NewSource(store, m.SVID)
	if err := src.Rotate(other.SVID); err == nil {
		t.Error("another node's")
	}
	w.clock.set(start.Add(time.Hour))
	next := must(w.renew(src, m.Log))
	store.failing(fileSVID)
	if err := src.Rotate(next.SVID); !errors.Is(err, errDisk) || src.Current() != m.SVID {
		t.Errorf("unwritable: %v", err)
	}
	store.failing("")
	if err := src.Rotate(next.SVID); err != nil {
		t.Fatal(err)
	}
	if err := src.Rotate(m.SVID); err == nil {
		t.Error("an older one")
	}
	// A shorter lifetime in the configuration is no step back.
	if err := w.auth.SetTTL(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	short := must(w.renew(src, m.Log))
	if err := src.Rotate(short.SVID); err != nil || src.Current().NotAfter().After(next.SVID.NotAfter()) {
		t.Errorf("%v", err)
	}
}

// The answer to a renewal gets lost: the old key renews again. Once the new key was used, the old one is out.
func TestRenewSurvivesALostAnswer(t *testing.T) {
	w := newWorld(t)
	m := w.mustJoin(beta)
	old := NewSource(nil, m.SVID)
	for range maxKeys + 3 {
		if _, err := w.renew(old, m.Log); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.auth.reg.Names[beta].Keys); n > maxKeys {
		t.Errorf("%d keys are remembered", n)
	}
	next := NewSource(nil, must(w.renew(old, m.Log)).SVID)
	if _, err := w.renew(next, m.Log); err != nil {
		t.Fatal(err)
	}
	if _, err := w.renew(old, m.Log); !errors.Is(err, ErrKeyReplaced) {
		t.Errorf("the old key: %v", err)
	}
}

func TestRenewLate(t *testing.T) {
	w := newWorld(t)
	m := w.mustJoin(beta)
	end := m.SVID.NotAfter()
	for _, tc := range []struct {
		at   time.Time
		want error
	}{{end.Add(RenewGrace + time.Second), ErrNotAdmitted}, {end.Add(RenewGrace), nil}} {
		w.clock.set(tc.at)
		if err := w.source.Rotate(must(w.auth.RenewSelf(tc.at))); err != nil && tc.want == nil {
			// The authority was renewed for the later time already.
			w.source.cur.Store(must(w.auth.RenewSelf(tc.at)))
		}
		if _, err := w.renew(NewSource(nil, m.SVID), m.Log); !errors.Is(err, tc.want) {
			t.Errorf("%s after its end: %v", tc.at.Sub(end), err)
		}
	}
}

func TestRenewSelf(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		at := start.Add(time.Duration(i) * 12 * time.Hour)
		s, err := w.auth.RenewSelf(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.source.Rotate(s); err != nil {
			t.Fatal(err)
		}
		if n, err := trust.VerifySVID(s.Chain, w.auth.Log().Roots(), at, trust.VerifyOptions{}); n != alpha || err != nil {
			t.Errorf("%v, %v", n, err)
		}
	}
	w.store.failing(fileRegistry)
	if _, err := w.auth.RenewSelf(start); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

// What is presented at a renewal has one defect each; the genuine SVID renews in the same world.
func TestRenewRefusesBadSVIDs(t *testing.T) {
	w := newWorld(t)
	m := w.mustJoin(beta)
	otherStore := newMemory()
	must(Init(otherStore, td, beta, 0, start))
	stranger := must(LoadMembership(otherStore)).SVID
	sign := func(change func(*x509.Certificate)) *SVID {
		key := must(newKey())
		leaf := must(w.auth.leafTemplate(beta, 0, start))
		change(leaf)
		der := must(x509.CreateCertificate(rand.Reader, leaf, w.auth.ca, &key.PublicKey, w.auth.caKey))
		return &SVID{m.SVID.ID, beta, []*x509.Certificate{must(x509.ParseCertificate(der))}, key}
	}
	for _, tc := range []struct {
		name string
		svid *SVID
		want error
	}{
		{"another domain's", stranger, ErrNotAdmitted},
		{"server only", sign(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), ErrNotAdmitted},
		{"two URI SANs", sign(func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }), ErrNotAdmitted},
		{"no path", sign(func(c *x509.Certificate) { c.URIs = nil }), ErrNotAdmitted},
		{"genuine, but its key was never admitted", sign(func(*x509.Certificate) {}), ErrKeyReplaced},
		{"genuine", m.SVID, nil},
	} {
		if _, err := w.renew(NewSource(nil, tc.svid), m.Log); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	// Another's name.
	g := w.mustJoin(gamma)
	if _, err := w.renew(NewSource(nil, &SVID{m.SVID.ID, beta, g.SVID.Chain, g.SVID.Key}), m.Log); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("gamma asks for beta: %v", err)
	}
}

func TestRenewDetectsRollback(t *testing.T) {
	w := newWorld(t)
	m := w.mustJoin(beta)
	old := w.auth.Log()
	b := must(Init(newMemory(), td, gamma, 0, start)).Log().Authorities()[0]
	must(0, w.auth.Append(trust.AddAuthority{Node: gamma, CA: b.CA.Raw, JWT: must(x509.MarshalPKIXPublicKey(b.JWT))}, start))
	newest := w.auth.Log()
	r, err := w.renew(NewSource(nil, m.SVID), m.Log)
	if err != nil || r.Log.Head() != newest.Head() {
		t.Fatalf("a longer log: %v", err)
	}
	w.auth.log.Store(old)
	if _, err := w.renew(NewSource(nil, m.SVID), newest); !errors.Is(err, trust.ErrLogRollback) {
		t.Errorf("a shorter log: %v", err)
	}
}

// The authority that issued is asked first; if it cannot be reached, the next one is.
func TestRenewGoesThroughTheAuthorities(t *testing.T) {
	w := newWorld(t)
	m := w.mustJoin(beta)
	b := must(Init(newMemory(), td, gamma, 0, start)).Log().Authorities()[0]
	must(0, w.auth.Append(trust.AddAuthority{Node: gamma, CA: b.CA.Raw, JWT: must(x509.MarshalPKIXPublicKey(b.JWT))}, start))
	var asked []mesh.NodeID
	ctx, cancel := context.WithCancel(context.Background())
	dial := func(_ context.Context, n mesh.NodeID) (net.Conn, error) {
		if asked = append(asked, n); len(asked) == 3 {
			cancel()
		}
		return nil, errors.New("no way")
	}
	o := RenewOptions{Source: NewSource(nil, m.SVID), Log: w.auth.Log(), Dial: dial, Clock: w.clock.now}
	if _, err := Renew(ctx, o); !errors.Is(err, ErrUnreachable) || len(asked) != 2 || asked[0] != alpha || asked[1] != gamma {
		t.Errorf("%v: asked %v", err, asked)
	}
	if _, err := Renew(ctx, o); !errors.Is(err, ErrUnreachable) || len(asked) != 3 {
		t.Errorf("goes on after its context ended: %v: asked %v", err, asked)
	}
}

// A client that shows no certificate, or an RSA one, gets no further than TLS or an answer in words.
func TestRenewWithoutCertificate(t *testing.T) {
	w := newWorld(t)
	m := w.mustJoin(beta)
	<-w.done
	raw := must(net.Dial("tcp", w.addr))
	defer func() { _ = raw.Close() }()
	_, _ = raw.Write(trust.Preamble{Purpose: trust.PurposeRenew, Authority: alpha}.Append(nil))
	cfg := tlsConfig()
	cfg.InsecureSkipVerify = true
	c := tls.Client(&statusConn{Conn: raw}, cfg)
	_ = writeMessage(c, trust.Request{Node: beta, CSR: must(makeCSR(must(newKey())))}.Append(nil))
	if x := <-w.done; x.Err == nil || x.Node != (mesh.NodeID{}) {
		t.Errorf("%+v", x)
	}
	if _, err := w.renew(NewSource(nil, m.SVID), m.Log); err != nil {
		t.Errorf("with it: %v", err)
	}
}

func TestSVIDSigns(t *testing.T) {
	s := newWorld(t).source.Current()
	sig := must(s.Sign([]byte("message")))
	if err := s.Chain[0].CheckSignature(x509.ECDSAWithSHA256, []byte("message"), sig); err != nil {
		t.Error(err)
	}
	if !s.Key.PublicKey.Equal(s.Chain[0].PublicKey.(*ecdsa.PublicKey)) {
		t.Error("key and certificate")
	}
	if _, err := NewSVID(s.Raw(), must(newKey())); err == nil {
		t.Error("joined a certificate with another's key")
	}
}
