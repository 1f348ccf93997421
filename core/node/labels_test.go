package node

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"x0tta6bl4/mesh"
)

func way(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 7420)
}

// A neighbour that comes from ever new addresses uses up all labels; those of the links that are there stay theirs.
func TestLabelInUseIsNeverHandedOutAgain(t *testing.T) {
	var tab labels
	tab.load(LabelState{}, rand.New(rand.NewPCG(1, 2)))
	none := func(mesh.Label) bool { return false }
	first := tab.get(beta, way(0), none)
	inUse := func(l mesh.Label) bool { return l == first }
	for i := 1; i < 1<<17; i++ {
		l := tab.get(beta, way(i), inUse)
		if l == first {
			t.Fatalf("way %d got label %d of the link that is there", i, l)
		}
		if l == 0 {
			t.Fatalf("way %d got no label", i)
		}
	}
	if len(tab.bindings) > maxBindings {
		t.Errorf("%d bindings are remembered, want at most %d", len(tab.bindings), maxBindings)
	}
	if got := tab.get(beta, way(0), inUse); got != first {
		t.Errorf("the link that is there was given label %d in place of %d", got, first)
	}
}

// The same way has the same label again after a restart, and another way none that may have been used.
func TestLabelsOutliveTheProcess(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	none := func(mesh.Label) bool { return false }
	var before labels
	before.load(LabelState{}, r)
	used := map[mesh.Label]bool{}
	for i := range 200 {
		used[before.get(beta, way(i), none)] = true
	}
	if len(used) != 200 || !before.dirty {
		t.Fatalf("%d labels for 200 ways", len(used))
	}
	var after labels
	after.load(before.state(), r)
	if a, b := before.get(beta, way(7), none), after.get(beta, way(7), none); a != b {
		t.Errorf("label %d after the restart, %d before", b, a)
	}
	for i := 200; i < 400; i++ {
		if l := after.get(beta, way(i), none); used[l] {
			t.Fatalf("label %d stands for two links", l)
		}
	}
	if a, b := after.get(beta, way(500), none), after.get(alpha, way(500), none); a == b {
		t.Error("two neighbours at one address share a label")
	}
}
