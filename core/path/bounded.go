package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// reacher is a search for shortest paths of few hops, and its scratch memory.
type reacher struct {
	best  []int64 // by node: the least weight so far
	at    []int32 // by node: its step in steps
	seen  []int32 // nodes whose best and at are set
	steps []step
	bound int64            // what is no lighter leads to nothing that is looked for
	risks []uint32         // links of these groups weigh as weak ones
	guilt func(*arc) int64 // what an arc weighs besides, or banned; nil: nothing
}

// step is one improvement of one node: by this arc from the node of an earlier step.
type step struct {
	weight    int64
	arc, prev int32
	hops      int32
}

// bounded returns the arcs of the shortest path of at most limit hops that does not use the link avoid (-1: any),
// nil if there is none.
func (g *Graph) bounded(from, to int32, limit int, avoid int32) []int32 {
	g.spread(from, to, limit, avoid, []int32{to})
	return g.reached(to)
}

// spread looks for the shortest paths of at most limit hops to some nodes that do not use the link avoid (-1: any) and do not
// lead through the node past (they may end there). It is Bellman and Ford's algorithm in rounds of one hop, each over the
// nodes that the round before improved. As every weight is positive, the best walk within a number of hops visits no node
// twice.
func (g *Graph) spread(from, past int32, limit int, avoid int32, wanted []int32) {
	r := &g.reach
	r.reset(len(g.nodes))
	r.note(from, 0)
	r.steps = append(r.steps, step{arc: -1, prev: -1})
	for begin, hops := 0, 1; hops <= limit && begin < len(r.steps); hops++ {
		end := len(r.steps)
		r.bound = r.dearest(wanted)
		for i := begin; i < end; i++ {
			node := from
			if s := r.steps[i]; s.arc >= 0 {
				node = g.arcs[s.arc].to
			}
			if node != past {
				g.extend(r, int32(i), node, int32(hops), avoid)
			}
		}
		begin = end
	}
}

// reached returns the arcs of the path that spread found to a node, nil if there is none.
func (g *Graph) reached(to int32) []int32 {
	r := &g.reach
	if r.best[to] == infinity {
		return nil
	}
	var arcs []int32
	for s := r.steps[r.at[to]]; s.arc >= 0; s = r.steps[s.prev] {
		arcs = append(arcs, s.arc)
	}
	slices.Reverse(arcs)
	return arcs
}

func (g *Graph) extend(r *reacher, i, node, hops, avoid int32) {
	weight := r.steps[i].weight
	for a := g.first[node]; a < g.first[node+1]; a++ {
		arc := &g.arcs[a]
		w := weight + arc.weight
		if len(r.risks) > 0 && g.meets(arc.link, r.risks) {
			w += weakUnit
		}
		if r.guilt != nil {
			more := r.guilt(arc)
			if more == banned {
				continue
			}
			w += more
		}
		if arc.link == avoid || w >= r.best[arc.to] || w >= r.bound {
			continue
		}
		next := step{weight: w, arc: a, prev: i, hops: hops}
		if at := r.at[arc.to]; at >= 0 && r.steps[at].hops == hops {
			r.best[arc.to] = w
			r.steps[at] = next
			continue
		}
		r.note(arc.to, w)
		r.steps = append(r.steps, next)
	}
}

// meets reports whether a link is in one of some groups.
func (g *Graph) meets(link int32, groups []uint32) bool {
	return slices.ContainsFunc(g.risks[link], func(r uint32) bool { return slices.Contains(groups, r) })
}

// note enters the step that is about to be added as the best to a node.
func (r *reacher) note(node int32, weight int64) {
	if r.at[node] < 0 {
		r.seen = append(r.seen, node)
	}
	r.best[node], r.at[node] = weight, int32(len(r.steps)) // #nosec G115 -- at most limit for each node
}

// dearest returns the greatest of the weights found to some nodes.
func (r *reacher) dearest(nodes []int32) (w int64) {
	for _, n := range nodes {
		w = max(w, r.best[n])
	}
	return w
}

func (r *reacher) reset(n int) {
	if len(r.best) != n {
		r.best, r.at, r.seen = make([]int64, n), make([]int32, n), r.seen[:0]
		for i := range r.best {
			r.best[i], r.at[i] = infinity, -1
		}
	}
	for _, i := range r.seen {
		r.best[i], r.at[i] = infinity, -1
	}
	r.seen, r.steps = r.seen[:0], r.steps[:0]
}

// Detour returns the shortest way of at most MaxDetour hops from a node to the neighbour at its link, without that
// link.
func (g *Graph) Detour(from mesh.NodeID, link mesh.Label) (mesh.Path, bool) {
	n, ok := g.index(from)
	if !ok {
		return mesh.Path{}, false
	}
	a := g.labelled(n, link)
	if a < 0 {
		return mesh.Path{}, false
	}
	arcs := g.bounded(n, g.arcs[a].to, MaxDetour, g.arcs[a].link)
	if arcs == nil {
		return mesh.Path{}, false
	}
	return g.path(arcs), true
}
