package crdt

import (
	"bytes"
	"cmp"
	"slices"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// life is one incarnation of an author.
type life struct {
	author      mesh.NodeID
	incarnation uint64
}

func lifeOf(d wire.Dot) life { return life{d.Author, d.Incarnation} }

func compareLives(a, b life) int {
	return cmp.Or(a.author.Compare(b.author), cmp.Compare(a.incarnation, b.incarnation))
}

func compareBatches(a, b *batch) int {
	return cmp.Or(cmp.Compare(a.First, b.First), bytes.Compare(a.id[:], b.id[:]))
}

// enter adds a batch to those that are held; leave takes it out.
func (s *State) enter(b *batch) {
	s.batches[b.id] = b
	s.svids[b.SVID]++
	l := life{b.Author, b.Incarnation}
	if len(s.lives[l]) == 0 {
		i, _ := slices.BinarySearchFunc(s.order, l, compareLives)
		s.order = slices.Insert(s.order, i, l)
	}
	i, _ := slices.BinarySearchFunc(s.lives[l], b, compareBatches)
	s.lives[l] = slices.Insert(s.lives[l], i, b)
}

func (s *State) leave(b *batch) {
	delete(s.batches, b.id)
	if s.svids[b.SVID]--; s.svids[b.SVID] == 0 {
		delete(s.svids, b.SVID)
	}
	l := life{b.Author, b.Incarnation}
	if i, ok := slices.BinarySearchFunc(s.lives[l], b, compareBatches); ok {
		s.lives[l] = slices.Delete(s.lives[l], i, i+1)
	}
	if len(s.lives[l]) == 0 {
		delete(s.lives, l)
		if i, ok := slices.BinarySearchFunc(s.order, l, compareLives); ok {
			s.order = slices.Delete(s.order, i, i+1)
		}
	}
}

// head returns the sequence of the last entry in the last batch of a life of which anything is held.
func (s *State) head(l life) uint64 {
	bs := s.lives[l]
	if len(bs) == 0 {
		return 0
	}
	b := bs[len(bs)-1]
	return b.First + uint64(b.Count) - 1
}

// headsAfter returns the heads of the lives that come after one, ascending, at most n. They are what a neighbour most likely
// lacks: whatever they miss, the tree finds.
func (s *State) headsAfter(l life, n int) []wire.Dot {
	i, ok := slices.BinarySearchFunc(s.order, l, compareLives)
	if ok {
		i++
	}
	some := s.order[i:min(i+n, len(s.order))]
	ds := make([]wire.Dot, len(some))
	for k, l := range some {
		ds[k] = wire.Dot{Author: l.author, Incarnation: l.incarnation, Seq: s.head(l)}
	}
	return ds
}

// behind returns the first batch of a life that begins after a sequence, or nil.
func (s *State) behind(l life, seq uint64) *batch {
	bs := s.lives[l]
	i, _ := slices.BinarySearchFunc(bs, seq, func(b *batch, seq uint64) int {
		if b.First <= seq {
			return -1
		}
		return 1
	})
	if i == len(bs) {
		return nil
	}
	return bs[i]
}

// Batches returns the IDs of all batches that over holds for, by the SVID that signed them, each author's in their order, but for those of
// one entry whose key proves holds for. The ID of a batch is the SHA-256 of what its author signed.
func (s *State) Batches(over func(svid [32]byte) bool, proves func(key []byte) bool) (ids [][32]byte) {
	for _, l := range s.order {
		for _, b := range s.lives[l] {
			if over(b.SVID) && (b.Count > 1 || !proves(b.live[0].key())) {
				ids = append(ids, b.id)
			}
		}
	}
	return ids
}
