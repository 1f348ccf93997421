package crdt

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/wire"
)

// A ref holds 6 bytes of the hash of a slot: with 2^48 hashes somebody finds a key of its own that looks like another's there, and
// keeps it newer. That hides the other from no comparison for long.
func TestCollidingRefsHideNothing(t *testing.T) {
	for lacks := range 2 {
		w := newWorld(t, 1, 2, line(2))
		w.nodes[0].fill("k", 500, 8)
		w.agree(time.Minute)
		w.run(4 * time.Second)
		victim := w.nodes[0].s.tree.root.gather(nil)[123]
		for _, r := range w.nodes {
			p, err := wire.ParsePiece(pieceBy("b", 1, 1, put(w.now.Add(50*time.Second), "x", "newer")))
			if err != nil {
				t.Fatal(err)
			}
			b := newBatch(p)
			b.live[0].slot = victim.slot
			b.live[0].slot[refSlot] ^= 1 // the first byte that a ref leaves out
			r.write(r.s.merge(w.now, b).Write)
		}
		r := w.nodes[lacks]
		r.s.drop(r.s.tree.get(victim.slot))
		if w.agreed() {
			t.Fatal("nothing is missing")
		}
		t.Log(fmt.Sprint(r.id, " has it again after "), w.agree(time.Minute))
	}
}
