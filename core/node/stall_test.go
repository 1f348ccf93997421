package node

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// downAfter breaks links of a node, of which there are as many as neighbours are named, and returns after what time the
// first is reported down.
func downAfter(t *testing.T, neighbours []mesh.NodeID, broken ...mesh.Label) time.Duration {
	t.Helper()
	f := newFast(t)
	for i, n := range neighbours {
		f.do(linkSet(mesh.Label(i+1), n, mesh.ConnID(11+i)))
	}
	f.pass(10 * time.Second)
	for _, l := range broken {
		f.broken[l] = true
	}
	f.reports = nil
	for broke := f.at; f.at.Sub(broke) < 2*time.Second; f.pass(time.Millisecond) {
		for _, r := range f.reports {
			if lr, ok := r.(LinkReport); ok && lr.Status.State == mesh.LinkDown {
				return f.at.Sub(broke)
			}
		}
	}
	t.Fatal("no link went down in 2 s")
	return 0
}

// Links to several neighbours fall silent together: it may be this machine, so they get two intervals more. Of one
// neighbour's, or few of many, it is the neighbour's doing.
func TestLinksThatFallSilentTogether(t *testing.T) {
	gamma := mesh.MustNodeID("gamma")
	four := []mesh.NodeID{alpha, beta, gamma, zeta}
	one := downAfter(t, four, 1)
	all := downAfter(t, four, 1, 2, 3, 4)
	parallel := downAfter(t, []mesh.NodeID{alpha, alpha, beta, gamma}, 1, 2)
	few := downAfter(t, []mesh.NodeID{alpha, beta, gamma, zeta, alpha, beta, gamma, zeta, gamma}, 1, 2)
	t.Logf("down after: one of four %s, all four %s, both of one neighbour %s, two of nine %s", one, all, parallel, few)
	const usual, grace = 200 * time.Millisecond, 100 * time.Millisecond
	if one > usual || parallel > usual || few > usual {
		t.Error("a neighbour's own failure was taken for ours")
	}
	if all < one+grace/4 || all > usual+grace {
		t.Error("links that fall silent together get two intervals more, and no more")
	}
}

// What comes in lies in a queue for a while: the links stay up for as long as it takes to give one of them up.
func TestShortStallLeavesLinksUp(t *testing.T) {
	four := []mesh.NodeID{alpha, beta, mesh.MustNodeID("gamma"), zeta}
	f := newFast(t)
	for i, n := range four {
		f.do(linkSet(mesh.Label(i+1), n, mesh.ConnID(11+i)))
	}
	f.pass(10 * time.Second)
	f.reports = nil
	f.held = f.at.Add(downAfter(t, four, 1) + 10*time.Millisecond)
	f.pass(5 * time.Second)
	suspected := 0
	for _, r := range f.reports {
		lr, ok := r.(LinkReport)
		if ok && lr.Status.State == mesh.LinkDown {
			t.Errorf("link %d went down", lr.Label)
		}
		suspected += btoi(ok && lr.Status.State == mesh.LinkSuspect)
	}
	if suspected < stallNeighbours {
		t.Errorf("%d links were suspect: this showed nothing", suspected)
	}
}
