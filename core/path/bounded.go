package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// reacher is the scratch memory of bounded.
type reacher struct {
	best  []int64 // by node: the least weight so far
	at    []int32 // by node: its step in steps
	steps []step
}

// step is one improvement of one node: by this arc from the node of an earlier step.
type step struct {
	weight    int64
	arc, prev int32
	hops      int32
}

// bounded returns the arcs of the shortest path of at most limit hops that does not use the link avoid (-1: any),
// nil if there is none. It is Bellman and Ford's algorithm in rounds of one hop, each over the nodes that the round before
// improved. As every weight is positive, the best walk within a number of hops visits no node twice.
func (g *Graph) bounded(from, to int32, limit int, avoid int32) []int32 {
	r := &g.reach
	r.reset(len(g.nodes))
	r.best[from], r.at[from] = 0, 0
	r.steps = append(r.steps, step{arc: -1, prev: -1})
	for begin, hops := 0, 1; hops <= limit && begin < len(r.steps); hops++ {
		end := len(r.steps)
		for i := begin; i < end; i++ {
			node := from
			if s := r.steps[i]; s.arc >= 0 {
				node = g.arcs[s.arc].to
			}
			if node != to {
				g.extend(r, int32(i), node, int32(hops), avoid)
			}
		}
		begin = end
	}
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
	for a := g.first[node]; a < g.first[node+1]; a++ {
		arc := &g.arcs[a]
		w := r.steps[i].weight + arc.weight
		if arc.link == avoid || w >= r.best[arc.to] {
			continue
		}
		r.best[arc.to] = w
		next := step{weight: w, arc: a, prev: i, hops: hops}
		if at := r.at[arc.to]; at >= 0 && r.steps[at].hops == hops {
			r.steps[at] = next
			continue
		}
		r.at[arc.to] = int32(len(r.steps))
		r.steps = append(r.steps, next)
	}
}

func (r *reacher) reset(n int) {
	r.best = slices.Grow(r.best[:0], n)[:n]
	r.at = slices.Grow(r.at[:0], n)[:n]
	for i := range r.best {
		r.best[i], r.at[i] = infinity, -1
	}
	r.steps = r.steps[:0]
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
