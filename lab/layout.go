package lab

import (
	"math"

	"x0tta6bl4/mesh"
)

// place is where a node is drawn; both numbers are from 0 to 1, y downwards.
type place struct{ x, y float64 }

// places says where to draw the nodes of a map: where they are on earth if that is known of all, else as springs and
// charges would arrange them. The same map is always drawn the same.
func (m *Map) places() []place {
	at := make([]place, len(m.Nodes))
	for i, n := range m.Nodes {
		p, ok := m.Places[n]
		if !ok {
			return fit(m.springs())
		}
		// The Mercator projection keeps angles, as people know maps.
		lat := math.Max(-85, math.Min(85, p[0])) * math.Pi / 180
		at[i] = place{p[1], -math.Log(math.Tan(math.Pi/4+lat/2)) * 180 / math.Pi}
	}
	return fit(at)
}

// springs arranges the nodes by the method of Fruchterman and Reingold (Graph Drawing by Force-directed Placement, 1991):
// links pull, all nodes push each other, and less and less movement is allowed.
func (m *Map) springs() []place {
	n := len(m.Nodes)
	at := make([]place, n)
	index := map[mesh.NodeID]int{}
	for i, id := range m.Nodes {
		turn := 2 * math.Pi * float64(i) / float64(n)
		at[i] = place{math.Cos(turn), math.Sin(turn)}
		index[id] = i
	}
	const rounds = 400
	ideal := 2 / math.Sqrt(float64(n))
	for round := range rounds {
		force := make([]place, n)
		push := func(i, j int, f float64) {
			dx, dy := at[i].x-at[j].x, at[i].y-at[j].y
			d := math.Max(math.Hypot(dx, dy), 1e-6)
			force[i].x += dx / d * f
			force[i].y += dy / d * f
			force[j].x -= dx / d * f
			force[j].y -= dy / d * f
		}
		apart := func(i, j int) float64 {
			return math.Max(math.Hypot(at[i].x-at[j].x, at[i].y-at[j].y), 1e-3)
		}
		for i := range n {
			for j := range i {
				push(i, j, ideal*ideal/apart(i, j))
			}
		}
		for _, l := range m.Links {
			i, j := index[l.A], index[l.B]
			d := apart(i, j)
			push(i, j, -d*d/ideal)
		}
		most := 0.2 * (1 - float64(round)/rounds)
		for i := range at {
			if f := math.Hypot(force[i].x, force[i].y); f > 0 {
				step := math.Min(f, most) / f
				at[i].x += force[i].x * step
				at[i].y += force[i].y * step
			}
		}
	}
	return at
}

// fit scales places into the square from 0 to 1, keeping their shape.
func fit(at []place) []place {
	low, high := place{math.Inf(1), math.Inf(1)}, place{math.Inf(-1), math.Inf(-1)}
	for _, p := range at {
		low = place{math.Min(low.x, p.x), math.Min(low.y, p.y)}
		high = place{math.Max(high.x, p.x), math.Max(high.y, p.y)}
	}
	size := math.Max(math.Max(high.x-low.x, high.y-low.y), 1e-9)
	for i, p := range at {
		at[i] = place{0.5 + (p.x-(low.x+high.x)/2)/size, 0.5 + (p.y-(low.y+high.y)/2)/size}
	}
	return at
}
