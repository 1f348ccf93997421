package trust

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

func sampleToken() Token {
	return Token{
		Domain: td, Node: mesh.MustNodeID("beta"), Authority: mesh.MustNodeID("alpha"), DomainKey: DomainKey{1, 2, 3},
		Secret: bytes.Repeat([]byte{7}, 20), Expires: now.Add(10 * time.Minute), Addresses: []string{"192.0.2.1:7420", "[2001:db8::1]:7420"},
	}
}

func sameToken(a, b Token) bool {
	return a.Domain == b.Domain && a.Node == b.Node && a.Authority == b.Authority && a.DomainKey == b.DomainKey &&
		bytes.Equal(a.Secret, b.Secret) && a.Expires.Equal(b.Expires) && fmt.Sprint(a.Addresses) == fmt.Sprint(b.Addresses)
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok := sampleToken()
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`)
		tok.Node, tok.Authority = mesh.MustNodeID(name.Draw(t, "node")), mesh.MustNodeID(name.Draw(t, "authority"))
		tok.Secret = rapid.SliceOfN(rapid.Byte(), MinSecret, MaxSecret).Draw(t, "secret")
		tok.Addresses = rapid.SliceOfN(rapid.StringMatching(`[a-z0-9.:\[\]]{1,60}`), 0, MaxAddresses).Draw(t, "addresses")
		tok.Expires = now.Add(time.Duration(rapid.IntRange(1, 1e6).Draw(t, "seconds")) * time.Second)
		got, err := ParseToken(tok.String(), now)
		if err != nil || !sameToken(got, tok) {
			t.Fatalf("%v\n%+v\n%+v", err, got, tok)
		}
	})
}

func TestTokenTextIsForgiving(t *testing.T) {
	s := sampleToken().String()
	for _, form := range []string{strings.ToUpper(s), "  " + s + "\n", s[:40] + "\n   " + s[40:]} {
		if got, err := ParseToken(form, now); err != nil || !sameToken(got, sampleToken()) {
			t.Errorf("%q: %v", form, err)
		}
	}
}

// Every proper beginning of a token is said to be cut off, and none to be mistyped.
func TestTokenTruncated(t *testing.T) {
	s := sampleToken().String()
	for n := 1; n < len(s); n++ {
		if _, err := ParseToken(s[:n], now); !errors.Is(err, ErrTokenTruncated) {
			t.Fatalf("first %d of %d characters: %v", n, len(s), err)
		}
	}
}

// Every single wrong character is found, and none is taken for a lost tail.
func TestTokenMistyped(t *testing.T) {
	s := sampleToken().String()
	for i := len(tokenPrefix); i < len(s); i++ {
		for _, c := range "abcdefghijklmnopqrstuvwxyz234567890-!" {
			if byte(c) == s[i] {
				continue
			}
			bad := s[:i] + string(c) + s[i+1:]
			if _, err := ParseToken(bad, now); !errors.Is(err, ErrTokenChecksum) {
				t.Fatalf("character %d is %q: %v", i, c, err)
			}
		}
	}
	for _, extra := range []string{"a", "aaaa", "aaaaaaaa"} {
		if _, err := ParseToken(s+extra, now); !errors.Is(err, ErrTokenChecksum) {
			t.Errorf("%q more: %v", extra, err)
		}
	}
}

func TestTokenFormatAndVersion(t *testing.T) {
	for s, want := range map[string]error{
		"": ErrTokenFormat, "beta": ErrTokenFormat, "x0t": ErrTokenTruncated, "x0t2-aaaa": ErrTokenVersion, "x0t10-aaaa": ErrTokenVersion,
		"x0tx-aaaa": ErrTokenFormat, "x0t-": ErrTokenFormat, "x0t2": ErrTokenFormat, "x0t1-": ErrTokenTruncated,
	} {
		if _, err := ParseToken(s, now); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", s, err, want)
		}
	}
}

func TestTokenExpired(t *testing.T) {
	tok := sampleToken()
	if _, err := ParseToken(tok.String(), tok.Expires.Add(-time.Second)); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	got, err := ParseToken(tok.String(), tok.Expires)
	if !errors.Is(err, ErrTokenExpired) || !sameToken(got, tok) {
		t.Errorf("at its end: %v", err)
	}
}

// Tokens whose checksums are right and whose contents are not.
func TestTokenContents(t *testing.T) {
	for name, spoil := range map[string]func(*Token){
		"no node":         func(t *Token) { t.Node = mesh.NodeID{} },
		"no domain key":   func(t *Token) { t.DomainKey = DomainKey{} },
		"short secret":    func(t *Token) { t.Secret = t.Secret[:MinSecret-1] },
		"long secret":     func(t *Token) { t.Secret = make([]byte, MaxSecret+1) },
		"empty address":   func(t *Token) { t.Addresses[0] = "" },
		"many addresses":  func(t *Token) { t.Addresses = make([]string, MaxAddresses+1) },
		"endless address": func(t *Token) { t.Addresses[0] = strings.Repeat("a", 256) },
	} {
		tok := sampleToken()
		spoil(&tok)
		if err := tok.Valid(); !errors.Is(err, ErrTokenFormat) {
			t.Errorf("%s: Valid: %v", name, err)
		}
		if _, err := ParseToken(tok.String(), now); !errors.Is(err, ErrTokenFormat) {
			t.Errorf("%s: ParseToken: %v", name, err)
		}
	}
	if err := sampleToken().Valid(); err != nil {
		t.Errorf("without a defect: %v", err)
	}
}

// The bytes are fixed: tokens outlive the program that made them.
func TestTokenGolden(t *testing.T) {
	const want = "x0t1-ab6fo5ymmv4gc3lqnrss43lfonuaiytforqqkylmobugcaicamaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacqdqobyha4dqobyha4dqobyha4dqobyha4aaaaaaonrd4micbyytsmrogaxdelrrhi3timrqcjntembqge5giyryhi5dcxj2g42demcschlow"
	if s := sampleToken().String(); s != want {
		t.Errorf("the format changed:\n%s\n%s", s, want)
	}
}

func FuzzParseToken(f *testing.F) {
	s := sampleToken().String()
	f.Add(s)
	f.Add(s[:50])
	f.Add("x0t2-abc")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s, now)
		if err != nil {
			return
		}
		again, err := ParseToken(tok.String(), now)
		if err != nil || !sameToken(tok, again) {
			t.Fatalf("%v: %+v %+v", err, tok, again)
		}
	})
}

// Contents behind right checksums, which a fuzzer does not find by itself.
func FuzzTokenBody(f *testing.F) {
	body, _ := decodeToken(sampleToken().String())
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		if tok, err := parseTokenBody(b); err == nil && tok.Valid() != nil {
			t.Fatalf("%+v", tok)
		}
	})
}
