package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// vector returns one of wire/testdata/vectors.txt, which vectors.py beside it made without this package.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return must(hex.DecodeString(strings.TrimSpace(rest)))
		}
	}
	t.Fatalf("no vector %q", name)
	return nil
}

// A checkpoint is what vectors.py makes of the same batches and the key of RFC 6979, A.2.5.
func TestCheckpointVectors(t *testing.T) {
	raw := must(hex.DecodeString("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"))
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), raw))
	by := AuthoritySigner(&x509.Certificate{}, key)
	for i := range by.ID {
		by.ID[i] = byte(0x40 + i)
	}
	batch, last := sha256.Sum256(vector(t, "batch-input")), [32]byte(bytes.Repeat([]byte{0xff}, 32))
	for name, batches := range map[string][][32]byte{"checkpoint": {last, batch, last}, "checkpoint-empty": nil} {
		want := vector(t, name)
		if got := must(NewCheckpoint(batches, by)); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, want)
		}
		c, err := ParseCheckpoint(want)
		if err != nil || c.Authority != by.ID || len(c.Batches) != len(batches)*2/3 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// Only what an authority of the log signed covers anything, and only while it is not revoked.
func TestCovers(t *testing.T) {
	l, a := newLog(t)
	b := newCA(td, "beta", nil)
	l = must(l.Append(b.add("beta"), now, DomainSigner(domainKey(1))))
	batches := [][32]byte{{2}, {1}}
	good := must(NewCheckpoint(batches, AuthoritySigner(a.cert, a.key)))
	if got, err := l.Covers(good); err != nil || !slices.Equal(got, [][32]byte{{1}, {2}}) {
		t.Fatalf("%x, %v", got, err)
	}
	revoked := must(l.Append(RevokeAuthority{CA: Authority{CA: a.cert}.ID()}, now, DomainSigner(domainKey(1))))
	stranger := newCA(td, "x", nil)
	changed := bytes.Clone(good)
	changed[checkpointHead] ^= 1
	other := AuthoritySigner(a.cert, stranger.key) // a member that says that it is alpha
	for _, tt := range []struct {
		name string
		log  *Log
		b    []byte
		want error
	}{
		{"of a revoked authority", revoked, good, ErrCheckpointAuthority},
		{"of a stranger", l, must(NewCheckpoint(batches, AuthoritySigner(stranger.cert, stranger.key))), ErrCheckpointAuthority},
		{"in an authority's name", l, must(NewCheckpoint(batches, other)), ErrCheckpointSignature},
		{"changed", l, changed, ErrCheckpointSignature},
		{"of the log", l, must(NewCheckpoint(nil, Signer{sha256.Sum256(a.cert.Raw), func(m []byte) ([]byte, error) {
			return AuthoritySigner(a.cert, a.key).Sign(m[len(checkpointPrefix):]) // for another use
		}})), ErrCheckpointSignature},
		{"nothing", l, nil, ErrCheckpoint},
	} {
		if got, err := tt.log.Covers(tt.b); !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: %x, %v; want %v", tt.name, got, err, tt.want)
		}
	}
	if _, err := revoked.Covers(must(NewCheckpoint(batches, AuthoritySigner(b.cert, b.key)))); err != nil {
		t.Errorf("of the other authority: %v", err)
	}
}

func TestCheckpointForm(t *testing.T) {
	a := newCA(td, "alpha", nil)
	good := must(NewCheckpoint([][32]byte{{1}, {2}}, AuthoritySigner(a.cert, a.key)))
	for n := range good {
		if _, err := ParseCheckpoint(good[:n]); !errors.Is(err, ErrCheckpoint) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"trailing bytes":   append(bytes.Clone(good), 0),
		"another version":  change(4, 2),
		"out of order":     change(checkpointHead, 3),
		"one twice":        change(checkpointHead, 2),
		"a count too high": change(checkpointHead-4, 0xff),
	} {
		if _, err := ParseCheckpoint(b); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewCheckpoint(make([][32]byte, MaxCheckpoint+1), AuthoritySigner(a.cert, a.key)); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("too many: %v", err)
	}
}

// An SVID is current to its end, or until the authority that issued it is revoked.
func TestEnds(t *testing.T) {
	l, a := newLog(t)
	b := newCA(td, "beta", nil)
	l = must(l.Append(b.add("beta"), now, DomainSigner(domainKey(1))))
	at := now.Add(30 * time.Minute)
	revoked := must(l.Append(RevokeAuthority{CA: Authority{CA: a.cert}.ID()}, at, DomainSigner(domainKey(1))))
	leaf := leafTemplate("spiffe://example.mesh/node/gamma")
	of, end := func(a authority) []*x509.Certificate { return []*x509.Certificate{a.sign(leaf)} }, now.Add(time.Hour)
	for _, tt := range []struct {
		name  string
		log   *Log
		chain []*x509.Certificate
		want  time.Time
	}{
		{"of an authority", l, of(a), end},
		{"of a revoked one", revoked, of(a), at},
		{"of a revoked one, whose certificate is in the chain", revoked, append(of(a), a.cert), at},
		{"of another", revoked, of(b), end},
	} {
		if got := tt.log.Ends(tt.chain); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	late := must(l.Append(RevokeAuthority{CA: Authority{CA: a.cert}.ID()}, end.Add(1), DomainSigner(domainKey(1))))
	if got := late.Ends(of(a)); !got.Equal(end) {
		t.Errorf("revoked when it was over: %v", got)
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	a := newCA(td, "alpha", nil)
	l := must(must(NewLog(domainKey(1), td, now)).Append(a.add("alpha"), now, DomainSigner(domainKey(1))))
	f.Add(must(NewCheckpoint([][32]byte{{1}, {2}}, AuthoritySigner(a.cert, a.key))))
	f.Add(must(NewCheckpoint(nil, Signer{Sign: func([]byte) ([]byte, error) { return []byte("signature"), nil }})))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, signed, sig, err := parseCheckpoint(b)
		if err != nil {
			return
		}
		again := must(NewCheckpoint(c.Batches, Signer{c.Authority, func(m []byte) ([]byte, error) {
			if !bytes.Equal(m, checkpointInput(signed)) {
				t.Errorf("it signs %x", m)
			}
			return sig, nil
		}}))
		if !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
		if covers, err := l.Covers(b); err == nil && !slices.Equal(covers, c.Batches) {
			t.Errorf("%x", covers)
		}
	})
}
