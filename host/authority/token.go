package authority

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// secretLen is the length of a token's secret: 160 bits.
const secretLen = 20

// TokenOptions says what a token is to admit.
type TokenOptions struct {
	Node      mesh.NodeID
	TTL       time.Duration // 0 = DefaultTokenTTL
	Addresses []string      // host:port of this node or of members that relay to it
	Replace   bool          // the name may belong to a live node, whose keys it then takes away
}

// CreateToken makes a token and keeps its hash. The secret exists in the returned value only.
func (a *Authority) CreateToken(o TokenOptions, now time.Time) (trust.Token, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTokenTTL
	}
	if o.TTL < time.Second || o.TTL > MaxTokenTTL {
		return trust.Token{}, fmt.Errorf("%w: token lifetime %s is not between 1s and %s", ErrTTL, o.TTL, MaxTokenTTL)
	}
	t := trust.Token{
		Domain: a.td, Node: o.Node, Authority: a.node, DomainKey: a.Log().DomainKey(),
		Secret: make([]byte, secretLen), Expires: now.Add(o.TTL).Truncate(time.Second), Addresses: o.Addresses,
	}
	if _, err := rand.Read(t.Secret); err != nil {
		return trust.Token{}, err
	}
	if err := t.Valid(); err != nil {
		return trust.Token{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.reg.clone()
	next.forgetTokens(now)
	if err := a.checkTokenName(next, o.Node, o.Replace, now); err != nil {
		return trust.Token{}, err
	}
	if len(next.Tokens) >= maxTokens {
		return trust.Token{}, fmt.Errorf("%w: %d; wait until some expire", ErrTooMany, len(next.Tokens))
	}
	next.Tokens[tokenHash(trust.TokenPrivateKey(t.Secret).Public().(ed25519.PublicKey))] = &tokenEntry{Node: o.Node, Expires: t.Expires, Replace: o.Replace}
	return t, a.keepRegistry(next)
}

// checkTokenName is checkFree, which replace softens, save for the authority's own name.
func (a *Authority) checkTokenName(reg *registry, node mesh.NodeID, replace bool, now time.Time) error {
	if replace && node != a.node {
		return a.checkAddress(reg, node)
	}
	return a.checkFree(reg, node, now)
}

// redeem uses a token up and issues its SVID. The same key may ask again until the token expires: its answer may
// have been lost.
func (a *Authority) redeem(tokenKey []byte, node mesh.NodeID, pub *ecdsa.PublicKey, now time.Time) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issue(pub, node, 0, now, func(reg *registry, key boundKey) error {
		t := reg.Tokens[tokenHash(tokenKey)]
		switch {
		case t == nil:
			return fmt.Errorf("%w; it may be mistyped, made by another authority, or long expired", ErrTokenUnknown)
		case t.UsedBy != "" && t.UsedBy != key.Hash:
			return fmt.Errorf("%w; ask for a new one, and if you did not use it yourself, someone else did", ErrTokenUsed)
		case !now.Before(t.Expires):
			return fmt.Errorf("%w at %s by the authority's clock; ask for a new one", trust.ErrTokenExpired, t.Expires.UTC().Format(time.RFC3339))
		case t.Node != node:
			return fmt.Errorf("%w: it admits %s, not %s", ErrTokenNode, t.Node, node)
		}
		if t.UsedBy == "" {
			if err := a.checkTokenName(reg, node, t.Replace, now); err != nil {
				return err
			}
			// A newcomer holds its name alone: whatever key held it before is out.
			delete(reg.Names, node)
		} else if !reg.holds(node, key.Hash) {
			return fmt.Errorf("%w: %s", ErrKeyReplaced, node)
		}
		t.UsedBy = key.Hash
		reg.bind(node, key, now)
		return nil
	})
}

// renew issues the next SVID of a node that showed that it holds old.
func (a *Authority) renew(node mesh.NodeID, old, pub *ecdsa.PublicKey, now time.Time) ([][]byte, error) {
	oldHash, err := keyHash(old)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issue(pub, node, 0, now, func(reg *registry, key boundKey) error {
		if err := reg.confirm(node, oldHash); err != nil {
			return err
		}
		reg.bind(node, key, now)
		return nil
	})
}

// TokenInfo is one token as shown to an operator.
type TokenInfo struct {
	Hash    string // first 16 hexadecimal digits
	Node    mesh.NodeID
	Expires time.Time
	Used    bool
}

// Tokens lists the remembered tokens by hash.
func (a *Authority) Tokens() []TokenInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []TokenInfo
	for _, h := range slices.Sorted(maps.Keys(a.reg.Tokens)) {
		t := a.reg.Tokens[h]
		out = append(out, TokenInfo{h[:min(16, len(h))], t.Node, t.Expires, t.UsedBy != ""})
	}
	return out
}

func (r *registry) forgetTokens(now time.Time) {
	maps.DeleteFunc(r.Tokens, func(_ string, t *tokenEntry) bool { return now.After(t.Expires.Add(keepToken)) })
}

func tokenHash(tokenKey []byte) string {
	h := trust.TokenHash(tokenKey)
	return hex.EncodeToString(h[:])
}
