package path

import (
	"cmp"
	"slices"

	"x0tta6bl4/mesh"
)

// bywaySearches bounds the searches that one byway takes.
const bywaySearches = 24

// Byway returns a path between two nodes that is none of those that failed; false if none is found. Which relay or link a path
// failed by nobody says, so they share the guilt; a weak link, which loses most of what it carries, is guilty of itself. Of all
// paths the one with the least guilt is taken, of equals the best by weight, and none of more hops than a frame can go. Where that
// is a failed one itself, it is looked for again without one of its relays, or of its links, the guiltiest first. A set that must avoid the culprits of all, whoever they are, is a hitting set, which is NP-hard
// (Karp 1972): there are bywaySearches searches at most.
func (g *Graph) Byway(from, to mesh.NodeID, failed []mesh.Path) (mesh.Path, bool) {
	s, ok := g.index(from)
	if !ok {
		return mesh.Path{}, false
	}
	t, ok := g.index(to)
	if !ok || s == t {
		return mesh.Path{}, false
	}
	b := &bywayfinder{g: g, from: s, to: t, failed: failed, left: bywaySearches,
		nodes: make([]int64, len(g.nodes)), links: make([]int64, len(g.arcs))}
	for i := range g.arcs {
		b.links[g.arcs[i].link] = g.arcs[i].weight / weakUnit * guiltOfWeak
	}
	for _, p := range failed {
		b.blame(p)
	}
	if arcs := b.search(); arcs != nil {
		return g.path(arcs), true
	}
	return mesh.Path{}, false
}

// bywayfinder is one search for a byway.
type bywayfinder struct {
	g        *Graph
	from, to int32
	failed   []mesh.Path
	left     int     // searches
	nodes    []int64 // guilt, by node; banned
	links    []int64 // the same by link
}

const (
	banned     = int64(-1)
	guiltUnit  = int64(1) << 44 // in a weight: above all that one path weighs
	guiltOfOne = int64(64)      // the guilt of one path

	// guiltOfWeak is that of a poor link; a bad one has twice as much, which is a quarter of a path's.
	guiltOfWeak = int64(8)
)

// blame spreads the guilt of a failed path over its relays and links, as far as the graph has them.
func (b *bywayfinder) blame(p mesh.Path) {
	each := max(1, guiltOfOne/int64(2*len(p.Labels)-1))
	at := b.from
	for _, l := range p.Labels {
		a := b.g.labelled(at, l)
		if a < 0 {
			return
		}
		b.links[b.g.arcs[a].link] += each
		if at = b.g.arcs[a].to; at != b.to {
			b.nodes[at] += each
		}
	}
}

// search returns the arcs of the least guilty path that did not fail, nil if none is found.
func (b *bywayfinder) search() []int32 {
	if b.left == 0 {
		return nil
	}
	b.left--
	arcs := b.shortest()
	if len(arcs) > MaxLongHops { // or whoever announces a long way that nobody has blamed would hide all others
		arcs = b.short()
	}
	if len(arcs) == 0 {
		return nil
	}
	if p := b.g.path(arcs); !slices.ContainsFunc(b.failed, p.Same) {
		return arcs
	}
	for _, guilt := range b.suspects(arcs) {
		was := *guilt
		*guilt = banned
		if found := b.search(); found != nil {
			return found
		}
		*guilt = was
	}
	return nil
}

// suspects returns the guilt of the relays and links of a path, the guiltiest first, relays before links.
func (b *bywayfinder) suspects(arcs []int32) []*int64 {
	var relays, links []*int64
	for _, a := range arcs {
		if to := b.g.arcs[a].to; to != b.to {
			relays = append(relays, &b.nodes[to])
		}
		links = append(links, &b.links[b.g.arcs[a].link])
	}
	guiltiest := func(x, y *int64) int { return cmp.Compare(*y, *x) }
	slices.SortStableFunc(relays, guiltiest)
	slices.SortStableFunc(links, guiltiest)
	return append(relays, links...)
}

// shortest returns the arcs of the path with the least guilt, then the least weight, that avoids what is banned: Dijkstra's
// algorithm up to the other end.
func (b *bywayfinder) shortest() []int32 {
	g, t := b.g, &b.g.scratch
	t.g, t.from, t.price = g, b.from, plain
	t.reset()
	t.dist[b.from] = 0
	h := g.heap[:0]
	h.push(0, b.from)
	for len(h) > 0 {
		top := h.pop()
		if top.item == b.to {
			break
		}
		if top.key > t.dist[top.item] {
			continue
		}
		for i := g.first[top.item]; i < g.first[top.item+1]; i++ {
			a := &g.arcs[i]
			link, node := b.links[a.link], b.nodes[a.to]
			if link == banned || node == banned {
				continue
			}
			if d := top.key + a.weight + (link+node)*guiltUnit; d < t.dist[a.to] {
				t.dist[a.to], t.via[a.to] = d, i
				h.push(d, a.to)
			}
		}
	}
	g.heap = h
	if t.dist[b.to] == infinity {
		return nil
	}
	return t.arcsTo(b.to)
}

// short is shortest among the paths that frames can go.
func (b *bywayfinder) short() []int32 {
	r := &b.g.reach
	r.guilt = func(a *arc) int64 {
		link, node := b.links[a.link], b.nodes[a.to]
		if link == banned || node == banned {
			return banned
		}
		return (link + node) * guiltUnit
	}
	defer func() { r.guilt = nil }()
	return b.g.bounded(b.from, b.to, MaxLongHops, -1)
}

// Follow returns a path by the same links as it is in this graph; false if it cannot be gone any more.
func (g *Graph) Follow(p mesh.Path) (mesh.Path, bool) {
	at, ok := g.index(p.Nodes[0])
	if !ok {
		return mesh.Path{}, false
	}
	arcs := make([]int32, len(p.Labels))
	for i, l := range p.Labels {
		if arcs[i] = g.labelled(at, l); arcs[i] < 0 {
			return mesh.Path{}, false
		}
		at = g.arcs[arcs[i]].to
	}
	is := g.path(arcs)
	return is, is.Same(p)
}
