package topology

import (
	"slices"

	"x0tta6bl4/mesh"
)

// Broken says what does not work: indices of links and of nodes.
type Broken struct {
	Links []int
	Nodes []int
}

// Find returns the index of a node.
func (m *Map) Find(id mesh.NodeID) (int, bool) {
	i := slices.IndexFunc(m.Nodes, func(n Node) bool { return n.ID == id })
	return i, i >= 0
}

// LinksBetween returns the indices of the links that join two nodes.
func (m *Map) LinksBetween(a, b int) []int {
	var out []int
	for i, l := range m.Links {
		if l.A == a && l.B == b || l.A == b && l.B == a {
			out = append(out, i)
		}
	}
	return out
}

// Neighbours returns for each node the nodes that it has a working link to, ascending, each once.
func (m *Map) Neighbours(without Broken) [][]int {
	adj, _ := m.working(without)
	return adj
}

// working returns the neighbours of each node, and which nodes are broken.
func (m *Map) working(without Broken) ([][]int, []bool) {
	adj := make([][]int, len(m.Nodes))
	gone, cut := make([]bool, len(m.Nodes)), make([]bool, len(m.Links))
	for _, n := range without.Nodes {
		gone[n] = true
	}
	for _, l := range without.Links {
		cut[l] = true
	}
	for i, l := range m.Links {
		if !cut[i] && !gone[l.A] && !gone[l.B] {
			adj[l.A] = append(adj[l.A], l.B)
			adj[l.B] = append(adj[l.B], l.A)
		}
	}
	for i := range adj {
		slices.Sort(adj[i])
		adj[i] = slices.Compact(adj[i])
	}
	return adj, gone
}

// bfs fills hops (-1 = not reached) and the node that each was reached from.
func bfs(adj [][]int, from int, hops, prev []int) (order []int) {
	for i := range hops {
		hops[i], prev[i] = -1, -1
	}
	hops[from] = 0
	order = append(order, from)
	for i := 0; i < len(order); i++ {
		for _, n := range adj[order[i]] {
			if hops[n] < 0 {
				hops[n], prev[n] = hops[order[i]]+1, order[i]
				order = append(order, n)
			}
		}
	}
	return order
}

// Hops returns how many links each node is away from one; -1 = out of reach.
func (m *Map) Hops(from int, without Broken) []int {
	hops, prev := make([]int, len(m.Nodes)), make([]int, len(m.Nodes))
	adj, gone := m.working(without)
	bfs(adj, from, hops, prev)
	if gone[from] {
		hops[from] = -1
	}
	return hops
}

// ShortestHops returns the number of links of the shortest way between two nodes, false if there is none.
func (m *Map) ShortestHops(a, b int, without Broken) (int, bool) {
	h := m.Hops(a, without)[b]
	return h, h >= 0
}

// ShortestPath returns the nodes of a way with the fewest links, both ends included; nil if there is none.
func (m *Map) ShortestPath(a, b int, without Broken) []int {
	hops, prev := make([]int, len(m.Nodes)), make([]int, len(m.Nodes))
	adj, gone := m.working(without)
	bfs(adj, a, hops, prev)
	if hops[b] < 0 || gone[a] {
		return nil
	}
	path := []int{b}
	for n := b; n != a; n = prev[n] {
		path = append(path, prev[n])
	}
	slices.Reverse(path)
	return path
}

// Reachable reports whether a physical way between two nodes exists.
func (m *Map) Reachable(a, b int, without Broken) bool {
	_, ok := m.ShortestHops(a, b, without)
	return ok
}

// Components returns for each node the number of its connected part, counted from 0 in the order of their first nodes;
// -1 for a broken node.
func (m *Map) Components(without Broken) []int {
	adj, gone := m.working(without)
	part := make([]int, len(m.Nodes))
	for i := range part {
		part[i] = -1
	}
	count := 0
	for i := range part {
		if part[i] >= 0 || gone[i] {
			continue
		}
		part[i] = count
		for todo := []int{i}; len(todo) > 0; {
			n := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, o := range adj[n] {
				if part[o] < 0 {
					part[o] = count
					todo = append(todo, o)
				}
			}
		}
		count++
	}
	return part
}

// sizes returns how many nodes each part has.
func sizes(part []int) []int {
	out := make([]int, slices.Max(append([]int{-1}, part...))+1)
	for _, p := range part {
		if p >= 0 {
			out[p]++
		}
	}
	return out
}

// Connected reports whether all nodes that are not broken reach each other. A map without nodes is connected.
func (m *Map) Connected(without Broken) bool { return len(sizes(m.Components(without))) <= 1 }

// ReachablePairs counts the ordered pairs of different nodes between which a physical way exists.
func (m *Map) ReachablePairs(without Broken) (pairs int) {
	for _, n := range sizes(m.Components(without)) {
		pairs += n * (n - 1)
	}
	return pairs
}

// FarthestPair returns the two nodes with the most links between them on the shortest way, those with the smallest
// indices among equals. It is -1, -1, 0 for a map without two connected nodes.
func (m *Map) FarthestPair() (a, b, hops int) {
	a, b = -1, -1
	adj, _ := m.working(Broken{})
	dist, prev := make([]int, len(m.Nodes)), make([]int, len(m.Nodes))
	for i := range m.Nodes {
		bfs(adj, i, dist, prev)
		for j, h := range dist {
			if h > hops {
				a, b, hops = i, j, h
			}
		}
	}
	return a, b, hops
}

// Simple returns the map with at most one link between two nodes: the first one, with the least delay, the best
// quality and the highest rate of all.
func (m *Map) Simple() *Map {
	out := &Map{Name: m.Name, Nodes: slices.Clone(m.Nodes), Skipped: m.Skipped}
	first := map[[2]int]int{}
	for _, l := range m.Links {
		key := [2]int{min(l.A, l.B), max(l.A, l.B)}
		i, ok := first[key]
		if !ok {
			first[key] = len(out.Links)
			out.Links = append(out.Links, l)
			continue
		}
		o := &out.Links[i]
		o.Delay, o.Quality, o.Rate = min(o.Delay, l.Delay), max(o.Quality, l.Quality), max(o.Rate, l.Rate)
		o.Radio = o.Radio && l.Radio
	}
	return out
}
