package crdt

import (
	"iter"
	"slices"

	"x0tta6bl4/wire"
)

// Frozen is a batch as it was at one moment. It may be read while the state goes on, also by others.
type Frozen struct{ b batch }

// Freeze returns all batches of this moment, each author's in their order. It copies no entry.
func (s *State) Freeze() []Frozen {
	all := make([]Frozen, 0, len(s.batches))
	for _, l := range s.order {
		for _, b := range s.lives[l] {
			all = append(all, Frozen{batch{Batch: b.Batch, sig: b.sig, id: b.id, live: slices.Clone(b.live), pruned: slices.Clone(b.pruned)}})
		}
	}
	return all
}

// Batch returns whose batch it is, and which.
func (f *Frozen) Batch() wire.Batch { return f.b.Batch }

// Pieces yields all of its entries as pieces, with how many are in each.
func (f *Frozen) Pieces() iter.Seq2[[]byte, int] {
	return func(yield func([]byte, int) bool) {
		for items := f.b.live; len(items) > 0; {
			n, size := 0, 0
			for ; n < len(items) && (n == 0 || size+len(items[n].raw) < maxBatchBytes); n++ {
				size += len(items[n].raw)
			}
			if !yield(f.b.piece(items[:n]).AppendPiece(nil), n) {
				return
			}
			items = items[n:]
		}
	}
}
