package crdt

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Whatever parts of a batch come, in whatever order, and whatever of it ceases to count: what is left proves itself, is told to the
// disk as it is, and no subtree is kept whose larger one could be.
func TestBatchParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 70).Draw(t, "n")
		whole := &wire.Piece{Batch: wire.Batch{Author: mesh.MustNodeID("a"), First: 1, Count: uint16(n)}, Sig: []byte("s")}
		for i := range n {
			e := put(epoch, fmt.Sprint(i), "v")
			whole.Leaves = append(whole.Leaves, wire.Leaf{Index: uint16(i), Raw: e.Append(nil), Entry: e})
		}
		all := newBatch(whole)
		b := &batch{Batch: all.Batch, sig: all.sig, id: all.id, pruned: []subtree{{0, all.Count, all.hashOf(0, n)}}}
		disk := map[subtree]bool{b.pruned[0]: true}
		note := func(gone, made []subtree) {
			for _, s := range gone {
				if !disk[s] {
					t.Fatalf("%d to %d goes, and was not there", s.lo, s.hi)
				}
				delete(disk, s)
			}
			for _, s := range made {
				disk[s] = true
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if len(b.live) > 0 && rapid.Bool().Draw(t, "prune") {
				gone, made := b.prune(rapid.SampledFrom(b.live).Draw(t, "item"))
				note(gone, []subtree{made})
			} else {
				part, fresh := drawPart(t, all, b)
				if len(fresh) > 0 {
					note(b.join(part, fresh))
				}
			}
			checkBatch(t, b, disk)
		}
	})
}

// drawPart returns a part of a batch, as it comes from a neighbour, and the items of it that b lacks.
func drawPart(t *rapid.T, all, b *batch) (part *batch, fresh []*item) {
	var some []*item
	for _, it := range all.live {
		if rapid.IntRange(0, 3).Draw(t, "in") == 0 {
			some = append(some, it)
		}
	}
	if len(some) == 0 {
		some = all.live[:1]
	}
	p, err := wire.ParsePiece(all.piece(some).AppendPiece(nil))
	if err != nil {
		t.Fatal(err)
	}
	part = newBatch(p)
	for _, it := range part.live {
		if !slices.ContainsFunc(b.live, func(o *item) bool { return o.index == it.index }) {
			fresh = append(fresh, it)
		}
	}
	return part, fresh
}

func checkBatch(t *rapid.T, b *batch, disk map[subtree]bool) {
	var want []subtree
	walk(b.live, 0, int(b.Count), func(lo, hi int) {
		want = append(want, subtree{uint16(lo), uint16(hi), b.hashOf(lo, hi)})
	})
	if !slices.Equal(b.pruned, want) || len(disk) != len(want) {
		t.Fatalf("%d subtrees, %d on disk, want %d", len(b.pruned), len(disk), len(want))
	}
	for _, s := range want {
		if !disk[s] {
			t.Fatalf("%d to %d is not on disk", s.lo, s.hi)
		}
	}
	if len(b.live) > 0 && batchID(b.piece(b.live)) != b.id {
		t.Fatal("it does not prove itself")
	}
}

// large returns a batch whose author signed n large entries together, as nobody here does.
func large(n, size int) *batch {
	whole := &wire.Piece{Batch: wire.Batch{Author: mesh.MustNodeID("a"), First: 1, Count: uint16(n)}, Sig: []byte("s")}
	for i := range n {
		e := put(epoch, fmt.Sprint(i), string(make([]byte, size)))
		whole.Leaves = append(whole.Leaves, wire.Leaf{Index: uint16(i), Raw: e.Append(nil), Entry: e})
	}
	return newBatch(whole)
}

// An entry is passed on without reading the others of its batch again, however large its author made these.
func TestOthersAreNotReadAgain(t *testing.T) {
	b := large(wire.MaxBatch, 100)
	one := b.live[77]
	for _, it := range b.live {
		if it != one {
			it.raw = nil
		}
	}
	p, err := wire.ParsePiece(b.piece([]*item{one}).AppendPiece(nil))
	if err != nil || batchID(p) != b.id {
		t.Errorf("%d hashes prove something else: %v", len(p.Hashes), err)
	}
	b.prune(one)
	if _, err := wire.ParseEntry(one.raw); err != nil || b.hashOf(0, wire.MaxBatch) != p.Root() {
		t.Errorf("without it the batch is another: %v", err)
	}
}
