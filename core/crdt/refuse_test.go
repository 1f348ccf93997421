package crdt

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// One of two replicas refuses for good what the other writes, in places of which it has older entries and in new ones, whichever of
// them leads. After the first minutes what they send each other for nothing is little.
func TestRefusedForGood(t *testing.T) {
	for _, keys := range []int{200, 2000} {
		for refuser := range 2 {
			for _, prefix := range []string{"k", "other"} {
				t.Run(fmt.Sprint(keys, refuser, prefix), func(t *testing.T) {
					w := newWorld(t, 1, 2, line(2))
					w.nodes[0].fill("k", keys, 100)
					w.agree(time.Minute)
					w.run(4 * time.Second)
					w.nodes[refuser].s.cfg.May = func(Write) error { return errors.New("not here") }
					w.nodes[1-refuser].fill(prefix, keys, 101)
					w.run(5 * time.Minute)
					if w.agreed() {
						t.Fatal("nothing is refused")
					}
					first := w.sent
					w.run(time.Hour)
					if each := (w.sent - first) / 3600; each > 2000 {
						t.Errorf("%d bytes a second for nothing", each)
					}
				})
			}
		}
	}
}
