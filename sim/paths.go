package sim

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// PathTimes is how long the computation of paths takes on one graph, on this machine.
type PathTimes struct {
	Nodes    int     `json:"nodes"`
	Links    int     `json:"links"`
	K        int     `json:"k"`
	Disjoint Elapsed `json:"disjoint_ms"` // k disjoint paths from one node to another, one destination after the other
	Cold     Elapsed `json:"cold_ms"`     // the same from a new source each time
	Tree     Elapsed `json:"tree_ms"`     // a link changes: the graph of the new edges, and the tree of shortest paths of one node
	Update   Elapsed `json:"update_ms"`   // a link changes: the graph, and the k paths to one destination that it concerns anew
}

// Elapsed is how some real times are spread, in milliseconds.
type Elapsed struct {
	Number int     `json:"number"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// ErrPaths is in every error about a measurement of paths that cannot be.
var ErrPaths = errors.New("not a graph to measure paths on")

// The bounds of MeasurePaths.
const (
	minPathNodes = 4
	maxPathNodes = 100_000
	maxPathRuns  = 100_000
)

// MeasurePaths measures on a random graph of nodes with a mean degree of 6, a ring and two chords for each node, so many times
// each; clock tells real time. Graph and questions follow from the seed.
func MeasurePaths(nodes, k, runs int, seed uint64, clock func() time.Time) (PathTimes, error) {
	switch {
	case nodes < minPathNodes || nodes > maxPathNodes:
		return PathTimes{}, fmt.Errorf("%w: %d nodes: from %d to %d", ErrPaths, nodes, minPathNodes, maxPathNodes)
	case k < 1 || k > path.MaxPaths:
		return PathTimes{}, fmt.Errorf("%w: %d paths: from 1 to %d", ErrPaths, k, path.MaxPaths)
	case runs < 1 || runs > maxPathRuns:
		return PathTimes{}, fmt.Errorf("%w: %d runs: from 1 to %d", ErrPaths, runs, maxPathRuns)
	}
	m := pathMeter{k: k, runs: runs, clock: clock, rng: rand.New(rand.NewPCG(seed, 0x7061746873))} // #nosec G404 -- the same graph for the same seed
	m.draw(nodes)
	t := PathTimes{Nodes: nodes, Links: len(m.edges) / 2, K: k}
	g := path.NewGraph(m.edges)
	g.Disjoint(m.ids[0], m.ids[1], k)
	none := func() {}
	t.Disjoint = m.measure(none, func(i int) { g.Disjoint(m.ids[0], m.ids[1+i%(nodes-1)], k) })
	t.Cold = m.measure(none, func(i int) { g.Disjoint(m.ids[i%nodes], m.ids[(i*7+nodes/2)%nodes], k) })
	var tree path.Tree
	tree.Reuse(g, m.ids[0])
	var edges []mesh.Edge
	change := func() { edges = m.changed() }
	t.Tree = m.measure(change, func(int) {
		g = g.Next(edges)
		tree.Reuse(g, m.ids[0])
	})
	found := g.Disjoint(m.ids[0], m.ids[nodes/2], k)
	t.Update = m.measure(change, func(int) {
		next := g.Next(edges)
		found = next.Since(g).Disjoint(&found, m.ids[0], m.ids[nodes/2], k)
		g = next
	})
	return t, nil
}

// pathMeter asks a graph questions and notes how long the answers take.
type pathMeter struct {
	k, runs int
	clock   func() time.Time
	rng     *rand.Rand
	ids     []mesh.NodeID
	edges   []mesh.Edge // ascending by From and Label
}

// draw makes the graph.
func (m *pathMeter) draw(nodes int) {
	for i := range nodes {
		m.ids = append(m.ids, mesh.MustNodeID("n"+strconv.Itoa(i+1)))
	}
	labels := make([]mesh.Label, nodes)
	join := func(a, b int) {
		cost := mesh.Cost(500 + m.rng.IntN(20_000)) // #nosec G115 -- small
		labels[a]++
		labels[b]++
		e := mesh.Edge{From: m.ids[a], To: m.ids[b], Label: labels[a], Remote: labels[b], Cost: cost, Quality: mesh.Excellent}
		m.edges = append(m.edges, e)
		e.From, e.To, e.Label, e.Remote = e.To, e.From, e.Remote, e.Label
		m.edges = append(m.edges, e)
	}
	for i := range nodes {
		join(i, (i+1)%nodes)
		for range 2 {
			if j := m.rng.IntN(nodes); j != i {
				join(i, j)
			}
		}
	}
	slices.SortFunc(m.edges, func(a, b mesh.Edge) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Label, b.Label)) })
}

// changed returns the edges with the cost of one link changed.
func (m *pathMeter) changed() []mesh.Edge {
	edges := slices.Clone(m.edges)
	e := &edges[m.rng.IntN(len(edges))]
	e.Cost = mesh.Cost(500 + m.rng.IntN(20_000)) // #nosec G115 -- small
	at, _ := slices.BinarySearchFunc(edges, *e, func(x, e mesh.Edge) int { return cmp.Or(x.From.Compare(e.To), cmp.Compare(x.Label, e.Remote)) })
	edges[at].Cost = e.Cost
	return edges
}

// measure asks a question so many times; prepare is done before each, and takes no time.
func (m *pathMeter) measure(prepare func(), ask func(i int)) Elapsed {
	took := make([]time.Duration, m.runs)
	for i := range took {
		prepare()
		began := m.clock()
		ask(i)
		took[i] = m.clock().Sub(began)
	}
	s := spread(took)
	return Elapsed{s.Number, s.P50, s.P99, s.Max}
}
