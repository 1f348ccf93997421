package crdt

import (
	"fmt"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	w := newWorld(t, 1, 9, line(9))
	w.run(3 * time.Second)
	for _, r := range w.nodes {
		if !r.s.Settled() {
			t.Errorf("%s has not settled", r.id)
		}
	}
	if err := w.nodes[4].do(Put([]byte("k"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	w.run(60 * time.Millisecond)
	for _, r := range w.nodes {
		if v, ok := r.s.Get([]byte("k")); !ok || string(v.Bytes) != "v" {
			t.Errorf("%s does not know it: %q", r.id, v.Bytes)
		}
	}
	w.consistent()
}

func TestHeal(t *testing.T) {
	for _, n := range []int{1, 100, 3000} {
		w := newWorld(t, 1, 4, line(4))
		w.run(3 * time.Second)
		w.cut[[2]int{1, 2}] = true
		for i := range n {
			for _, k := range []int{0, 3} {
				if err := w.nodes[k].do(Put(fmt.Appendf(nil, "k%d-%d", k, i), []byte("v"))); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.run(time.Minute)
		w.sent = 0
		w.cut = map[[2]int]bool{}
		d := w.agree(time.Minute)
		t.Logf("%d: %v, %d bytes", n, d, w.sent)
		w.consistent()
	}
}
