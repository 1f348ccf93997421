package campaign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

// Case is one simulation, whole: what it is run with, and nothing drawn any more but by its seed.
type Case struct {
	Seed     uint64
	Map      *topology.Map
	Faults   []fault.Fault
	Liars    []mesh.NodeID
	Flows    []sim.Pair
	Duration time.Duration
}

// The times of a case.
const (
	duration = 20 * time.Second
	first    = 7 * time.Second // no fault is earlier: the mesh has come together, and has been counted on for a while
	last     = 15 * time.Second
	packet   = 10 * time.Millisecond

	slandered = 0.02
)

// draw makes the case of a seed: a map of least to most nodes on which every node has two ways to every other, mostly one to
// four faults, sometimes members that lie and then lose what they forward, and three flows, which the faults mostly concern.
func draw(seed uint64, least, most int) *Case {
	r := rand.New(rand.NewPCG(seed, 0x63616d706169676e)) // #nosec G404 -- seeded so that a case can be repeated
	c := &Case{Seed: seed, Duration: duration, Map: drawMap(r, least+r.IntN(most-least+1))}
	c.Map.Name = fmt.Sprintf("campaign-%d", seed)
	for range 3 {
		a, b := r.IntN(len(c.Map.Nodes)), r.IntN(len(c.Map.Nodes)-1)
		if b >= a {
			b++
		}
		c.Flows = append(c.Flows, sim.Pair{From: c.Map.Nodes[a].ID, To: c.Map.Nodes[b].ID})
	}
	if r.IntN(8) == 0 {
		c.drawLiars(r)
	}
	faults := 1
	if r.IntN(2) == 0 {
		faults += r.IntN(4)
	}
	for range faults {
		c.Faults = append(c.Faults, c.drawFault(r))
	}
	slices.SortStableFunc(c.Faults, func(a, b fault.Fault) int { return int(a.At - b.At) })
	return c
}

// drawMap makes a map of about n nodes that no single node or link cuts in two.
func drawMap(r *rand.Rand, n int) *topology.Map {
	var m *topology.Map
	switch r.IntN(4) {
	case 0:
		m, _ = topology.Builtin(fmt.Sprintf("geo:%d:%d", n, r.Uint32()))
	case 1:
		rows := 2 + r.IntN(3)
		m, _ = topology.Builtin(fmt.Sprintf("grid:%dx%d", rows, max(n/rows, 2)))
	case 2:
		m, _ = topology.Builtin(fmt.Sprintf("ring:%d", n))
		for range 1 + r.IntN(n/2) {
			join(m, r.IntN(n), r.IntN(n))
		}
	default:
		m = ears(r, n)
	}
	for i := range m.Links {
		if l := &m.Links[i]; l.Delay == topology.DefaultDelay {
			l.Delay = time.Duration(500+r.IntN(9500)) * time.Microsecond
		}
	}
	secure(r, m)
	return m
}

// join adds a link, unless there is one or the ends are one.
func join(m *topology.Map, a, b int) {
	if a != b && len(m.LinksBetween(a, b)) == 0 {
		m.Links = append(m.Links, topology.Link{A: a, B: b, Delay: topology.DefaultDelay, Quality: 1})
	}
}

// ears makes a sparse map: a ring, and ways of new nodes from one node to another until there are n (an ear decomposition).
func ears(r *rand.Rand, n int) *topology.Map {
	ring := 3 + r.IntN(n-2)
	m, _ := topology.Builtin(fmt.Sprintf("ring:%d", ring))
	for len(m.Nodes) < n {
		at := len(m.Nodes)
		a, b := r.IntN(at), r.IntN(at-1)
		if b >= a {
			b++
		}
		ear := 1 + r.IntN(min(n-at, 4))
		for i := range ear {
			name := fmt.Sprintf("n%d", at+i+1)
			m.Nodes = append(m.Nodes, topology.Node{ID: mesh.MustNodeID(name), Label: name})
			join(m, a, at+i)
			a = at + i
		}
		join(m, a, b)
	}
	return m
}

// secure adds links until no node's loss parts the others.
func secure(r *rand.Rand, m *topology.Map) {
	for i := 0; i < len(m.Nodes); i++ {
		part := m.Components(topology.Broken{Nodes: []int{i}})
		one, other := pick(r, part, 0), pick(r, part, 1)
		if other < 0 {
			continue
		}
		join(m, one, other)
		i-- // once more
	}
}

// pick returns one of the nodes of a part, -1 if it has none.
func pick(r *rand.Rand, parts []int, part int) int {
	var in []int
	for i, p := range parts {
		if p == part {
			in = append(in, i)
		}
	}
	if len(in) == 0 {
		return -1
	}
	return in[r.IntN(len(in))]
}

// kinds are what breaks.
var kinds = []fault.Kind{fault.Cut, fault.Blackhole, fault.Oneway, fault.Greydrop, fault.Loss, fault.Kill, fault.Freeze, fault.Flap, fault.Partition}

// drawFault draws a fault, three of four on the shortest way of a flow.
func (c *Case) drawFault(r *rand.Rand) fault.Fault {
	f := fault.Fault{Kind: kinds[r.IntN(len(kinds))], At: first + drawTime(r, last-first), For: drawTime(r, 6*time.Second)}
	if r.IntN(4) == 0 {
		f.For = 0 // until the end
	}
	f.Param = f.Kind.Builtin()
	switch {
	case f.Kind == fault.Greydrop:
		f.Param.P = []float64{0.1, 0.3, 1}[r.IntN(3)]
	case f.Kind == fault.Loss:
		f.Param.P = []float64{0.05, 0.2, 0.4}[r.IntN(3)]
	case f.Kind == fault.Flap:
		f.Param.Up, f.Param.Down = 400*time.Millisecond+drawTime(r, 2*time.Second), 50*time.Millisecond+drawTime(r, time.Second)
	case f.Kind == fault.Partition:
		f.Sides = c.sides(r)
		return f
	}
	way := c.way(r)
	if f.Kind.OnNode() {
		if n := r.IntN(len(c.Map.Nodes)); r.IntN(4) == 0 || len(way) < 3 {
			f.Target.A = c.Map.Nodes[n].ID
		} else {
			f.Target.A = c.Map.Nodes[way[1+r.IntN(len(way)-2)]].ID
		}
		return f
	}
	l := c.Map.Links[r.IntN(len(c.Map.Links))]
	if r.IntN(4) > 0 {
		i := r.IntN(len(way) - 1)
		l.A, l.B = way[i], way[i+1]
	}
	if r.IntN(2) == 0 {
		l.A, l.B = l.B, l.A
	}
	f.Target.A, f.Target.B = c.Map.Nodes[l.A].ID, c.Map.Nodes[l.B].ID
	return f
}

// drawTime draws whole milliseconds, 1 at least.
func drawTime(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(1+r.Int64N(most.Milliseconds())) * time.Millisecond
}

// way returns the nodes of the shortest way of one of the flows.
func (c *Case) way(r *rand.Rand) []int {
	p := c.Flows[r.IntN(len(c.Flows))]
	a, _ := c.Map.Find(p.From)
	b, _ := c.Map.Find(p.To)
	return c.Map.ShortestPath(a, b, topology.Broken{})
}

// sides parts a third of the nodes, which lie together, from the others.
func (c *Case) sides(r *rand.Rand) (s fault.Sides) {
	hops := c.Map.Hops(r.IntN(len(c.Map.Nodes)), topology.Broken{})
	order := make([]int, len(hops))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return hops[a] - hops[b] })
	for i, n := range order {
		side := 0
		if i >= len(order)/3 {
			side = 1
		}
		s[side] = append(s[side], c.Map.Nodes[n].ID)
	}
	return s
}

// drawLiars makes one or two relays lie from the beginning, and lose all that they forward from some time on.
func (c *Case) drawLiars(r *rand.Rand) {
	at := first + drawTime(r, last-first)
	for range 1 + r.IntN(2) {
		id := c.Map.Nodes[r.IntN(len(c.Map.Nodes))].ID
		if !slices.Contains(c.Liars, id) {
			c.Liars = append(c.Liars, id)
			c.Faults = append(c.Faults, fault.Fault{Kind: fault.Greydrop, Target: fault.Target{A: id}, Param: fault.Param{P: 1}, At: at})
		}
	}
}

// slander returns of how many packets liars say that they failed: half of the liars draw traffic and keep quiet.
func (c *Case) slander() float64 {
	if len(c.Liars) == 0 || c.Seed%2 == 0 {
		return 0
	}
	return slandered
}

// config is what a case is run with.
func (c *Case) config() sim.Config {
	return sim.Config{
		Map: c.Map, Seed: c.Seed, Duration: c.Duration, Faults: c.Faults, Liars: c.Liars, Between: c.Flows, Packet: packet,
		Protect: true, Promises: true, Slander: c.slander(),
	}
}
