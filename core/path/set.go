package path

import (
	"cmp"
	"slices"
)

// set is some paths between two nodes, and how they stand to each other.
type set struct {
	paths    [][]int32
	weight   int64    // of all, as the caller's prices have it
	links    int      // uses of links beyond the first
	relays   int      // uses of relays beyond the first
	nodes    []int32  // relays on more than one path, ascending
	groups   []uint32 // on more than one path, ascending
	overlap  int      // uses of groups beyond the first
	distinct bool     // no two of the paths are the same
}

// measure counts what paths share.
func (g *Graph) measure(paths [][]int32, price pricing) set {
	s := set{paths: paths, distinct: true}
	var links, nodes []int32
	var groups []uint32
	for i, p := range paths {
		for j, a := range p {
			s.weight += price.of(g.arcs[a].weight)
			links = append(links, g.arcs[a].link)
			if j < len(p)-1 {
				nodes = append(nodes, g.arcs[a].to)
			}
		}
		groups = append(groups, g.risksOf(p)...)
		for _, q := range paths[:i] {
			s.distinct = s.distinct && !slices.Equal(p, q)
		}
	}
	s.links = len(repeated(links))
	s.nodes = repeated(nodes)
	s.relays = len(s.nodes)
	s.nodes = slices.Compact(s.nodes)
	again := repeated(groups)
	for _, r := range again {
		if !slices.Contains(g.fixed, r) { // what every set shares makes none better
			s.overlap++
		}
	}
	s.groups = slices.Compact(again)
	return s
}

// groupsOfEnds returns the groups of every link of node s, or of every link of node t, ascending: no choice of paths between
// the two avoids them.
func (g *Graph) groupsOfEnds(s, t int32) []uint32 {
	if g.risks == nil {
		return nil
	}
	var all []uint32
	for _, n := range [...]int32{s, t} {
		var common []uint32
		for i := g.first[n]; i < g.first[n+1]; i++ {
			risks := g.risks[g.arcs[i].link]
			if i == g.first[n] {
				common = slices.Clone(risks)
				continue
			}
			common = slices.DeleteFunc(common, func(r uint32) bool { return !slices.Contains(risks, r) })
		}
		all = append(all, common...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// repeated sorts xs and returns those that equal their predecessor: each value as often as it occurs, less one.
func repeated[T cmp.Ordered](xs []T) []T {
	slices.Sort(xs)
	var out []T
	for i := 1; i < len(xs); i++ {
		if xs[i] == xs[i-1] {
			out = append(out, xs[i])
		}
	}
	return out
}

// risksOf returns the groups that a path uses, each once.
func (g *Graph) risksOf(path []int32) []uint32 {
	if g.risks == nil {
		return nil
	}
	var out []uint32
	for _, a := range path {
		out = append(out, g.risks[g.arcs[a].link]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (g *Graph) weigh(path []int32, price pricing) (w int64) {
	for _, a := range path {
		w += price.of(g.arcs[a].weight)
	}
	return w
}

// better orders sets of as many paths: fewer shared links, fewer shared relays, less shared risk, less weight.
func (s set) better(o set) bool {
	return cmp.Or(cmp.Compare(s.links, o.links), cmp.Compare(s.relays, o.relays),
		cmp.Compare(s.overlap, o.overlap), cmp.Compare(s.weight, o.weight)) < 0
}

// longest returns the hops of the longest path.
func (s set) longest() (n int) {
	for _, p := range s.paths {
		n = max(n, len(p))
	}
	return n
}

// within counts the paths of at most n hops.
func (s set) within(n int) (count int) {
	for _, p := range s.paths {
		if len(p) <= n {
			count++
		}
	}
	return count
}

// arrange puts the primary first: a short path before a long one, then the cheapest. The others follow by what they
// share with it.
func (g *Graph) arrange(paths [][]int32) {
	length := func(p []int32) int {
		if len(p) > MaxHops {
			return 1
		}
		return 0
	}
	byWeight := func(a, b []int32) int {
		return cmp.Or(cmp.Compare(length(a), length(b)), cmp.Compare(g.weigh(a, plain), g.weigh(b, plain)), slices.Compare(a, b))
	}
	if len(paths) < 2 {
		return
	}
	slices.SortFunc(paths, byWeight)
	first := paths[0]
	slices.SortStableFunc(paths[1:], func(a, b []int32) int {
		x, y := g.measure([][]int32{first, a}, plain), g.measure([][]int32{first, b}, plain)
		return cmp.Or(cmp.Compare(x.links, y.links), cmp.Compare(x.relays, y.relays))
	})
}
