package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// Limits of a link-state announcement; MaxLSA is its whole size in bytes.
const (
	MaxLinks  = 512
	MaxGroups = 16
	MaxLSA    = 80 << 10
)

const (
	lsaPrefix = "x0t-lsa/1\x00"
	minLink   = 2 + 2 + 2 + 4 + 1 + 2 + 8 + 1 + 1
)

// LSA is a link-state announcement: what its origin says of its own links.
type LSA struct {
	Origin       mesh.NodeID
	Incarnation  uint64 // random, made with the origin's state directory
	Boot         uint64
	Seq          uint64
	Time         time.Time     // of origin; whole ms, UTC
	Lifetime     time.Duration // whole seconds
	SVID         [32]byte      // SHA-256 of the DER of the leaf whose key signed it
	Capabilities uint32
	Links        []mesh.Adjacency // parsed: strictly ascending by Label
}

// Validate returns what ParseLSA would refuse, or nil. Links and groups need not be sorted.
func (l LSA) Validate() error {
	_, _, _, err := ParseLSA(l.AppendSigned(nil, []byte{0}))
	if err == nil && (l.Lifetime < 0 || l.Lifetime > math.MaxUint32*time.Second) {
		err = fmt.Errorf("LSA of %s: %w: lifetime %v", l.Origin, ErrMalformed, l.Lifetime)
	}
	return err
}

// SigningInput returns what the origin signs. It sorts links and groups; an LSA that breaks a limit gives bytes that
// ParseLSA refuses.
func (l LSA) SigningInput() []byte {
	be := binary.BigEndian
	b := appendNode(beginSigned(lsaPrefix), l.Origin)
	b = be.AppendUint64(b, l.Incarnation)
	b = be.AppendUint64(b, l.Boot)
	b = be.AppendUint64(b, l.Seq)
	b = be.AppendUint64(b, uint64(l.Time.UnixMilli()))
	b = be.AppendUint32(b, clampU32(int64(l.Lifetime/time.Second)))
	b = append(b, l.SVID[:]...)
	b = be.AppendUint32(b, l.Capabilities)
	links := slices.SortedStableFunc(slices.Values(l.Links), func(x, y mesh.Adjacency) int { return int(x.Label) - int(y.Label) })
	b = be.AppendUint16(b, uint16(min(len(links), math.MaxUint16)))
	for i := range links {
		b = appendLink(b, &links[i])
	}
	return endSigned(b, lsaPrefix)
}

// AppendSigned appends the whole announcement: its SigningInput and the signature of it.
func (l LSA) AppendSigned(dst, sig []byte) []byte { return appendSignature(dst, l.SigningInput(), sig) }

// ParseLSA reads a signed announcement. signed is what sig must be a valid signature of; both alias raw.
func ParseLSA(raw []byte) (lsa LSA, signed, sig []byte, err error) {
	r, signed, sig, err := openSigned(raw, lsaPrefix, MaxLSA)
	if err != nil {
		return LSA{}, nil, nil, fmt.Errorf("LSA: %w", err)
	}
	lsa = LSA{
		Origin:       r.node(),
		Incarnation:  r.u64(),
		Boot:         r.u64(),
		Seq:          r.u64(),
		Time:         r.time(),
		Lifetime:     time.Duration(r.u32()) * time.Second,
		SVID:         r.hash(),
		Capabilities: r.u32(),
	}
	lsa.Links = parseLinks(r, lsa.Origin)
	if r.err != nil {
		return LSA{}, nil, nil, fmt.Errorf("LSA of %q: %w", lsa.Origin, r.err)
	}
	return lsa, signed, sig, nil
}

func appendLink(b []byte, a *mesh.Adjacency) []byte {
	be := binary.BigEndian
	b = appendNode(b, a.Neighbour)
	b = be.AppendUint16(b, uint16(a.Label))
	b = be.AppendUint16(b, uint16(a.Remote))
	b = be.AppendUint32(b, uint32(a.Cost))
	b = append(b, byte(a.Quality))
	b = be.AppendUint16(b, a.MTU)
	b = be.AppendUint64(b, uint64(a.Capacity))
	groups := slices.Compact(slices.Sorted(slices.Values(a.Groups)))
	b = append(b, bit(a.Suspect, 0), byte(min(len(groups), math.MaxUint8)))
	for _, g := range groups {
		b = be.AppendUint32(b, g)
	}
	return b
}

func parseLinks(r *reader, origin mesh.NodeID) []mesh.Adjacency {
	n := r.count(int(r.u16()), MaxLinks, minLink)
	if n == 0 {
		return nil
	}
	links := make([]mesh.Adjacency, 0, n)
	var last mesh.Label
	for range n {
		a := parseLink(r)
		if r.err == nil {
			r.checkLink(&a, origin, last)
		}
		if r.err != nil {
			return nil
		}
		last = a.Label
		links = append(links, a)
	}
	return links
}

func parseLink(r *reader) mesh.Adjacency {
	a := mesh.Adjacency{
		Neighbour: r.node(),
		Label:     mesh.Label(r.u16()),
		Remote:    mesh.Label(r.u16()),
		Cost:      mesh.Cost(r.u32()),
		Quality:   mesh.Quality(r.u8()),
		MTU:       r.u16(),
		Capacity:  mesh.BitsPerSecond(r.u64()),
		Suspect:   r.u8()&1 != 0,
	}
	n := r.count(int(r.u8()), MaxGroups, 4)
	for i := range n {
		g := r.u32()
		if i > 0 && g <= a.Groups[i-1] {
			r.fail(fmt.Errorf("%w: groups of link %d not ascending", ErrMalformed, a.Label))
			break
		}
		a.Groups = append(a.Groups, g)
	}
	return a
}

func (r *reader) checkLink(a *mesh.Adjacency, origin mesh.NodeID, last mesh.Label) {
	switch {
	case a.Label == 0:
		r.fail(ErrZeroLabel)
	case a.Remote == 0:
		r.fail(fmt.Errorf("%w: the neighbour's of link %d", ErrZeroLabel, a.Label))
	case a.Label <= last:
		r.fail(fmt.Errorf("%w: link %d behind link %d", ErrMalformed, a.Label, last))
	case a.Neighbour == origin:
		r.fail(fmt.Errorf("%w: link %d leads to its own node", ErrMalformed, a.Label))
	case a.Cost == 0 || a.Cost > mesh.MaxCost:
		r.fail(fmt.Errorf("%w: cost %d of link %d", ErrMalformed, a.Cost, a.Label))
	case a.Quality > mesh.Excellent:
		r.fail(fmt.Errorf("%w: quality %d of link %d", ErrMalformed, a.Quality, a.Label))
	}
}

func clampU32(n int64) uint32 { return uint32(max(0, min(n, math.MaxUint32))) }
