package crdt

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// shelf keeps single entries, with their proofs, that are not merged yet. It is bounded, and nobody may fill more than a
// quarter of it: what does not fit is refused, and a neighbour will bring it again.
type shelf struct {
	all         []shelved // ascending by due, then id
	known       map[[32]byte]bool
	bytes       int
	count, room int // at most
}

type shelved struct {
	due  time.Time
	from mesh.NodeID // its author
	it   *item       // the only one of a batch of its own
	size int
}

func newShelf(count, room int) shelf {
	return shelf{known: map[[32]byte]bool{}, count: count, room: room}
}

// put keeps an item of a piece, and reports whether it is kept.
func (s *shelf) put(due time.Time, it *item) bool {
	if s.known[it.id] {
		return true
	}
	size := it.size() + 32*8
	author, count, room := it.batch.Author, 0, 0
	for i := range s.all {
		if s.all[i].from == author {
			count, room = count+1, room+s.all[i].size
		}
	}
	if len(s.all) >= s.count || s.bytes+size > s.room || count >= s.count/4 || room+size > max(s.room/4, size) {
		return false
	}
	p := it.batch.piece([]*item{it})
	p.Sig, p.Leaves[0].Raw = bytes.Clone(p.Sig), bytes.Clone(it.raw) // what they are part of is larger
	p.Leaves[0].Entry = it.entry()
	x := shelved{due, author, newBatch(p).live[0], size}
	i, _ := slices.BinarySearchFunc(s.all, x, func(a, b shelved) int {
		return cmp.Or(a.due.Compare(b.due), bytes.Compare(a.it.id[:], b.it.id[:]))
	})
	s.all = slices.Insert(s.all, i, x)
	s.known[it.id] = true
	s.bytes += size
	return true
}

// take removes and returns the item at i.
func (s *shelf) take(i int) *item {
	x := s.all[i]
	s.all = slices.Delete(s.all, i, i+1)
	delete(s.known, x.it.id)
	s.bytes -= x.size
	return x.it
}

// Due returns when the first entry of the future may be merged; zero: there is none.
func (s *State) Due() time.Time {
	if len(s.held.all) == 0 {
		return time.Time{}
	}
	return s.held.all[0].due
}

// release merges the entries whose time has come.
func (s *State) release(now time.Time) (out Outcome) {
	for len(s.held.all) > 0 && !now.Before(s.held.all[0].due) {
		o := s.merge(now, s.held.take(0).batch)
		out.Write = append(out.Write, o.Write...)
		out.Changed = append(out.Changed, o.Changed...)
		out.fresh = append(out.fresh, o.fresh...)
		if o.Alarm != nil {
			out.Alarm = o.Alarm
		}
	}
	return out
}
