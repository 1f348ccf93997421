package wire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"x0tta6bl4/mesh"
)

// Limits of an entry of the shared state, in bytes but for MaxCovers; MaxEntry is its whole size.
const (
	MaxKey     = 1 << 10
	MaxElement = 1 << 10
	MaxValue   = 1 << 20
	MaxCovers  = 1 << 10
	MaxEntry   = MaxValue + 96<<10
)

const (
	minEntry = 1 + 1 + 8 + 2 + 1
	minDot   = 2 + 8 + 8
)

// EntryKind says what an entry writes to.
type EntryKind uint8

// The kinds.
const (
	EntryRegister EntryKind = 1 + iota // the last write of a key counts
	EntryCounter                       // every author's sums are added up
	EntrySet                           // an element is in from an add until a removal that knew of it
	EntryMulti                         // writes that did not know of each other stand side by side
)

// Dot names one entry: the Seq-th that Author made in the life of one state directory.
type Dot struct {
	Author      mesh.NodeID
	Incarnation uint64
	Seq         uint64
}

// Compare orders dots by author, incarnation and sequence.
func (d Dot) Compare(o Dot) int {
	return cmp.Or(d.Author.Compare(o.Author), cmp.Compare(d.Incarnation, o.Incarnation), cmp.Compare(d.Seq, o.Seq))
}

// Entry is one write to the shared state. Who made it, and as which of its writes, stands in the batch around it.
type Entry struct {
	Kind    EntryKind
	Gone    bool        // a register's deletion, an element's removal, a withdrawal from a multi-value key
	Time    mesh.Hybrid // when its author made it
	Key     []byte
	Element []byte // of a set
	Covers  []Dot  // set and multi: its author saw these, and all earlier ones of their authors' incarnations
	Added   uint64 // counter: all that its author ever added
	Taken   uint64 // counter: all that its author ever took
	Value   []byte // register and multi, if not Gone
}

// Validate returns what ParseEntry would refuse, or nil.
func (e *Entry) Validate() error {
	_, err := ParseEntry(e.Append(nil))
	if err == nil && len(e.Value) > 0 && (e.Gone || !e.Kind.hasValue()) {
		err = fmt.Errorf("entry of %q: %w: it can hold no value", clipKey(e.Key), ErrMalformed)
	}
	return err
}

func (k EntryKind) hasValue() bool  { return k == EntryRegister || k == EntryMulti }
func (k EntryKind) hasCovers() bool { return k == EntrySet || k == EntryMulti }

// Append appends the encoding of e. An entry that breaks a limit gives bytes that ParseEntry refuses.
func (e *Entry) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(dst, byte(e.Kind), bit(e.Gone, 0))
	dst = be.AppendUint64(dst, uint64(e.Time))
	dst = appendShort(dst, e.Key)
	if e.Kind == EntrySet {
		dst = appendShort(dst, e.Element)
	}
	if e.Kind.hasCovers() {
		dst = appendDots(dst, e.Covers)
	}
	switch {
	case e.Kind == EntryCounter:
		dst = be.AppendUint64(dst, e.Added)
		dst = be.AppendUint64(dst, e.Taken)
	case e.Kind.hasValue() && !e.Gone:
		dst = be.AppendUint32(dst, uint32(min(len(e.Value), math.MaxUint32)))
		dst = append(dst, e.Value...)
	}
	return dst
}

func appendDots(dst []byte, dots []Dot) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, uint16(min(len(dots), math.MaxUint16)))
	for i := range dots {
		dst = appendNode(dst, dots[i].Author)
		dst = be.AppendUint64(dst, dots[i].Incarnation)
		dst = be.AppendUint64(dst, dots[i].Seq)
	}
	return dst
}

func appendShort(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(len(b), math.MaxUint16)))
	return append(dst, b...)
}

// ParseEntry reads an entry. Byte slices in the result alias b.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) > MaxEntry {
		return Entry{}, fmt.Errorf("entry: %w: %d bytes, at most %d", ErrTooLong, len(b), MaxEntry)
	}
	r := &reader{b: b}
	e := Entry{Kind: EntryKind(r.u8()), Gone: r.u8()&1 != 0, Time: mesh.Hybrid(r.u64())}
	if r.err == nil && (e.Kind == 0 || e.Kind > EntryMulti) {
		r.fail(fmt.Errorf("%w: kind %d", ErrMalformed, e.Kind))
	}
	if e.Time > mesh.MaxHybrid {
		r.fail(fmt.Errorf("%w: time %#x", ErrMalformed, uint64(e.Time)))
	}
	e.Key = r.take(r.count(int(r.u16()), MaxKey, 1))
	if r.err == nil && len(e.Key) == 0 {
		r.fail(fmt.Errorf("%w: no key", ErrMalformed))
	}
	if e.Kind == EntrySet {
		e.Element = r.take(r.count(int(r.u16()), MaxElement, 1))
	}
	if e.Kind.hasCovers() {
		e.Covers = r.dots(MaxCovers)
	}
	if slices.ContainsFunc(e.Covers, func(d Dot) bool { return d.Seq == 0 }) {
		r.fail(fmt.Errorf("%w: no entry has the number 0", ErrMalformed))
	}
	switch {
	case e.Kind == EntryCounter:
		e.Added, e.Taken = r.u64(), r.u64()
		if e.Gone {
			r.fail(fmt.Errorf("%w: a counter has no end", ErrMalformed))
		}
	case e.Kind.hasValue() && !e.Gone:
		e.Value = r.take(r.count(int(r.u32()), MaxValue, 1))
	}
	if r.err != nil {
		return Entry{}, fmt.Errorf("entry of %q: %w", clipKey(e.Key), r.err)
	}
	return e, nil
}

// dots reads a list of dots, one of each author's incarnation, ascending.
func (r *reader) dots(limit int) []Dot {
	n := r.count(int(r.u16()), limit, minDot)
	var ds []Dot
	for i := range n {
		d := Dot{Author: r.node(), Incarnation: r.u64(), Seq: r.u64()}
		if r.err != nil {
			return nil
		}
		if i > 0 && cmp.Or(ds[i-1].Author.Compare(d.Author), cmp.Compare(ds[i-1].Incarnation, d.Incarnation)) >= 0 {
			r.fail(fmt.Errorf("%w: dots not ascending", ErrMalformed))
			return nil
		}
		ds = append(ds, d)
	}
	return ds
}

// clipKey makes a key short enough for an error.
func clipKey(key []byte) []byte { return bytes.Clone(key[:min(len(key), 64)]) }
