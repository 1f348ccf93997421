package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

func TestLogRoundTrip(t *testing.T) {
	l, a := newLog(t)
	b := newCA(td, "beta", nil)
	l, err := l.Append(b.add("beta"), now.Add(time.Minute), DomainSigner(domainKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseLog(l.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), l.Bytes()) || got.Head() != l.Head() || got.Len() != 3 || !got.Time().Equal(now.Add(time.Minute)) {
		t.Error("the log that comes back is another")
	}
	if got.Domain() != td || got.DomainKey() != DomainKey(domainKey(1)[32:]) {
		t.Error("domain")
	}
	if err := got.Verify(td, l.DomainKey()); err != nil {
		t.Error(err)
	}
	au := got.Authorities()
	if len(au) != 2 || au[0].Node.String() != "alpha" || !au[0].CA.Equal(a.cert) || au[1].Node.String() != "beta" {
		t.Errorf("%v", au)
	}
	if x, ok := got.Authority(mesh.MustNodeID("beta")); !ok || !x.CA.Equal(b.cert) {
		t.Error("beta is no authority")
	}
	leaf := []*x509.Certificate{b.sign(leafTemplate("spiffe://example.mesh/node/gamma"))}
	if n, err := VerifySVID(leaf, got.Roots(), now, VerifyOptions{}); err != nil || n.String() != "gamma" {
		t.Errorf("%v %v", n, err)
	}
}

// ed25519 signs deterministically, so even the signature is fixed.
func TestLogGolden(t *testing.T) {
	const want = "7830746c01000000c40100000000000000010000000000000000000000000000000000000000000000000000000000000000000001c2b7b9c7a80000002d0c6578616d706c652e6d6573684cb5abf6ad79fbf5abbccafcc269d85cd2651ed4b885b5869f241aedf0a5ba29014a67330b803d5c88757afb9328615344a89c49839a07f1f76887ad62d06a1f5740afa51cc30838503a92eebb553670bb3bb17c10947bd7ee3670f3f4297fc7a4c7b389f9e40847b4a88e0d3f72d2553946397235665dd080552f30e71725d31408"
	if s := hex.EncodeToString(must(NewLog(domainKey(1), td, now)).Bytes()); s != want {
		t.Errorf("the format changed:\n%s\n%s", s, want)
	}
}

func TestLogOfAStranger(t *testing.T) {
	l, _ := newLog(t)
	if err := l.Verify(td, DomainKey{9}); !errors.Is(err, ErrLogDomain) {
		t.Errorf("other key: %v", err)
	}
	if err := l.Verify(spiffeid.RequireTrustDomainFromString("other.mesh"), l.DomainKey()); !errors.Is(err, ErrLogDomain) {
		t.Errorf("other name: %v", err)
	}
}

func TestLogRevocationEndsTrustForGood(t *testing.T) {
	l, a := newLog(t)
	leaf := []*x509.Certificate{a.sign(leafTemplate("spiffe://example.mesh/node/gamma"))}
	id := l.Authorities()[0].ID()
	revoked, err := l.Append(RevokeAuthority{id}, now, DomainSigner(domainKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifySVID(leaf, revoked.Roots(), now, VerifyOptions{}); !errors.Is(err, ErrUnknownAuthority) {
		t.Errorf("after: %v", err)
	}
	if _, err := VerifySVID(leaf, l.Roots(), now, VerifyOptions{}); err != nil {
		t.Errorf("before: %v", err)
	}
	if _, ok := revoked.Authority(mesh.MustNodeID("alpha")); ok || len(l.Authorities()) != 1 {
		t.Error("revocation changed the wrong log")
	}
	for name, op := range map[string]Op{"admitted again": a.add("alpha"), "revoked twice": RevokeAuthority{id}} {
		if _, err := revoked.Append(op, now, DomainSigner(domainKey(1))); !errors.Is(err, ErrLogEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := ParseLog(revoked.Bytes()); err != nil || len(got.Authorities()) != 0 {
		t.Error(err)
	}
}

func TestLogRefusesEntriesThatDoNotApply(t *testing.T) {
	l, a := newLog(t)
	b, other := newCA(td, "b", nil), newCA(spiffeid.RequireTrustDomainFromString("other.mesh"), "b", nil)
	shared := b
	shared.jwt = a.jwt
	for name, op := range map[string]Op{
		"second establish":  Establish{td, l.DomainKey()},
		"of another domain": other.add("beta"),
		"no certificate":    AddAuthority{mesh.MustNodeID("beta"), []byte("x"), b.jwt},
		"no JWT key":        AddAuthority{mesh.MustNodeID("beta"), b.cert.Raw, []byte("x")},
		"JWT key not EC":    AddAuthority{mesh.MustNodeID("beta"), b.cert.Raw, must(x509.MarshalPKIXPublicKey(domainKey(1).Public()))},
		"same keys":         a.add("beta"),
		"same JWT key":      shared.add("beta"),
		"CA key as JWT key": AddAuthority{mesh.MustNodeID("beta"), b.cert.Raw, b.cert.RawSubjectPublicKeyInfo},
		"unknown authority": RevokeAuthority{},
	} {
		if _, err := l.Append(op, now, DomainSigner(domainKey(1))); !errors.Is(err, ErrLogEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Append(b.add("beta"), now, DomainSigner(domainKey(1))); err != nil {
		t.Errorf("without a defect: %v", err)
	}
	if _, err := new(Log).Append(b.add("beta"), now, DomainSigner(domainKey(1))); err == nil {
		t.Error("a log began without establishing a domain")
	}
	if _, err := NewLog(nil, td, now); !errors.Is(err, ErrLogEntry) {
		t.Errorf("no key: %v", err)
	}
}

func TestLogSignatures(t *testing.T) {
	l, a := newLog(t)
	b, c := newCA(td, "b", nil), newCA(td, "c", nil)
	root, sa, sb := DomainSigner(domainKey(1)), AuthoritySigner(a.cert, a.key), AuthoritySigner(b.cert, b.key)
	stranger := DomainSigner(domainKey(2))
	two := must(l.Append(b.add("beta"), now, root))
	three := must(two.Append(c.add("gamma"), now, root))
	forged := Signer{sa.ID, sb.Sign}
	failing := Signer{sa.ID, func([]byte) ([]byte, error) { return nil, errors.New("token unplugged") }}
	d := newCA(td, "d", nil).add("delta")
	for _, tc := range []struct {
		name    string
		log     *Log
		signers []Signer
		ok      bool
	}{
		{"domain key", three, []Signer{root}, true},
		{"nobody", three, nil, false},
		{"stranger", three, []Signer{stranger}, false},
		{"one of one", l, []Signer{sa}, true},
		{"one of two", two, []Signer{sa}, false},
		{"two of two", two, []Signer{sa, sb}, true},
		{"one of three", three, []Signer{sb}, false},
		{"two of three", three, []Signer{sa, sb}, true},
		{"the same twice", three, []Signer{sa, sa}, false},
		{"one and a stranger", three, []Signer{sa, stranger}, false},
		{"forged beside enough", three, []Signer{root, forged}, false},
		{"domain key and a stranger", three, []Signer{root, stranger}, true},
	} {
		_, err := tc.log.Append(d, now, tc.signers...)
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrLogSignature) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := three.Append(d, now, failing); err == nil {
		t.Error("signed without a signature")
	}
	// Without any authority left only the domain key counts.
	empty := must(l.Append(RevokeAuthority{sa.ID}, now, root))
	if _, err := empty.Append(d, now); !errors.Is(err, ErrLogSignature) {
		t.Errorf("no authorities, no signature: %v", err)
	}
}

func TestLogForkAndRollback(t *testing.T) {
	base, _ := newLog(t)
	root := DomainSigner(domainKey(1))
	left := must(base.Append(newCA(td, "b", nil).add("beta"), now, root))
	right := must(base.Append(newCA(td, "c", nil).add("gamma"), now, root))
	longRight := must(right.Append(newCA(td, "d", nil).add("delta"), now, root))
	other := must(NewLog(domainKey(2), td, now))
	for _, tc := range []struct {
		name           string
		known, offered *Log
		want           error
	}{
		{"same", left, left, nil},
		{"longer", base, left, nil},
		{"older", left, base, ErrLogRollback},
		{"fork of one length", left, right, ErrLogForked},
		{"longer fork", left, longRight, ErrLogForked},
		{"shorter fork", longRight, left, ErrLogForked},
		{"other domain key", base, other, ErrLogForked},
	} {
		if err := tc.known.Follow(tc.offered); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestParseLogRefusesWhatIsNotOne(t *testing.T) {
	l, _ := newLog(t)
	b := l.Bytes()
	for n := range b {
		if _, err := ParseLog(b[:n]); err == nil {
			// Cut between entries it is an older log, which is Follow's to find.
			if older, _ := ParseLog(b[:n]); !errors.Is(l.Follow(older), ErrLogRollback) {
				t.Fatalf("first %d bytes parse", n)
			}
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := ParseLog(bad); err == nil {
			t.Fatalf("byte %d flipped and still a log", i)
		}
	}
	newer := bytes.Clone(b)
	newer[4] = 2
	entry := func(e entry) []byte {
		return append(append([]byte("x0tl"), 1), appendB32(nil, e.appendSigs(e.appendSigned(nil)))...)
	}
	far := entry(entryOf(Establish{td, l.DomainKey()}, 7))
	kind := entry(entryOf(oddOp{}, 1))
	upper := bytes.Replace(b, []byte("example.mesh"), []byte("Example.mesh"), 1)
	times := bytes.Clone(b)
	binary.BigEndian.PutUint64(times[4+1+4+1+8+32:], 1<<60)
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"empty": {nil, ErrLogFormat}, "magic only": {[]byte("x0tl"), ErrLogFormat}, "no entries": {[]byte("x0tl\x01"), ErrLogFormat},
		"newer version": {newer, ErrLogVersion}, "too large": {make([]byte, MaxLog+100), ErrLogFormat}, "wrong first number": {far, ErrLogSequence},
		"unknown kind": {kind, ErrLogFormat}, "odd domain": {upper, ErrLogFormat}, "odd time": {times, ErrLogFormat},
	} {
		if _, err := ParseLog(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

type oddOp struct{}

func (oddOp) kind() byte { return 99 }

func entryOf(op Op, seq uint64) entry { return entry{op: op, seq: seq, time: now} }

func TestLogIsBounded(t *testing.T) {
	l, _ := newLog(t)
	root := DomainSigner(domainKey(1))
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		l.size = MaxLog - 100 // as if hundreds had been admitted
		_, err = l.Append(newCA(td, "b", nil).add("beta"), now, root)
	}
	if !errors.Is(err, ErrLogFormat) {
		t.Error(err)
	}
}

func FuzzParseLog(f *testing.F) {
	l := must(NewLog(domainKey(1), td, now))
	a := newCA(td, "alpha", nil)
	f.Add(l.Bytes())
	f.Add(must(l.Append(a.add("alpha"), now, DomainSigner(domainKey(1)))).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLog(b)
		if err != nil {
			return
		}
		again, err := ParseLog(l.Bytes())
		if err != nil || again.Head() != l.Head() || l.Follow(again) != nil {
			t.Fatalf("%v", err)
		}
	})
}

// Entries whose signatures need not be right, which ParseLog would stop at.
func FuzzParseEntry(f *testing.F) {
	a := newCA(td, "alpha", nil)
	for _, op := range []Op{Establish{td, DomainKey{1}}, a.add("alpha"), RevokeAuthority{}} {
		e := entryOf(op, 1)
		e.sigs = []signature{{sig: []byte("signature")}}
		f.Add(e.appendSigs(e.appendSigned(nil)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEntry(b)
		if err != nil {
			return
		}
		again, err := parseEntry(e.appendSigs(e.appendSigned(nil)))
		if err != nil || again.seq != e.seq || again.op.kind() != e.op.kind() || !again.time.Equal(e.time) || len(again.sigs) != len(e.sigs) {
			t.Fatalf("%v: %+v %+v", err, e, again)
		}
	})
}
