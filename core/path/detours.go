package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// Around are the detours of one link: to the neighbour, and to the nodes behind it without it. Who keeps them over changes of
// the topology asks Stands, which costs next to nothing, before they are looked for again.
type Around struct {
	Detours []mesh.Detour // ascending by Behind; not to be modified

	link      mesh.Label
	neighbour mesh.NodeID
	goals     []goal
	whole     bool // every goal has its detour
}

// goal is where one detour is to lead.
type goal struct {
	behind mesh.Label
	end    mesh.NodeID
	weight int64 // of the detour, infinity if there is none
}

// dearer is how many times what it cost when it was found a detour may cost before a better one is looked for.
const dearer = 2

// Around returns the detours of at most MaxDetour hops for a link of a node, each the shortest (links that share a group with that
// one count as weak: what it failed by they may fail by too): the one to the neighbour, and
// for each of the neighbour's links, ascending by label, the one to the node behind it that does not lead through the
// neighbour, of all at most so many. It is one search. False: the graph does not have the link.
func (g *Graph) Around(from mesh.NodeID, link mesh.Label, most int) (Around, bool) {
	n, ok := g.index(from)
	if !ok {
		return Around{}, false
	}
	a := g.labelled(n, link)
	if a < 0 {
		return Around{}, false
	}
	v := g.arcs[a].to
	around := Around{link: link, neighbour: g.nodes[v], goals: slices.Clone(g.goals(n, v, most)), whole: true}
	wanted := make([]int32, len(around.goals))
	for i := range around.goals {
		wanted[i] = v
		if b := around.goals[i].behind; b != 0 {
			wanted[i] = g.arcs[g.labelled(v, b)].to
		}
	}
	if g.risks != nil {
		g.reach.risks = g.risks[g.arcs[a].link]
	}
	g.spread(n, v, MaxDetour, g.arcs[a].link, wanted)
	g.reach.risks = nil
	for i, to := range wanted {
		x := &around.goals[i]
		x.weight = g.reach.best[to]
		if x.weight == infinity {
			around.whole = false
			continue
		}
		around.Detours = append(around.Detours, mesh.Detour{Behind: x.behind, Labels: g.labelsOf([][]int32{g.reached(to)})[0]})
	}
	return around, true
}

// goals returns where the detours of a link from n to v are to lead: to all nodes that there is another link to. The result is
// good until the next call.
func (g *Graph) goals(n, v int32, most int) []goal {
	all := g.aims[:0]
	if most > 0 && g.inAt[v+1]-g.inAt[v] > 1 {
		all = append(all, goal{end: g.nodes[v]})
	}
	for a := g.first[v]; a < g.first[v+1] && len(all) < most; a++ {
		if to := g.arcs[a].to; to != n && g.entered(to, v) {
			all = append(all, goal{behind: g.info[a].label, end: g.nodes[to]})
		}
	}
	g.aims = all
	return all
}

// entered reports whether a link leads to a node from another one than v.
func (g *Graph) entered(node, v int32) bool {
	for _, in := range g.in[g.inAt[node]:g.inAt[node+1]] {
		if in.from != v {
			return true
		}
	}
	return false
}

// Stands reports whether detours that were found in an earlier graph serve in this one: the link and what is behind the
// neighbour are as they were, none is missing that this graph might have, and each leads where it did and costs no more than
// twice as much.
func (g *Graph) Stands(a *Around, from mesh.NodeID, most int) bool {
	n, ok := g.index(from)
	if !ok || !a.whole {
		return false
	}
	arc := g.labelled(n, a.link)
	if arc < 0 || g.nodes[g.arcs[arc].to] != a.neighbour {
		return false
	}
	v := g.arcs[arc].to
	if !slices.EqualFunc(a.goals, g.goals(n, v, most), func(x, y goal) bool { return x.behind == y.behind && x.end == y.end }) {
		return false
	}
	for i, x := range a.goals { // as many as there are detours
		if end, weight := g.walk(n, v, a.Detours[i]); end < 0 || g.nodes[end] != x.end || weight > dearer*x.weight {
			return false
		}
	}
	return true
}

// walk follows a detour and returns where it ends, -1 if it cannot be gone or leads through v, and what it weighs.
func (g *Graph) walk(n, v int32, d mesh.Detour) (end int32, weight int64) {
	for _, l := range d.Labels {
		a := g.labelled(n, l)
		if n == v || a < 0 {
			return -1, 0
		}
		n = g.arcs[a].to
		weight += g.arcs[a].weight
	}
	return n, weight
}
