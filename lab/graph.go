package lab

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// Map says which nodes there are and which links between them.
type Map struct {
	Name  string
	Nodes []mesh.NodeID // the first one is the authority
	Links []MapLink

	Places map[mesh.NodeID][2]float64 // latitude and longitude of the nodes of which they are known
}

// MapLink is a link between two nodes.
type MapLink struct {
	A, B  mesh.NodeID
	Delay time.Duration // one way; 0 = as Options say
	Loss  float64       // share of packets that it loses in each direction, always
}

// FromTopology turns a map into one that a lab builds, with the map's own delays and losses. Its
// rates are not kept: those that maps name are beyond what this machine could send.
func FromTopology(t *topology.Map) Map {
	m := Map{Name: t.Name, Places: map[mesh.NodeID][2]float64{}}
	for _, n := range t.Nodes {
		m.Nodes = append(m.Nodes, n.ID)
		if n.Located {
			m.Places[n.ID] = [2]float64{n.Lat, n.Lon}
		}
	}
	for _, l := range t.Links {
		m.Links = append(m.Links, MapLink{A: m.Nodes[l.A], B: m.Nodes[l.B], Delay: l.Delay, Loss: 1 - l.Quality})
	}
	return m
}

// MaxNodes is how many daemons one lab runs.
const MaxNodes = 60

// check reports what makes m unfit for a lab.
func (m *Map) check() error {
	if len(m.Nodes) < 2 || len(m.Nodes) > MaxNodes {
		return fmt.Errorf("map %s has %d nodes; a lab runs 2 to %d. Simulate it whole (x0t sim --topology FILE) or take a part: "+
			"FILE#%d are the %[3]d nodes around the one with the most neighbours", m.Name, len(m.Nodes), MaxNodes, MaxNodes)
	}
	for i, n := range m.Nodes {
		if n.IsZero() || slices.Contains(m.Nodes[:i], n) {
			return fmt.Errorf("map %s names node %q twice, or has one without a name", m.Name, n)
		}
	}
	for _, l := range m.Links {
		if l.A == l.B || !slices.Contains(m.Nodes, l.A) || !slices.Contains(m.Nodes, l.B) {
			return fmt.Errorf("map %s has a link %s-%s that does not join two of its nodes", m.Name, l.A, l.B)
		}
		if l.Delay < 0 {
			return fmt.Errorf("map %s has a link %s-%s with a negative delay", m.Name, l.A, l.B)
		}
		if !(l.Loss >= 0 && l.Loss < 1) {
			return fmt.Errorf("map %s has a link %s-%s that loses a share of %v: at least 0 and less than 1", m.Name, l.A, l.B, l.Loss)
		}
	}
	reach := m.distances(m.Nodes[0], damage{})
	for _, n := range m.Nodes {
		if _, ok := reach[n]; !ok {
			return fmt.Errorf("map %s: no way leads from %s to %s", m.Name, m.Nodes[0], n)
		}
	}
	return nil
}

// damage is what is broken at some moment: links by index in the map, and nodes.
type damage struct {
	links []int
	nodes []mesh.NodeID
	ends  []mesh.NodeID // that pass on nothing of others
}

// neighbours lists the nodes that an intact link joins with n, with the index of the link.
func (m *Map) neighbours(n mesh.NodeID, d damage) func(yield func(int, mesh.NodeID) bool) {
	return func(yield func(int, mesh.NodeID) bool) {
		for i, l := range m.Links {
			if slices.Contains(d.links, i) || l.A != n && l.B != n {
				continue
			}
			other := l.A
			if other == n {
				other = l.B
			}
			if !slices.Contains(d.nodes, other) && !yield(i, other) {
				return
			}
		}
	}
}

// distance is the length of a shortest way.
type distance struct {
	delay time.Duration
	hops  int
}

func (a distance) compare(b distance) int {
	return cmp.Or(cmp.Compare(a.delay, b.delay), cmp.Compare(a.hops, b.hops))
}

// distances returns how far every node that can be reached is from another, by plain Bellman–Ford: this is the oracle
// that the mesh is judged by, so it shares nothing with the mesh's own search.
func (m *Map) distances(from mesh.NodeID, d damage) map[mesh.NodeID]distance {
	out := map[mesh.NodeID]distance{from: {}}
	if slices.Contains(d.nodes, from) {
		return nil
	}
	for changed := true; changed; {
		changed = false
		for _, n := range m.Nodes {
			at, ok := out[n]
			if !ok || n != from && slices.Contains(d.ends, n) {
				continue
			}
			for i, o := range m.neighbours(n, d) {
				next := distance{at.delay + m.Links[i].Delay, at.hops + 1}
				if was, ok := out[o]; !ok || next.compare(was) < 0 {
					out[o], changed = next, true
				}
			}
		}
	}
	return out
}

// connected reports whether a way from a to b is left.
func (m *Map) connected(a, b mesh.NodeID, d damage) bool {
	_, ok := m.distances(a, d)[b]
	return ok
}

// farthest returns the two nodes that are farthest apart, by delay, then hops, then order in the map, among those
// pairs that fit.
func (m *Map) farthest(fits func(a, b mesh.NodeID) bool) (a, b mesh.NodeID, ok bool) {
	var best distance
	for i, x := range m.Nodes {
		far := m.distances(x, damage{})
		for _, y := range m.Nodes[i+1:] {
			if dist, reach := far[y]; reach && dist.compare(best) > 0 && fits(x, y) {
				a, b, best, ok = x, y, dist, true
			}
		}
	}
	return a, b, ok
}

// anyPair fits every pair.
func anyPair(_, _ mesh.NodeID) bool { return true }

// survives reports whether a and b stay connected whichever single link or relay between them is lost.
func (m *Map) survives(a, b mesh.NodeID) bool {
	for i := range m.Links {
		if !m.connected(a, b, damage{links: []int{i}}) {
			return false
		}
	}
	for _, n := range m.Nodes {
		if n != a && n != b && !m.connected(a, b, damage{nodes: []mesh.NodeID{n}}) {
			return false
		}
	}
	return true
}

// levels orders the nodes by hops from the first: every node but that one has a neighbour in a level before, which parent names.
// Links that come and go are not taken as long as there is another way, and then the best of them.
func (m *Map) levels() (levels [][]mesh.NodeID, parent map[mesh.NodeID]mesh.NodeID) {
	var bad damage
	for i := range m.Links {
		if m.Links[i].Loss >= comesAndGoes {
			bad.links = append(bad.links, i)
		}
	}
	parent = map[mesh.NodeID]mesh.NodeID{m.Nodes[0]: {}}
	for level := []mesh.NodeID{m.Nodes[0]}; len(level) > 0; {
		levels = append(levels, level)
		var next []mesh.NodeID
		for _, n := range level {
			for _, o := range m.neighbours(n, bad) {
				if _, seen := parent[o]; !seen {
					parent[o] = n
					next = append(next, o)
				}
			}
		}
		if level = next; len(level) == 0 {
			level = m.leastBad(parent)
		}
	}
	return levels, parent
}

// leastBad finds the best of the links that lead from nodes that have a parent to one that has none, and gives it one.
func (m *Map) leastBad(parent map[mesh.NodeID]mesh.NodeID) []mesh.NodeID {
	var best *MapLink
	var node, from mesh.NodeID
	for i := range m.Links {
		k := &m.Links[i]
		_, a := parent[k.A]
		_, b := parent[k.B]
		if a == b || best != nil && k.Loss >= best.Loss {
			continue
		}
		if best, node, from = k, k.B, k.A; b {
			node, from = k.A, k.B
		}
	}
	if best == nil {
		return nil
	}
	parent[node] = from
	return []mesh.NodeID{node}
}

// degree is the number of links at n.
func (m *Map) degree(n mesh.NodeID) int {
	d := 0
	for range m.neighbours(n, damage{}) {
		d++
	}
	return d
}

// linkBetween returns the index of the link between a and b.
func (m *Map) linkBetween(a, b mesh.NodeID) (int, bool) {
	i := slices.IndexFunc(m.Links, func(l MapLink) bool { return l.A == a && l.B == b || l.A == b && l.B == a })
	return i, i >= 0
}
