package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// lastDetours returns the detours of a link as the fast loop was told last, and how often it was told of any.
func (r *scene) lastDetours(l mesh.Label) (last []mesh.Detour, times int) {
	for _, ev := range r.reflex {
		if d, ok := ev.(DetoursSet); ok {
			times++
			if d.Label == l {
				last = d.Detours
			}
		}
	}
	return last, times
}

// square is a node with the neighbours alpha and beta, which are linked with each other and with zeta; it wants no destination.
func square(t *testing.T) (r *scene, conn mesh.ConnID, toAlpha, toBeta mesh.Label) {
	t.Helper()
	r = newScene(t, Config{})
	alpha, beta := mesh.MustNodeID("alpha"), mesh.MustNodeID("beta")
	conn = r.linkUp(0, alpha, addr(1), 11, 1)
	toAlpha = r.links[0].label
	r.report(toAlpha, mesh.LinkUp)
	r.hear(conn, alpha, 1, adjacency(self, 11, toAlpha), adjacency(beta, 12, 22), adjacency(zeta, 13, 31))
	r.pass(time.Second)
	if d, n := r.lastDetours(toAlpha); n > 0 {
		t.Fatalf("a node with one link has detours %v", d)
	}
	r.linkUp(0, beta, addr(2), 21, 1)
	toBeta = r.links[0].label + r.links[1].label - toAlpha
	r.report(toBeta, mesh.LinkUp)
	r.hear(conn, beta, 1, adjacency(self, 21, toBeta), adjacency(alpha, 22, 12), adjacency(zeta, 23, 32))
	r.hear(conn, zeta, 1, adjacency(alpha, 31, 13), adjacency(beta, 32, 23))
	return r, conn, toAlpha, toBeta
}

func shown(d []mesh.Detour) string {
	s := ""
	for _, x := range d {
		s += fmt.Sprintf("%d:%v ", x.Behind, x.Labels)
	}
	return s
}

// A relay knows the ways around its links, to the neighbour and past it, as soon as the topology has been quiet for a moment;
// what does not touch them does not make it tell them again.
func TestRelayKnowsDetours(t *testing.T) {
	r, conn, toAlpha, toBeta := square(t)
	r.pass(time.Second + detourQuiet) // the first announcement of the own links waits
	got, told := r.lastDetours(toAlpha)
	want := fmt.Sprintf("0:[%d 22] 12:[%d] 13:[%d 23] ", toBeta, toBeta, toBeta)
	if shown(got) != want {
		t.Fatalf("detours %s, want %s", shown(got), want)
	}
	if got, _ := r.lastDetours(toBeta); shown(got) != fmt.Sprintf("0:[%d 12] 22:[%d] 23:[%d 13] ", toAlpha, toAlpha, toAlpha) {
		t.Errorf("around the other: %s", shown(got))
	}
	if at := r.Control.detours.at; !at.IsZero() {
		t.Errorf("looks again at %v", at)
	}
	r.hear(conn, mesh.MustNodeID("eta"), 1, adjacency(mesh.MustNodeID("theta"), 1, 1))
	r.pass(time.Second)
	if _, n := r.lastDetours(toAlpha); n != told {
		t.Errorf("told %d times for nothing", n-told)
	}

	// The links of beta to zeta and alpha are cut: no way past alpha to zeta is left, none to alpha either.
	r.hear(conn, mesh.MustNodeID("beta"), 1, adjacency(self, 21, toBeta))
	r.pass(detourLate)
	if got, _ := r.lastDetours(toAlpha); len(got) != 0 {
		t.Errorf("detours %s by links that are cut", shown(got))
	}
}

// While the topology does not come to rest detours are looked for all the same, but not for each change.
func TestDetoursDoNotWaitForRest(t *testing.T) {
	r, conn, toAlpha, _ := square(t)
	begin := r.at
	for i := 0; ; i++ {
		if d, _ := r.lastDetours(toAlpha); len(d) > 0 {
			break
		}
		r.pass(detourQuiet / 2)
		r.hear(conn, mesh.MustNodeID("eta"), uint64(2+i), adjacency(mesh.MustNodeID("theta"), mesh.Label(1+i), 1))
		if r.at.Sub(begin) > detourLate+detourQuiet {
			t.Fatalf("no detours after %v", r.at.Sub(begin))
		}
	}
	if took := r.at.Sub(begin); took < detourLate/2 {
		t.Errorf("after %v", took)
	}
}

// The link that went down keeps its detours: the frames that still want it need them. A link that is there again after its
// session had ended is told its own anew.
func TestDetoursOfALinkThatIsDown(t *testing.T) {
	r, conn, toAlpha, toBeta := square(t)
	r.pass(time.Second + detourQuiet) // the first announcement of the own links waits
	was, _ := r.lastDetours(toAlpha)
	r.takeReflex()
	r.report(toAlpha, mesh.LinkDown)
	r.pass(10 * time.Second)
	for _, ev := range r.reflex {
		if d, ok := ev.(DetoursSet); ok && d.Label == toAlpha {
			t.Errorf("a link that is down has other detours: %s", shown(d.Detours))
		}
	}
	r.report(toAlpha, mesh.LinkUp)
	r.pass(time.Second)
	r.takeReflex()
	r.do(ConnDown{Conn: conn, Reason: "test"})
	if !slices.ContainsFunc(r.reflex, func(ev ReflexEvent) bool { return ev == LinkGone{toAlpha} }) {
		t.Fatalf("%v", r.reflex)
	}
	r.takeReflex()
	again := r.linkUp(0, mesh.MustNodeID("alpha"), addr(1), 11, 1)
	r.report(toAlpha, mesh.LinkUp)
	r.hear(again, mesh.MustNodeID("alpha"), 1, adjacency(self, 11, toAlpha), adjacency(mesh.MustNodeID("beta"), 12, 22), adjacency(zeta, 13, 31))
	r.pass(detourLate)
	if d, _ := r.lastDetours(toAlpha); shown(d) != shown(was) || len(was) == 0 {
		t.Errorf("detours %s, before %s, the other link is %d", shown(d), shown(was), toBeta)
	}
}

// A node with very many neighbours looks for the detours of a few links at a time, and comes to all.
func TestDetoursOfManyLinks(t *testing.T) {
	r := newScene(t, Config{})
	n := 3*maxSearches + 1
	var conn mesh.ConnID
	for i := range n {
		conn = r.linkUp(0, mesh.MustNodeID(fmt.Sprint("m", i)), addr(i+1), mesh.Label(1000+i), 1)
		r.report(r.Control.linkBy(func(l *neighbourLink) bool { return l.remote == addr(i+1) }).label, mesh.LinkUp)
	}
	of := map[mesh.NodeID]mesh.Label{}
	for _, l := range r.links {
		of[l.neighbour] = l.label
	}
	for i := range n { // a wheel: each neighbour is linked with the next one too
		m, next, before := mesh.MustNodeID(fmt.Sprint("m", i)), mesh.MustNodeID(fmt.Sprint("m", (i+1)%n)), mesh.MustNodeID(fmt.Sprint("m", (i+n-1)%n))
		r.hear(conn, m, 1, adjacency(self, mesh.Label(1000+i), of[m]), adjacency(next, 1, 2), adjacency(before, 2, 1))
	}
	r.pass(detourLate + time.Second)
	told := 0
	for _, l := range r.links {
		if d, _ := r.lastDetours(l.label); len(d) == max(1, maxDetours/n) && d[0].Behind == 0 {
			told++
		}
	}
	if told != n {
		t.Errorf("%d of %d links have the detours that there is room for", told, n)
	}
}

// The table has those detours that begin with a link that is up, and says which links are in doubt.
func TestTableHasDetoursThatCanBeGone(t *testing.T) {
	f := newFast(t)
	for l, n := range map[mesh.Label]mesh.NodeID{1: alpha, 2: beta, 3: zeta} {
		f.do(linkSet(l, n, mesh.ConnID(10+l)))
	}
	given := []mesh.Detour{{Behind: 0, Labels: []mesh.Label{2, 7}}, {Behind: 5, Labels: []mesh.Label{3}}, {Behind: 6, Labels: []mesh.Label{9}},
		{Behind: 8, Labels: []mesh.Label{1, 4}}}
	f.do(DetoursSet{Label: 1, Detours: given})
	f.do(DetoursSet{Label: 77, Detours: given}) // of a link that went meanwhile
	of := func() string { l, _ := f.table.Link(1); return shown(l.Detours) }
	if of() != "" {
		t.Errorf("detours by links that were never up: %s", of())
	}
	f.pass(time.Second)
	if want := "0:[2 7] 5:[3] "; of() != want {
		t.Errorf("detours %s, want %s", of(), want)
	}
	f.broken[2] = true
	for begin := f.at; of() != "5:[3] "; f.pass(5 * time.Millisecond) {
		if f.at.Sub(begin) > 150*time.Millisecond {
			t.Fatalf("detours %s by a link that is silent", of())
		}
	}
	if l, _ := f.table.Link(2); !l.Usable || !l.Suspect {
		t.Errorf("the silent link: %+v", l)
	}
	f.pass(time.Second)
	if l, _ := f.table.Link(2); l.Usable || l.Suspect || of() != "5:[3] " {
		t.Errorf("%+v, detours %s", l, of())
	}
	f.do(LinkGone{Label: 3})
	if of() != "" {
		t.Errorf("detours %s by a link that is gone", of())
	}
	f.broken[2] = false
	f.pass(10 * time.Second)
	if l, _ := f.table.Link(2); of() != "0:[2 7] " || !l.Usable || l.Suspect {
		t.Errorf("the link is back: %+v, detours %s", l, of())
	}
	if len(given) != 4 || shown(given) != "0:[2 7] 5:[3] 6:[9] 8:[1 4] " {
		t.Errorf("what was given was changed: %s", shown(given))
	}
}
