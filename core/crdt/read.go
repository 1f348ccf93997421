package crdt

import (
	"bytes"
	"cmp"
	"slices"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Value is what was written to a register or a multi-value key, by whom and when. Bytes must not be changed.
type Value struct {
	Bytes []byte
	Time  mesh.Hybrid
	Dot   wire.Dot
}

func valueOf(it *item) Value { return Value{it.entry().Value, it.time, it.dot()} }

// Get returns the value of a register; false: there is none.
func (s *State) Get(key []byte) (Value, bool) {
	it := s.tree.get(slotOf(&wire.Batch{}, &wire.Entry{Kind: wire.EntryRegister, Key: key}))
	if it == nil || it.gone {
		return Value{}, false
	}
	return valueOf(it), true
}

// List calls f with all registers whose key has the prefix and comes after another key, ascending, until f returns false.
// f must not change the state.
func (s *State) List(prefix, after []byte, f func(key []byte, v Value) bool) {
	start := prefix
	if bytes.Compare(after, prefix) >= 0 {
		start = append(bytes.Clone(after), 0)
	}
	s.index.from(place{key: start}, func(it *item) bool {
		if !bytes.HasPrefix(it.key(), prefix) {
			return false
		}
		return it.kind != wire.EntryRegister || it.gone || f(it.key(), valueOf(it))
	})
}

// Counter returns the sum of a counter: all that was added, less all that was taken. It wraps like any int64.
func (s *State) Counter(key []byte) (sum int64) {
	s.group(wire.EntryCounter, key, func(it *item) {
		e := it.entry()
		sum += int64(e.Added - e.Taken)
	})
	return sum
}

// Elements returns the elements of a set, ascending. They must not be changed.
func (s *State) Elements(key []byte) (in [][]byte) {
	var items []*item
	flush := func() {
		if slices.ContainsFunc(items, standing(items)) {
			in = append(in, items[0].element())
		}
		items = items[:0]
	}
	s.group(wire.EntrySet, key, func(it *item) {
		if len(items) > 0 && !bytes.Equal(items[0].element(), it.element()) {
			flush()
		}
		items = append(items, it)
	})
	if len(items) > 0 {
		flush()
	}
	return in
}

// Values returns the values of a multi-value key that stand side by side, the newest first.
func (s *State) Values(key []byte) (vs []Value) {
	items := s.peers(wire.EntryMulti, key, nil)
	stands := standing(items)
	for _, it := range items {
		if stands(it) {
			vs = append(vs, valueOf(it))
		}
	}
	slices.SortFunc(vs, func(a, b Value) int { return cmp.Or(cmp.Compare(b.Time, a.Time), a.Dot.Compare(b.Dot)) })
	return vs
}

// group calls f with all items of a key and kind in the order of the index.
func (s *State) group(kind wire.EntryKind, key []byte, f func(*item)) {
	s.index.from(place{key: key, kind: kind}, func(it *item) bool {
		if it.kind != kind || !bytes.Equal(it.key(), key) {
			return false
		}
		f(it)
		return true
	})
}

// peers returns the items, of all authors, of one element or one multi-value key.
func (s *State) peers(kind wire.EntryKind, key, element []byte) (items []*item) {
	s.index.from(place{key, kind, element}, func(it *item) bool {
		if it.kind != kind || !bytes.Equal(it.key(), key) || !bytes.Equal(it.element(), element) {
			return false
		}
		items = append(items, it)
		return true
	})
	return items
}

// cover is how far an entry covers those of one author's life.
type cover struct {
	seq uint64
	by  *item
}

// coversOf returns what items cover, by whose.
func coversOf(items []*item) map[life][]cover {
	m := map[life][]cover{}
	for _, it := range items {
		for _, d := range it.entry().Covers {
			l := life{d.Author, d.Incarnation}
			m[l] = append(m[l], cover{d.Seq, it})
		}
	}
	return m
}

// covered returns the oldest entry that covers it, or nil. An entry covers only older ones: its author had seen them, and the
// clock jumps past what it sees.
func covered(m map[life][]cover, it *item) (by *item) {
	d := it.dot()
	for _, c := range m[life{d.Author, d.Incarnation}] {
		if d.Seq <= c.seq && it.time < c.by.time && (by == nil || c.by.time < by.time) {
			by = c.by
		}
	}
	return by
}

// standing returns whether one of items, which are the peers of one element or multi-value key, is an add or a value that
// nothing covers.
func standing(items []*item) func(*item) bool {
	m := coversOf(items)
	return func(it *item) bool { return !it.gone && covered(m, it) == nil }
}
