package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

// What can be wrong with the text of a token.
var (
	ErrTokenFormat    = errors.New("not a join token")
	ErrTokenVersion   = errors.New("join token of another version")
	ErrTokenTruncated = errors.New("join token is cut off")
	ErrTokenChecksum  = errors.New("join token is mistyped")
	ErrTokenExpired   = errors.New("join token has expired")
)

// MinSecret and MaxSecret bound a token's secret, in bytes.
const (
	MinSecret = 16
	MaxSecret = 32
)

// MaxAddresses is the largest number of addresses a token or a join reply carries.
const MaxAddresses = 16

const (
	tokenPrefix = "x0t1-" // #nosec G101 -- a prefix, no credential
	tokenHead   = 4
	tokenSum    = 4
)

var tokenText = base32.StdEncoding.WithPadding(base32.NoPadding)

// DomainKey is the ed25519 public key in which all trust of a domain begins.
type DomainKey [32]byte

// String returns the key in hexadecimal.
func (k DomainKey) String() string { return hex.EncodeToString(k[:]) }

// Token admits one node once. It is a secret.
type Token struct {
	Domain    spiffeid.TrustDomain
	Node      mesh.NodeID // the name it admits
	Authority mesh.NodeID // who made it and alone redeems it
	DomainKey DomainKey   // pins the authority log of the domain
	Secret    []byte      // MinSecret to MaxSecret bytes
	Expires   time.Time   // whole seconds
	Addresses []string    // host:port of members, tried in order; at most MaxAddresses
}

// String returns the token as one word that ParseToken reads. Whoever reads it can join: print it only where
// the operator asked for it.
func (t Token) String() string {
	body := make([]byte, tokenHead, 256)
	body = appendB8(body, t.Domain.Name())
	body = appendB8(body, t.Node.String())
	body = appendB8(body, t.Authority.String())
	body = append(body, t.DomainKey[:]...)
	body = appendB8(body, t.Secret)
	body = binary.BigEndian.AppendUint64(body, uint64(max(t.Expires.Unix(), 0))) // #nosec G115 -- not negative
	body = append(body, byte(len(t.Addresses)))
	for _, a := range t.Addresses {
		body = appendB8(body, a)
	}
	binary.BigEndian.PutUint16(body, uint16(len(body)-tokenHead+tokenSum)) // #nosec G115 -- at most 17 × 256 bytes
	head := tokenCheck(body[:2])
	copy(body[2:], head[:2])
	sum := tokenCheck(body)
	return tokenPrefix + strings.ToLower(tokenText.EncodeToString(append(body, sum[:tokenSum]...)))
}

// Valid reports why the token cannot be written as text, or nil.
func (t Token) Valid() error {
	switch {
	case t.Domain.IsZero() || t.Node.IsZero() || t.Authority.IsZero():
		return fmt.Errorf("%w: it lacks the trust domain, the node or the authority", ErrTokenFormat)
	case t.DomainKey == DomainKey{}:
		return fmt.Errorf("%w: it pins no domain key", ErrTokenFormat)
	case len(t.Secret) < MinSecret || len(t.Secret) > MaxSecret:
		return fmt.Errorf("%w: its secret has %d bytes, not %d to %d", ErrTokenFormat, len(t.Secret), MinSecret, MaxSecret)
	case len(t.Addresses) > MaxAddresses:
		return fmt.Errorf("%w: it has %d addresses, more than %d", ErrTokenFormat, len(t.Addresses), MaxAddresses)
	}
	for _, a := range t.Addresses {
		if a == "" || len(a) > 255 {
			return fmt.Errorf("%w: an address of %d bytes", ErrTokenFormat, len(a))
		}
	}
	return nil
}

// ParseToken reads what String wrote; white space and upper case do no harm. The error is or wraps one of
// ErrTokenFormat, ErrTokenVersion, ErrTokenTruncated, ErrTokenChecksum and ErrTokenExpired. With ErrTokenExpired
// the token is returned as well, for a caller that does not trust its own clock.
func ParseToken(s string, now time.Time) (Token, error) {
	body, err := decodeToken(strings.ToLower(strings.Join(strings.Fields(s), "")))
	if err != nil {
		return Token{}, err
	}
	t, err := parseTokenBody(body)
	if err != nil {
		return Token{}, err
	}
	if !now.Before(t.Expires) {
		return t, fmt.Errorf("%w: it was good until %s and it is %s; ask %s for a new one with \"x0t token create --node %s\"",
			ErrTokenExpired, t.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), t.Authority, t.Node)
	}
	return t, nil
}

// decodeToken undoes the text and the checksums and returns the fields.
func decodeToken(s string) ([]byte, error) {
	text, err := tokenTail(s)
	if err != nil {
		return nil, err
	}
	raw, err := tokenText.DecodeString(strings.ToUpper(text[:len(text)-badTail(len(text))]))
	if err != nil {
		return nil, fmt.Errorf("%w: it holds a character that is none of a-z and 2-7; copy it again", ErrTokenChecksum)
	}
	if len(raw) < tokenHead {
		return nil, errTruncated(len(text))
	}
	if head := tokenCheck(raw[:2]); !bytes.Equal(head[:2], raw[2:4]) {
		return nil, fmt.Errorf("%w: its beginning does not match its checksum; copy it again", ErrTokenChecksum)
	}
	want := tokenHead + int(binary.BigEndian.Uint16(raw))
	switch chars := tokenText.EncodedLen(want); {
	case len(text) < chars:
		return nil, errTruncated(len(text))
	case len(text) > chars || want < tokenHead+tokenSum:
		return nil, fmt.Errorf("%w: it has %d characters too many; copy it again", ErrTokenChecksum, len(text)-chars)
	}
	// The decoder ignores the bits after the last whole byte, so a mistyped last character could slip through.
	if strings.ToLower(tokenText.EncodeToString(raw)) != text {
		return nil, fmt.Errorf("%w: its last character is wrong; copy it again", ErrTokenChecksum)
	}
	end := len(raw) - tokenSum
	if sum := tokenCheck(raw[:end]); !bytes.Equal(sum[:tokenSum], raw[end:]) {
		return nil, fmt.Errorf("%w: its checksum does not match; copy it again", ErrTokenChecksum)
	}
	return raw[tokenHead:end], nil
}

// tokenTail cuts the prefix off.
func tokenTail(s string) (string, error) {
	if tail, ok := strings.CutPrefix(s, tokenPrefix); ok {
		return tail, nil
	}
	if s != "" && strings.HasPrefix(tokenPrefix, s) {
		return "", errTruncated(0)
	}
	version, ok := strings.CutPrefix(s, "x0t")
	if number, _, found := strings.Cut(version, "-"); ok && found && number != "" && strings.Trim(number, "0123456789") == "" {
		return "", fmt.Errorf("%w: it is of version %.10s and this program reads version 1; install the x0t that made it", ErrTokenVersion, number)
	}
	return "", fmt.Errorf("%w: it does not begin with %q; give the word that \"x0t token create\" printed", ErrTokenFormat, tokenPrefix)
}

// badTail returns how many of n base32 characters at the end hold less than a byte: lengths that only cutting makes.
func badTail(n int) int {
	switch n % 8 {
	case 1, 3, 6:
		return 1
	}
	return 0
}

func parseTokenBody(b []byte) (Token, error) {
	r := reader{b: b}
	domain, node, authority := r.s8(), r.s8(), r.s8()
	t := Token{DomainKey: r.b32(), Secret: bytes.Clone(r.b8())}
	expires := r.u64()
	for range r.u8() {
		t.Addresses = append(t.Addresses, r.s8())
	}
	if r.bad || expires > 1<<40 {
		return Token{}, fmt.Errorf("%w: its fields do not fit", ErrTokenFormat)
	}
	t.Expires = time.Unix(int64(expires), 0) // #nosec G115 -- bounded above
	var err1, err2, err3 error
	t.Domain, err1 = spiffeid.TrustDomainFromString(domain)
	t.Node, err2 = mesh.ParseNodeID(node)
	t.Authority, err3 = mesh.ParseNodeID(authority)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrTokenFormat, err)
	}
	if err := t.Valid(); err != nil {
		return Token{}, err
	}
	return t, nil
}

func tokenCheck(b []byte) [32]byte {
	return sha256.Sum256(append([]byte(tokenPrefix), b...))
}

func errTruncated(have int) error {
	return fmt.Errorf("%w: only %d characters after %q are there; copy the whole line", ErrTokenTruncated, have, tokenPrefix)
}
