package node

import (
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

// Whenever the process dies, and even if the last state that it gave to be written never reached the disk, the next
// one hands out no label that a link of the last had.
func TestLabelsSurviveCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		none := func(mesh.Label) bool { return false }
		disk := LabelState{Next: mesh.Label(rapid.SampledFrom([]int{1, 7, 40_000, 65_400, 65_535}).Draw(t, "start"))}
		before := disk // what the disk held before the last write
		owner := map[mesh.Label]int{}
		ways := 0
		for range rapid.IntRange(1, 6).Draw(t, "lives") {
			var l labels
			l.load(disk, seeded(3))
			// The first step of a life has the reservation written; a label is used a handshake later at the earliest.
			l.dirty = false
			disk, before = l.state(), l.state()
			for range rapid.IntRange(0, 150).Draw(t, "new links") {
				ways++
				got := l.get(alpha, way(ways), none)
				if err := l.valid(); err != nil {
					t.Fatal(err)
				}
				if was, taken := owner[got]; taken {
					t.Fatalf("label %d stood for way %d and now stands for %d", got, was, ways)
				}
				owner[got] = ways
				if l.dirty {
					l.dirty = false
					before, disk = disk, l.state()
				}
			}
			if rapid.Bool().Draw(t, "last write lost") {
				disk = before
			}
		}
	})
}
