// Package mesh holds the nouns of the mesh as plain values: who a node is, what a link, a path and a
// forwarding table are. It imports nothing else of this project, does no I/O and knows no clock, so that
// the deciding half (core), the acting half (host) and the simulator speak of the same things.
package mesh

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ErrNodeName is wrapped by every error about a name that cannot be a node's.
var ErrNodeName = errors.New("not a node name")

// MaxName is the longest node name in bytes, that of a DNS label (RFC 1035 §2.3.4).
const MaxName = 63

const nodePrefix = "/node/"

// NodeID names one node of a trust domain. It is comparable and is the zero value or a valid name: it can be
// made only by ParseNodeID and NodeIDFromSPIFFE. The zero value means "no node".
type NodeID struct{ name string }

// ParseNodeID accepts a lower-case DNS label: 1 to 63 of [a-z0-9-], no hyphen at either end.
func ParseNodeID(name string) (NodeID, error) {
	if name == "" || len(name) > MaxName {
		return NodeID{}, fmt.Errorf("%w: %q has %d characters; use 1 to %d", ErrNodeName, clip(name), len(name), MaxName)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		edge := i == 0 || i == len(name)-1
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && !edge {
			continue
		}
		return NodeID{}, fmt.Errorf("%w: %q: use lower-case letters, digits and inner hyphens", ErrNodeName, name)
	}
	return NodeID{name}, nil
}

// MustNodeID is ParseNodeID for constants in tests and generated topologies; it panics on a bad name.
func MustNodeID(name string) NodeID {
	n, err := ParseNodeID(name)
	if err != nil {
		panic(err)
	}
	return n
}

// NodeIDFromSPIFFE returns the node that id names. The path must be exactly /node/<name>: no prefix of it, and
// nothing after it, counts.
func NodeIDFromSPIFFE(id spiffeid.ID) (NodeID, error) {
	name, ok := strings.CutPrefix(id.Path(), nodePrefix)
	if !ok {
		return NodeID{}, fmt.Errorf("%w: %q is not %s<name>", ErrNodeName, clip(id.String()), nodePrefix)
	}
	return ParseNodeID(name)
}

// SPIFFEID returns spiffe://<td>/node/<name>. It must not be called on the zero value.
func (n NodeID) SPIFFEID(td spiffeid.TrustDomain) spiffeid.ID {
	return spiffeid.RequireFromPath(td, nodePrefix+n.name)
}

// String returns the name, or "" for the zero value.
func (n NodeID) String() string { return n.name }

// IsZero reports whether n names no node.
func (n NodeID) IsZero() bool { return n.name == "" }

// Compare orders nodes by name, which within one trust domain is the order of their SPIFFE IDs.
func (n NodeID) Compare(o NodeID) int { return cmp.Compare(n.name, o.name) }

// MarshalText makes a NodeID a string in JSON.
func (n NodeID) MarshalText() ([]byte, error) { return []byte(n.name), nil }

// UnmarshalText accepts what ParseNodeID does, and "" for the zero value.
func (n *NodeID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*n = NodeID{}
		return nil
	}
	p, err := ParseNodeID(string(b))
	*n = p
	return err
}

// Prefix returns the ULA /48 (RFC 4193) of a trust domain: fd, then the first 5 bytes of
// SHA-256("x0t-ula" ‖ trust domain).
func Prefix(td spiffeid.TrustDomain) netip.Prefix {
	h := sha256.Sum256([]byte("x0t-ula" + td.Name()))
	a := [16]byte{0: 0xfd}
	copy(a[1:6], h[:5])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// Addr returns the mesh address of a node: the domain's /48, 16 zero bits, and the first 8 bytes of
// SHA-256("x0t-addr" ‖ SPIFFE ID). It outlives the node's keys, and only who holds the identity can claim it.
func Addr(td spiffeid.TrustDomain, n NodeID) netip.Addr {
	a := Prefix(td).Addr().As16()
	h := sha256.Sum256([]byte("x0t-addr" + n.SPIFFEID(td).String()))
	copy(a[8:], h[:8])
	return netip.AddrFrom16(a)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
