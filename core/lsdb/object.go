package lsdb

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Object is a signed announcement taken apart. It is immutable once Open has made it, so that many databases of one
// process may hold it together.
type Object struct {
	Kind        Kind
	Raw         []byte // the whole
	Signed, Sig []byte // parts of it
	Origin      mesh.NodeID

	id   [32]byte // hash of Raw; zero while Raw belongs to somebody else
	svid [32]byte // of a record: its own; of an LSA: the one that it names
	lsa  wire.LSA
	rec  wire.Record
	ways Sum // of an LSA: stands for what Edges makes of it

	flood  []wire.Message // it alone, to be passed on
	number int32          // of its origin: see Shared
}

// Open takes a signed object apart. It keeps a copy of raw.
func Open(kind Kind, raw []byte) (*Object, error) {
	x, err := parse(kind, raw)
	if err != nil {
		return nil, err
	}
	return x.own(), nil
}

// parse takes an object apart that may turn out to be known: it aliases raw, and is not hashed. The parsers refuse by
// size before anything else.
func parse(kind Kind, raw []byte) (*Object, error) {
	x := &Object{Kind: kind, Raw: raw}
	var err error
	switch kind {
	case KindRecord:
		if x.rec, x.Signed, x.Sig, err = wire.ParseRecord(raw); err == nil {
			x.Origin, x.svid = x.rec.Origin, sha256.Sum256(x.rec.Chain[0])
		}
	case KindLSA:
		x.lsa, x.Signed, x.Sig, err = wire.ParseLSA(raw)
		x.Origin, x.svid = x.lsa.Origin, x.lsa.SVID
	default:
		err = fmt.Errorf("unknown kind %d", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return x, nil
}

// own makes the object independent of the caller's buffer.
func (x *Object) own() *Object {
	if x.id != [32]byte{} {
		return x
	}
	y := *x
	y.Raw = bytes.Clone(x.Raw)
	y.Signed, y.Sig = y.Raw[:len(x.Signed)], y.Raw[len(y.Raw)-len(x.Sig):]
	if x.Kind == KindRecord { // its chain is part of Raw; it parsed before
		y.rec, _, _, _ = wire.ParseRecord(y.Raw)
	}
	y.seal()
	return &y
}

// seal hashes an object whose bytes nobody will change.
func (x *Object) seal() {
	x.id = sha256.Sum256(x.Raw)
	switch x.Kind {
	case KindRecord:
		x.flood = []wire.Message{wire.RecordMsg{Raw: x.Raw}}
	case KindLSA:
		x.ways = waysOf(&x.lsa)
		x.flood = []wire.Message{wire.LSAMsg{Raw: x.Raw}}
	}
}

// Sum stands for a set of objects: it is the sum of what stands for each, and so follows every change at once. It is
// good against chance, not against somebody who chooses what he announces: only what is shared is found by it.
type Sum [4]uint64

func (s *Sum) add(o Sum) {
	for i := range s {
		s[i] += o[i]
	}
}

func (s *Sum) take(o Sum) {
	for i := range s {
		s[i] -= o[i]
	}
}

func sumOf(hash [32]byte) (s Sum) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(hash[8*i:])
	}
	return s
}

// waysOf is what an LSA adds to the sum that stands for the graph. Suspicion is none of it: no path is chosen by that.
func waysOf(l *wire.LSA) Sum {
	b := append([]byte(nil), l.Origin.String()...)
	for i := range l.Links {
		a := &l.Links[i]
		b = append(append(b, 0), a.Neighbour.String()...)
		b = append(b, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(a.Label))
		b = binary.LittleEndian.AppendUint16(b, uint16(a.Remote))
		b = binary.LittleEndian.AppendUint32(b, uint32(a.Cost))
		b = append(b, byte(a.Quality))
		b = binary.LittleEndian.AppendUint16(b, a.MTU)
		b = binary.LittleEndian.AppendUint64(b, uint64(a.Capacity))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a.Groups))) // #nosec G115 -- at most wire.MaxGroups
		for _, g := range a.Groups {
			b = binary.LittleEndian.AppendUint32(b, g)
		}
	}
	return sumOf(sha256.Sum256(b))
}
