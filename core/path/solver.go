package path

import "slices"

// sharing says what a second use of a relay and of a link costs; forbidden means that there is none.
type sharing struct{ node, link int64 }

const forbidden = int64(-1)

var (
	apart     = sharing{node: forbidden, link: forbidden} // node-disjoint
	byLink    = sharing{node: nodeUnit, link: forbidden}  // link-disjoint, fewest shared relays
	leastBoth = sharing{node: nodeUnit, link: linkUnit}   // fewest shared links, then relays
)

// A solver finds cheapest sets of paths as flows. Each node v is two states, v in (2v) and v out (2v+1), joined by an
// arc that counts the uses of the node. A search runs backwards, from t in to s out, over the residual graph; its potential
// is the distance from s in the shortest-path tree, so it goes straight for s instead of around t.
//
// Invariant between searches: with the potential of each state, no residual arc has a negative reduced weight.
type solver struct {
	g     *Graph
	tree  *Tree // of s, with the same prices
	t     int32
	share sharing

	states []state
	solve  uint32 // the stamp of this flow
	round  uint32 // the stamp of this search
	order  []int32
	heap   heap

	flow     []uint8 // by arc
	flows    []int32 // arcs with flow
	nextOut  []int32 // parallel to flows: the next one that leaves the same node
	outHead  []int32 // by node: index into flows, -1 = none
	hops     int
	lesser   int64   // what the cheapest flow of one unit less costs
	cut      bool    // there may be more units, but for flowHops
	wall     *wall   // why there are no more; nil if as many were found as were wanted
	uses     []uint8 // by node: units of flow through it
	fixNode  []uint8 // by node: uses by paths that are given
	fixLink  []uint8 // by link: the same
	banned   []bool  // by link
	distance []int64 // by node, for split
	enter    []int32
}

type state struct {
	dist   int64
	shift  int64 // potential, less the tree's
	via    int32 // the residual arc towards t: ≥ 0 an arc, crossing, or takeBack(arc)
	solve  uint32
	round  uint32
	closed bool
}

const crossing = int32(-1)

func takeBack(arc int32) int32 { return -2 - arc } // its own inverse

func newSolver(g *Graph) *solver {
	n := len(g.nodes)
	s := &solver{
		g: g, states: make([]state, 2*n), flow: make([]uint8, len(g.arcs)),
		outHead: make([]int32, n), uses: make([]uint8, n), fixNode: make([]uint8, n),
		fixLink: make([]uint8, len(g.arcs)), banned: make([]bool, len(g.arcs)),
		distance: make([]int64, n), enter: make([]int32, n),
	}
	for i := range s.outHead {
		s.outHead[i] = -1
		s.distance[i] = infinity
	}
	return s
}

// cheapest returns the arcs of up to k paths from the tree's root to t: as many as can be, with the least weight.
// Links in bans are not used; the paths in fixed count as there already.
func (s *solver) cheapest(tree *Tree, t int32, share sharing, k int, fixed [][]int32, bans []int32) [][]int32 {
	s.tree, s.t, s.share = tree, t, share
	s.solve++
	s.hops = 0
	s.mark(fixed, bans)
	units := 0
	total := int64(0)
	s.cut, s.wall = false, nil
	for units < k && !s.cut {
		if !s.search() {
			s.wall = s.newWall()
			break
		}
		s.augment()
		s.cut = s.hops >= flowHops
		units++
		s.lesser, total = total, s.weight()
	}
	paths := s.split(units)
	s.unmark(fixed, bans)
	return paths
}

// weight returns what the flow costs, shared relays and links apart.
func (s *solver) weight() (w int64) {
	for _, a := range s.flows {
		w += int64(s.flow[a]) * s.tree.price.of(s.g.arcs[a].weight)
	}
	return w
}

// mark enters what a caller gave.
func (s *solver) mark(fixed [][]int32, bans []int32) {
	for _, p := range fixed {
		for _, a := range p {
			s.fixLink[s.g.arcs[a].link]++
			s.fixNode[s.g.arcs[a].to]++
		}
	}
	for _, l := range bans {
		s.banned[l] = true
	}
}

func (s *solver) unmark(fixed [][]int32, bans []int32) {
	for _, p := range fixed {
		for _, a := range p {
			s.fixLink[s.g.arcs[a].link] = 0
			s.fixNode[s.g.arcs[a].to] = 0
		}
	}
	for _, l := range bans {
		s.banned[l] = false
	}
}

func (s *solver) at(x int32) *state {
	st := &s.states[x]
	if st.solve != s.solve {
		*st = state{solve: s.solve}
	}
	if st.round != s.round {
		st.round, st.dist, st.closed = s.round, infinity, false
	}
	return st
}

// search finds the cheapest way in the residual graph, and moves the potentials.
func (s *solver) search() bool {
	s.round++
	s.order = s.order[:0]
	s.heap = s.heap[:0]
	goal := 2*s.tree.from + 1
	s.at(2 * s.t).dist = 0
	s.heap.push(0, 2*s.t)
	for len(s.heap) > 0 {
		top := s.heap.pop()
		st := s.at(top.item)
		if st.closed {
			continue
		}
		st.closed = true
		if top.item == goal {
			s.shiftPotentials(st.dist)
			return true
		}
		s.order = append(s.order, top.item)
		if top.item&1 == 0 {
			s.expandIn(top.item, st)
		} else {
			s.expandOut(top.item, st)
		}
	}
	return false
}

// shiftPotentials keeps the invariant: every closed state is lowered by its distance, all others by that of s.
// That is the same as raising the closed ones by what they are nearer.
func (s *solver) shiftPotentials(reached int64) {
	for _, x := range s.order {
		st := &s.states[x]
		st.shift += reached - st.dist
	}
}

// expandIn relaxes the residual arcs that end in v in.
func (s *solver) expandIn(y int32, st *state) {
	v := y >> 1
	base := st.dist - s.tree.dist[v] - st.shift
	for _, in := range s.g.in[s.g.inAt[v]:s.g.inAt[v+1]] {
		d := s.tree.dist[in.from]
		if d == infinity || in.from == s.t {
			continue
		}
		extra, ok := s.linkExtra(in.arc)
		if !ok {
			continue
		}
		w := s.tree.price.of(in.weight) + extra
		s.relax(2*in.from+1, base+w+d, in.arc)
	}
	if v != s.t && s.uses[v] > 0 {
		s.relax(y|1, base+s.tree.dist[v]-s.nodeRefund(v), crossing)
	}
}

// expandOut relaxes the residual arcs that end in v out.
func (s *solver) expandOut(y int32, st *state) {
	v := y >> 1
	base := st.dist - s.tree.dist[v] - st.shift
	switch {
	case s.uses[v]+s.fixNode[v] == 0:
		s.relax(y&^1, base+s.tree.dist[v], crossing)
	case s.share.node != forbidden:
		s.relax(y&^1, base+s.tree.dist[v]+s.share.node, crossing)
	}
	for i := s.outHead[v]; i >= 0; i = s.nextOut[i] {
		a := s.flows[i]
		if s.flow[a] == 0 {
			continue
		}
		arc := s.g.arcs[a]
		w := s.tree.price.of(arc.weight) + s.linkRefund(a)
		s.relax(2*arc.to, base-w+s.tree.dist[arc.to], takeBack(a))
	}
}

// relax offers state x the reduced distance d, which lacks x's shift.
func (s *solver) relax(x int32, d int64, via int32) {
	st := s.at(x)
	d += st.shift
	if !st.closed && d < st.dist {
		st.dist, st.via = d, via
		s.heap.push(d, x)
	}
}

// linkExtra is what one more use of an arc costs beyond its weight.
func (s *solver) linkExtra(a int32) (int64, bool) {
	link := s.g.arcs[a].link
	if s.banned[link] {
		return 0, false
	}
	if s.flow[a]+s.fixLink[link] == 0 {
		return 0, true
	}
	return s.share.link, s.share.link != forbidden
}

func (s *solver) linkRefund(a int32) int64 {
	if s.flow[a]+s.fixLink[s.g.arcs[a].link] > 1 {
		return s.share.link
	}
	return 0
}

func (s *solver) nodeRefund(v int32) int64 {
	if s.uses[v]+s.fixNode[v] > 1 {
		return s.share.node
	}
	return 0
}

// augment sends one unit along the way that search found.
func (s *solver) augment() {
	for x := 2*s.tree.from + 1; x != 2*s.t; {
		switch via := s.states[x].via; {
		case via >= 0:
			if s.flow[via] == 0 && !slices.Contains(s.flows, via) {
				s.flows = append(s.flows, via)
			}
			s.flow[via]++
			s.hops++
			x = 2 * s.g.arcs[via].to
		case via == crossing && x&1 == 0:
			s.uses[x>>1]++
			x |= 1
		case via == crossing:
			s.uses[x>>1]--
			x &^= 1
		default:
			a := takeBack(via)
			s.flow[a]--
			s.hops--
			x = 2*s.g.info[a].from + 1
		}
	}
	s.threadFlows()
}

// threadFlows lists by node the arcs with flow that leave it.
func (s *solver) threadFlows() {
	for _, a := range s.flows {
		s.outHead[s.g.info[a].from] = -1
	}
	s.nextOut = slices.Grow(s.nextOut[:0], len(s.flows))[:len(s.flows)]
	for i, a := range s.flows {
		from := s.g.info[a].from
		s.nextOut[i], s.outHead[from] = s.outHead[from], int32(i)
	}
}
