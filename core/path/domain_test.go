package path

import (
	"slices"
	"testing"
)

// The domains of the two ends are on every path; only those of relays are a choice.
func TestFailureDomains(t *testing.T) {
	const own, far, rack = 101, 102, 103
	b := newBuilder()
	b.link(0, 1, 10, groups(own, rack))
	b.link(1, 4, 10, groups(far, rack))
	b.link(0, 2, 20, groups(own, rack))
	b.link(2, 4, 10, groups(far, rack))
	b.link(0, 3, 90, groups(own))
	b.link(3, 4, 10, groups(far))
	r := NewGraph(b.edges).Disjoint(node(0), node(4), 2)
	wantPaths(t, r, NodeDisjoint, []int{0, 1, 4}, []int{0, 3, 4})
	if !slices.Equal(r.SharedGroups, []uint32{own, far}) || !slices.Equal(r.EndGroups, []uint32{own, far}) {
		t.Errorf("shared groups %v, of the ends %v", r.SharedGroups, r.EndGroups)
	}
}
