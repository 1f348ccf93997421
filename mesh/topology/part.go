package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Split parts the name of a map from the piece of it that is wanted: "berlin.json#60" is the piece 60 of berlin.json.
// Without '#' the piece is empty.
func Split(name string) (base, piece string) {
	base, piece, _ = strings.Cut(name, "#")
	return base, piece
}

// Piece returns the part of the map that a suffix names: "" the whole, "largest" the largest connected part, "partK" the
// one with the K-th most nodes, and a number N the neighbourhood of N nodes that Neighbourhood finds. The name of the result
// says which piece it is.
func (m *Map) Piece(piece string) (*Map, error) {
	rank, part := strings.CutPrefix(piece, "part")
	n, err := strconv.Atoi(rank)
	var out *Map
	switch {
	case piece == "":
		return m, nil
	case piece == "largest":
		out = m.Largest()
	case part && err == nil && n >= 1:
		parts := m.ranked()
		if n > len(parts) {
			return nil, fmt.Errorf("%w: piece %q of %s: it is in %d parts", ErrSpec, clip(piece), m.Name, len(parts))
		}
		out = m.part(parts[n-1])
	case !part && err == nil && n >= 2 && n <= MaxNodes:
		out = m.Neighbourhood(n)
	default:
		return nil, fmt.Errorf("%w: piece %q of %s: write #largest, #partK for the part with the K-th most nodes, or #N with N from 2 to %d",
			ErrSpec, clip(piece), m.Name, MaxNodes)
	}
	out.Name = m.Name + "#" + piece
	return out, nil
}

// Neighbourhood returns n connected nodes and all links between them. It begins with the node that has the most
// neighbours in the largest connected part and takes, one after the other, the node with the most neighbours among those taken
// already, then with the most neighbours at all, then the first of the map: so it has ways round a failure where the
// map has them. It is the whole part if that is no larger. Order is kept, and the same map has the same neighbourhood
// always.
func (m *Map) Neighbourhood(n int) *Map {
	m = m.Largest()
	if len(m.Nodes) <= n {
		return m
	}
	adj := m.Neighbours(Broken{})
	keep, near := make([]bool, len(m.Nodes)), make([]int, len(m.Nodes))
	for taken := range n {
		next := -1
		for i := range adj {
			if keep[i] || taken > 0 && near[i] == 0 {
				continue
			}
			if next < 0 || near[i] > near[next] || near[i] == near[next] && len(adj[i]) > len(adj[next]) {
				next = i
			}
		}
		keep[next] = true
		for _, o := range adj[next] {
			near[o]++
		}
	}
	return m.keep(keep)
}

// keep returns the map of some of the nodes and the links between them, in the same order.
func (m *Map) keep(keep []bool) *Map {
	out := &Map{Name: m.Name, Skipped: m.Skipped}
	at := make([]int, len(m.Nodes))
	for i, n := range m.Nodes {
		if keep[i] {
			at[i] = len(out.Nodes)
			out.Nodes = append(out.Nodes, n)
		}
	}
	for _, l := range m.Links {
		if keep[l.A] && keep[l.B] {
			l.A, l.B = at[l.A], at[l.B]
			out.Links = append(out.Links, l)
		}
	}
	return out
}

// Largest returns the largest connected part of the map, the first one among equals. Order is kept.
func (m *Map) Largest() *Map {
	if len(m.Nodes) == 0 {
		return m.keep(nil)
	}
	return m.part(m.ranked()[0])
}

// ranked lists the numbers of the connected parts, those with the most nodes first, equals as the map has them.
func (m *Map) ranked() []int {
	count := sizes(m.Components(Broken{}))
	ranked := make([]int, len(count))
	for i := range ranked {
		ranked[i] = i
	}
	slices.SortStableFunc(ranked, func(a, b int) int { return cmp.Compare(count[b], count[a]) })
	return ranked
}

// part returns one connected part, by its number in Components.
func (m *Map) part(number int) *Map {
	keep := make([]bool, len(m.Nodes))
	for i, p := range m.Components(Broken{}) {
		keep[i] = p == number
	}
	return m.keep(keep)
}
