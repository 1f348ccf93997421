package lsdb

import (
	"slices"

	"x0tta6bl4/mesh"
)

// maxStirred is how many nodes are remembered as having other links than they had; beyond it everything is made anew.
const maxStirred = 256

// stirred are the nodes whose announced ways may be others than when Patch was last called.
type stirred struct {
	nodes []mesh.NodeID
	all   bool
}

func (s *stirred) add(n mesh.NodeID) {
	switch {
	case s.all || len(s.nodes) > 0 && s.nodes[len(s.nodes)-1] == n:
	case len(s.nodes) >= maxStirred:
		s.nodes, s.all = nil, true
	default:
		s.nodes = append(s.nodes, n)
	}
}

func (s *stirred) reset() { s.nodes, s.all = s.nodes[:0], false }

// Patch returns the edges of now, made of those of the last call, or of the last call of Caught. They are what Edges
// returns but for suspicions, and the very same slice if nothing but that is another. Neither must be modified.
func (db *DB) Patch(was []mesh.Edge) []mesh.Edge {
	if db.stirred.all {
		db.stirred.reset()
		if now := db.join(len(was)); !slices.EqualFunc(was, now, SameWay) {
			return now
		}
		return was
	}
	var patches []patch
	for _, n := range db.restless(was) {
		if p, ok := db.patch(was, n); ok {
			patches = append(patches, p)
		}
	}
	db.stirred.reset()
	if len(patches) == 0 {
		return was
	}
	size := len(was)
	for _, p := range patches {
		size += len(p.edges) - (p.to - p.from)
	}
	now, at := make([]mesh.Edge, 0, size), 0
	for _, p := range patches {
		now = append(append(now, was[at:p.from]...), p.edges...)
		at = p.to
	}
	return append(now, was[at:]...)
}

// Caught tells Patch that its next call has the edges of now.
func (db *DB) Caught() { db.stirred.reset() }

// patch is what takes the place of edges[from:to].
type patch struct {
	from, to int
	edges    []mesh.Edge
}

// restless returns the nodes that edges may be other of, ascending: those that announce other links and their neighbours.
func (db *DB) restless(was []mesh.Edge) []mesh.NodeID {
	var all []mesh.NodeID
	for _, n := range db.stirred.nodes {
		all = append(all, n)
		from, to := edgesFrom(was, n)
		for i := from; i < to; i++ {
			all = append(all, was[i].To)
		}
		for _, l := range db.Links(n) {
			all = append(all, l.Neighbour)
		}
	}
	slices.SortFunc(all, mesh.NodeID.Compare)
	return slices.Compact(all)
}

// edgesFrom returns where the edges from a node are.
func edgesFrom(edges []mesh.Edge, n mesh.NodeID) (from, to int) {
	from, _ = slices.BinarySearchFunc(edges, n, func(e mesh.Edge, n mesh.NodeID) int { return e.From.Compare(n) })
	for to = from; to < len(edges) && edges[to].From == n; to++ {
	}
	return from, to
}

// patch returns the edges from a node as they are now; false if they are what they were.
func (db *DB) patch(was []mesh.Edge, n mesh.NodeID) (patch, bool) {
	p := patch{}
	p.from, p.to = edgesFrom(was, n)
	if o := db.origins[n]; o != nil {
		p.edges = db.joinOf(p.edges, o)
	}
	return p, !slices.EqualFunc(was[p.from:p.to], p.edges, SameWay)
}

// SameWay reports whether two edges are the same to who looks for paths: suspicion is none of it.
func SameWay(a, b mesh.Edge) bool {
	return a.Label == b.Label && a.Cost == b.Cost && a.From == b.From && a.To == b.To && a.Remote == b.Remote &&
		a.Quality == b.Quality && a.MTU == b.MTU && a.Capacity == b.Capacity && slices.Equal(a.Groups, b.Groups)
}
