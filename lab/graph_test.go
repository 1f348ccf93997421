package lab

import (
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

func TestMapCheck(t *testing.T) {
	for name, c := range map[string]struct {
		m    Map
		want string
	}{
		"fits":     {mapOf("a-b", "b-c"), ""},
		"too few":  {Map{Nodes: []mesh.NodeID{id("a")}}, "2 to 60"},
		"twice":    {Map{Nodes: []mesh.NodeID{id("a"), id("a")}}, "twice"},
		"nameless": {Map{Nodes: []mesh.NodeID{id("a"), {}}}, "without a name"},
		"stray":    {Map{Nodes: []mesh.NodeID{id("a"), id("b")}, Links: []MapLink{{A: id("a"), B: id("z")}}}, "a-z"},
		"self":     {Map{Nodes: []mesh.NodeID{id("a"), id("b")}, Links: []MapLink{{A: id("a"), B: id("a")}}}, "a-a"},
		"parted":   {mapOf("a-b", "c-d"), "no way leads from a to c"},
		"delay":    {Map{Nodes: []mesh.NodeID{id("a"), id("b")}, Links: []MapLink{{A: id("a"), B: id("b"), Delay: -1}}}, "negative"},
	} {
		err := c.m.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestOracle(t *testing.T) {
	m := mapOf("a-b", "b-c", "c-d", "a-e", "e-d", "d-f") // a ring of five, and f hanging on d
	for i := range m.Links {
		m.Links[i].Delay = 5 * time.Millisecond
	}
	far := m.distances(id("a"), damage{})
	for n, want := range map[string]int{"a": 0, "b": 1, "c": 2, "d": 2, "e": 1, "f": 3} {
		if got := far[id(n)]; got.hops != want || got.delay != time.Duration(want)*5*time.Millisecond {
			t.Errorf("from a to %s: %+v, want %d hops", n, got, want)
		}
	}
	if a, b, ok := m.farthest(anyPair); !ok || a != id("a") && b != id("a") && b != id("f") {
		t.Errorf("farthest %s-%s", a, b)
	}
	if m.survives(id("a"), id("f")) || !m.survives(id("a"), id("d")) || !m.survives(id("a"), id("c")) {
		t.Error("f hangs on one link, a and d are on a ring")
	}
	if !m.connected(id("a"), id("d"), damage{links: []int{3}}) || m.connected(id("a"), id("d"), damage{links: []int{3, 1}}) {
		t.Error("one link of the ring may be lost, two may not")
	}
	if m.connected(id("a"), id("d"), damage{nodes: []mesh.NodeID{id("b"), id("e")}}) || m.connected(id("a"), id("d"), damage{nodes: []mesh.NodeID{id("a")}}) {
		t.Error("lost nodes carry nothing")
	}
	levels, parent := m.levels()
	if len(levels) != 4 || len(levels[1]) != 2 || parent[id("f")] != id("d") {
		t.Errorf("levels %v, parents %v", levels, parent)
	}
	if m.degree(id("d")) != 3 {
		t.Errorf("degree of d: %d", m.degree(id("d")))
	}
}

// A slower but shorter way loses against a faster one with more hops.
func TestOracleCountsDelay(t *testing.T) {
	m := mapOf("a-b", "a-c", "c-b")
	m.Links[0].Delay, m.Links[1].Delay, m.Links[2].Delay = 10*time.Millisecond, 2*time.Millisecond, 3*time.Millisecond
	if got := m.distances(id("a"), damage{})[id("b")]; got.hops != 2 || got.delay != 5*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

func TestPairsAreAllPairsOnce(t *testing.T) {
	m := mapOf("a-b", "b-c", "c-d", "d-e")
	seen := map[pair]bool{}
	for _, q := range m.pairs() {
		if seen[q] || seen[pair{q.b, q.a}] || q.a == q.b {
			t.Errorf("%v again", q)
		}
		seen[q] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d pairs", len(seen))
	}
}

func TestTargetOnPath(t *testing.T) {
	path := []mesh.NodeID{id("a"), id("b"), id("c"), id("d")}
	for s, want := range map[string]bool{"link:a-b": true, "link:c-b": true, "link:a-c": false, "node:b": true, "node:a": false, "node:d": false} {
		line := "cut " + s + " at 0s"
		if strings.HasPrefix(s, "node:") {
			line = "kill " + s + " at 0s"
		}
		fs, err := fault.Parse(line, path)
		if err != nil {
			t.Fatal(err)
		}
		if got := onPath(fs[0].Target, path); got != want {
			t.Errorf("%s on %v: %v", s, path, got)
		}
	}
	if got := middleLink(path); got.A != id("b") || got.B != id("c") {
		t.Errorf("middle link %s", got)
	}
	if got, ok := middleRelay(path); !ok || got.A != id("c") {
		t.Errorf("middle relay %s", got)
	}
	if _, ok := middleRelay(path[:2]); ok {
		t.Error("a path of one hop has no relay")
	}
}

func TestUsersOfTarget(t *testing.T) {
	l := &Lab{m: mapOf("a-b", "b-c", "c-d")}
	routes := map[pair][][]mesh.NodeID{}
	for _, q := range l.m.pairs() {
		i, j := strings.Index("abcd", q.a.String()), strings.Index("abcd", q.b.String())
		var path []mesh.NodeID
		for k := i; ; k += map[bool]int{true: 1, false: -1}[i < j] {
			path = append(path, l.m.Nodes[k])
			if k == j {
				break
			}
		}
		routes[q] = append(routes[q], path)
	}
	got := l.users(Fault{Target: Target{A: id("b"), B: id("c")}}, routes)
	if len(got) != 4 || len(routes[got[0]][0]) != 4 {
		t.Errorf("users of b-c: %v", got)
	}
	if got := l.users(Fault{Target: Target{A: id("b")}}, routes); len(got) != 2 {
		t.Errorf("users of relay b: %v", got)
	}
}

func TestUnderlayAddressesDoNotMeet(t *testing.T) {
	m := map[string]int{}
	for i := range 300 {
		for _, p := range underlay(i) {
			if was, ok := m[p.Masked().String()]; ok && was != i {
				t.Errorf("links %d and %d share %s", was, i, p.Masked())
			}
			m[p.Masked().String()] = i
			if _, ok := m[p.Addr().String()]; ok || !p.IsValid() {
				t.Errorf("link %d: address %s again", i, p)
			}
			m[p.Addr().String()] = i
		}
	}
}

// Nodes join by links that deliver as long as there are such ways, and then by the best of the others.
func TestLevelsAvoidLossyLinks(t *testing.T) {
	m := mapOf("a-b", "a-c", "c-d", "d-b", "d-e", "b-e", "e-f")
	m.Links[0].Loss, m.Links[4].Loss, m.Links[5].Loss = 0.9, 0.6, 0.4
	levels, parent := m.levels()
	want := map[string]string{"b": "d", "c": "a", "d": "c", "e": "b", "f": "e"}
	for n, p := range want {
		if parent[id(n)] != id(p) {
			t.Errorf("%s joins through %s, want %s", n, parent[id(n)], p)
		}
	}
	if len(levels) != 6 {
		t.Errorf("levels %v", levels)
	}
}
