package authority

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

const (
	maxTokens = 10_000
	maxKeys   = 8
	// keepToken is how long after its end a token is remembered, to say "expired" or "used" and not "unknown".
	keepToken = 24 * time.Hour
)

// registry is which keys hold which name, and the tokens. It is changed in a copy that is written first.
type registry struct {
	Version int                      `json:"version"`
	Names   map[mesh.NodeID]*binding `json:"names"`
	Tokens  map[string]*tokenEntry   `json:"tokens"` // by trust.TokenHash in hexadecimal
}

// binding is one admitted name. Keys are in the order of their admission; the first is the last one that showed
// that its SVID had arrived, those after it were issued since, and any of them renews.
type binding struct {
	Keys     []boundKey `json:"keys"`
	Admitted time.Time  `json:"admitted"`
	Renewed  time.Time  `json:"renewed"`
}

type boundKey struct {
	Hash     string    `json:"sha256"`
	NotAfter time.Time `json:"not_after"`
}

type tokenEntry struct {
	Node    mesh.NodeID `json:"node"`
	Expires time.Time   `json:"expires"`
	Replace bool        `json:"replace,omitempty"`
	UsedBy  string      `json:"used_by,omitempty"` // hash of the key that redeemed it
}

func newRegistry() *registry {
	return &registry{1, map[mesh.NodeID]*binding{}, map[string]*tokenEntry{}}
}

func (r *registry) clone() *registry {
	n := newRegistry()
	for name, b := range r.Names {
		c := *b
		c.Keys = slices.Clone(b.Keys)
		n.Names[name] = &c
	}
	for hash, t := range r.Tokens {
		c := *t
		n.Tokens[hash] = &c
	}
	return n
}

func loadRegistry(store Store) (*registry, error) {
	b, err := readNeeded(store, fileRegistry)
	if err != nil {
		return nil, err
	}
	r := newRegistry()
	err = json.Unmarshal(b, r)
	if err == nil && r.Version != 1 {
		err = fmt.Errorf("it has version %d", r.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; restore it from a copy", ErrCorrupt, fileRegistry, err)
	}
	if !r.valid() {
		return nil, fmt.Errorf("%w: %s has an empty entry; restore it from a copy", ErrCorrupt, fileRegistry)
	}
	return r, nil
}

// valid reports whether every name has a key and every token an entry.
func (r *registry) valid() bool {
	for _, b := range r.Names {
		if b == nil || len(b.Keys) == 0 {
			return false
		}
	}
	for _, t := range r.Tokens {
		if t == nil {
			return false
		}
	}
	return r.Names != nil && r.Tokens != nil
}

// keepRegistry makes next the registry, on disk first. It is called with mu held.
func (a *Authority) keepRegistry(next *registry) error {
	b, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return err
	}
	if err := a.store.Write(fileRegistry, append(b, '\n')); err != nil {
		return err
	}
	a.reg = next
	return nil
}

// live reports whether a node may still come back by one of its keys.
func (b *binding) live(now time.Time) bool {
	return slices.ContainsFunc(b.Keys, func(k boundKey) bool { return now.Before(k.NotAfter.Add(RenewGrace)) })
}

func (r *registry) holds(node mesh.NodeID, key string) bool {
	b := r.Names[node]
	return b != nil && slices.ContainsFunc(b.Keys, func(k boundKey) bool { return k.Hash == key })
}

// bind adds a key to those of a name, or refreshes it.
func (r *registry) bind(node mesh.NodeID, key boundKey, now time.Time) {
	b := r.Names[node]
	if b == nil {
		b = &binding{Admitted: now}
		r.Names[node] = b
	}
	b.Renewed = now
	b.Keys = slices.DeleteFunc(b.Keys, func(k boundKey) bool { return k.Hash == key.Hash })
	b.Keys = append(b.Keys, key)
	if len(b.Keys) > maxKeys { // the first is known to be in use; the oldest answer that got lost goes
		b.Keys = slices.Delete(b.Keys, 1, 2)
	}
}

// confirm drops the keys that were admitted before key: who renews with it has it.
func (r *registry) confirm(node mesh.NodeID, key string) error {
	b := r.Names[node]
	if b == nil {
		return fmt.Errorf("%w: %s was never admitted here", ErrKeyReplaced, node)
	}
	i := slices.IndexFunc(b.Keys, func(k boundKey) bool { return k.Hash == key })
	if i < 0 {
		return fmt.Errorf("%w: %s renewed with a newer key, or another machine took its name; join again with a new token", ErrKeyReplaced, node)
	}
	b.Keys = slices.Delete(b.Keys, 0, i)
	return nil
}

// checkFree reports why node cannot be given to a newcomer.
func (a *Authority) checkFree(reg *registry, node mesh.NodeID, now time.Time) error {
	if b := reg.Names[node]; node == a.node || b != nil && b.live(now) {
		return fmt.Errorf("%w: %s; choose another name, or make a token with --replace, which shuts the old machine out", ErrNameTaken, node)
	}
	return a.checkAddress(reg, node)
}

// checkAddress refuses a name whose mesh address is another's: 64 bits of hash leave that to chance or malice.
func (a *Authority) checkAddress(reg *registry, node mesh.NodeID) error {
	addr := a.addr(a.td, node)
	for _, other := range slices.SortedFunc(maps.Keys(reg.Names), mesh.NodeID.Compare) {
		if other != node && a.addr(a.td, other) == addr {
			return fmt.Errorf("%w: %s and %s share %s; choose another name", ErrAddressTaken, node, other, addr)
		}
	}
	return nil
}

// Name is one entry of the registry as shown to an operator.
type Name struct {
	Node     mesh.NodeID
	Admitted time.Time
	Renewed  time.Time
	NotAfter time.Time // of the newest SVID
	Live     bool
}

// Names lists the admitted nodes by name.
func (a *Authority) Names(now time.Time) []Name {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Name
	for _, n := range slices.SortedFunc(maps.Keys(a.reg.Names), mesh.NodeID.Compare) {
		b := a.reg.Names[n]
		out = append(out, Name{n, b.Admitted, b.Renewed, b.Keys[len(b.Keys)-1].NotAfter, b.live(now) || n == a.node})
	}
	return out
}
