package trust

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"
)

func TestAuthor(t *testing.T) {
	l, a := newLog(t)
	b := newCA(td, "beta", nil)
	l = must(l.Append(b.add("beta"), now, DomainSigner(domainKey(1))))
	revoked := now.Add(30 * time.Minute)
	l = must(l.Append(RevokeAuthority{CA: Authority{CA: a.cert}.ID()}, revoked, DomainSigner(domainKey(1))))
	l = must(ParseLog(l.Bytes()))
	leaf := leafTemplate("spiffe://example.mesh/node/gamma") // from a minute ago for an hour and a minute
	old, current := []*x509.Certificate{a.sign(leaf)}, []*x509.Certificate{b.sign(leaf)}
	at := func(m int) time.Time { return now.Add(time.Duration(m) * time.Minute) }
	for _, tt := range []struct {
		name           string
		chain          []*x509.Certificate
		oldest, newest time.Time
		want           error
	}{
		{"in its life", current, at(0), at(59), nil},
		{"at one time", current, at(5), at(5), nil},
		{"before its life", current, at(-2), at(5), ErrNotYetValid},
		{"behind its life", current, at(5), at(61), ErrExpired},
		{"revoked since", old, at(0), at(29), nil},
		{"revoked then", old, at(0), at(30), ErrUnknownAuthority},
		{"a stranger's", []*x509.Certificate{newCA(td, "x", nil).sign(leaf)}, at(0), at(1), ErrUnknownAuthority},
		{"no chain", nil, at(0), at(1), ErrChain},
	} {
		n, err := l.Author(tt.chain, tt.oldest, tt.newest)
		if !errors.Is(err, tt.want) || err == nil && n.String() != "gamma" {
			t.Errorf("%s: %s, %v; want %v", tt.name, n, err, tt.want)
		}
	}
	if _, err := VerifySVID(old, l.Roots(), at(1), VerifyOptions{}); !errors.Is(err, ErrUnknownAuthority) {
		t.Errorf("a session with an SVID of a revoked authority: %v", err)
	}
}
