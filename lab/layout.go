package lab

import (
	"math"
	"slices"

	"x0tta6bl4/mesh"
)

// place is where a node is drawn; both numbers are from 0 to 1, y downwards.
type place struct{ x, y float64 }

func (p place) to(o place) float64 { return math.Hypot(p.x-o.x, p.y-o.y) }

// places says where to draw the nodes of a map: where they are on earth if that is known of all and sets them apart, else
// so that the distance on paper is that in hops. The same map is always drawn the same.
func (m *Map) places() []place {
	at := make([]place, len(m.Nodes))
	for i, n := range m.Nodes {
		p, ok := m.Places[n]
		if !ok {
			return apart(fit(m.stress()))
		}
		// The Mercator projection keeps angles, as people know maps.
		lat := math.Max(-85, math.Min(85, p[0])) * math.Pi / 180
		at[i] = place{p[1], -math.Log(math.Tan(math.Pi/4+lat/2)) * 180 / math.Pi}
	}
	if at = fit(at); crowded(at) {
		at = fit(m.stress())
	}
	return apart(at)
}

// How near each other nodes are drawn, where 1 is the whole map.
const (
	leastApart = 0.035
	tooNear    = 0.02
)

// crowded reports whether half of the nodes lie so near another one that nobody could tell them apart: a town beside a
// node on another continent.
func crowded(at []place) bool {
	var near []float64
	for i, p := range at {
		best := math.Inf(1)
		for j, o := range at {
			if i != j {
				best = min(best, p.to(o))
			}
		}
		near = append(near, best)
	}
	slices.Sort(near)
	return len(near) > 2 && near[len(near)/2] < tooNear
}

// apart moves nodes that would touch away from each other, by as little as it takes.
func apart(at []place) []place {
	const rounds = 200
	for range rounds {
		moved := false
		for i := range at {
			for j := range i {
				d := at[i].to(at[j])
				if d >= leastApart {
					continue
				}
				// Nodes at one place part in a direction of their own.
				dx, dy := math.Cos(float64(i)), math.Sin(float64(i))
				if d > 1e-9 {
					dx, dy = (at[i].x-at[j].x)/d, (at[i].y-at[j].y)/d
				}
				half := (leastApart*1.01 - d) / 2
				at[i], at[j] = place{at[i].x + dx*half, at[i].y + dy*half}, place{at[j].x - dx*half, at[j].y - dy*half}
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	return fit(at)
}

// stress arranges the nodes so that their distances on paper are those in hops, as well as the plane allows: the
// weighted sum of squared differences is made small by majorisation (Gansner, Koren, North: Graph Drawing by Stress
// Majorization, 2004), one node after the other. It begins with the differences of hops to four far corners.
func (m *Map) stress() []place {
	hops := m.hops()
	n := len(m.Nodes)
	at := make([]place, n)
	first := farthestFrom(hops, 0)
	second := farthestFrom(hops, first)
	third := farthestFrom(hops, first, second)
	fourth := farthestFrom(hops, third)
	for i := range at {
		// A little of the index parts those that all corners see alike.
		turn := 2 * math.Pi * float64(i) / float64(n)
		at[i] = place{hops[first][i] - hops[second][i] + 0.1*math.Cos(turn), hops[third][i] - hops[fourth][i] + 0.1*math.Sin(turn)}
	}
	const rounds = 300
	for range rounds {
		for i := range at {
			var x, y, sum float64
			for j := range at {
				if i == j {
					continue
				}
				want := hops[i][j]
				w := 1 / (want * want)
				d := max(at[i].to(at[j]), 1e-6)
				x += w * (at[j].x + want*(at[i].x-at[j].x)/d)
				y += w * (at[j].y + want*(at[i].y-at[j].y)/d)
				sum += w
			}
			if sum > 0 {
				at[i] = place{x / sum, y / sum}
			}
		}
	}
	return lie(at)
}

// lie turns the picture so that its longer side lies.
func lie(at []place) []place {
	var cx, cy, xx, xy, yy float64
	for _, p := range at {
		cx, cy = cx+p.x/float64(len(at)), cy+p.y/float64(len(at))
	}
	for _, p := range at {
		xx, xy, yy = xx+(p.x-cx)*(p.x-cx), xy+(p.x-cx)*(p.y-cy), yy+(p.y-cy)*(p.y-cy)
	}
	sin, cos := math.Sincos(-math.Atan2(2*xy, xx-yy) / 2) // the main axis of the places
	for i, p := range at {
		at[i] = place{(p.x-cx)*cos - (p.y-cy)*sin, (p.x-cx)*sin + (p.y-cy)*cos}
	}
	return at
}

// hops is how many links lie between every two nodes; those that no way joins are far apart.
func (m *Map) hops() [][]float64 {
	index := map[mesh.NodeID]int{}
	for i, id := range m.Nodes {
		index[id] = i
	}
	out := make([][]float64, len(m.Nodes))
	for i := range out {
		out[i] = make([]float64, len(m.Nodes))
		for j := range out[i] {
			out[i][j] = float64(len(m.Nodes))
		}
		out[i][i] = 0
		for queue := []mesh.NodeID{m.Nodes[i]}; len(queue) > 0; queue = queue[1:] {
			here := out[i][index[queue[0]]]
			for _, o := range m.neighbours(queue[0], damage{}) {
				if k := index[o]; out[i][k] > here+1 {
					out[i][k] = here + 1
					queue = append(queue, o)
				}
			}
		}
	}
	return out
}

// farthestFrom is the node that is farthest from the nearest of some.
func farthestFrom(hops [][]float64, from ...int) (best int) {
	most := -1.0
	for i := range hops {
		near := math.Inf(1)
		for _, f := range from {
			near = min(near, hops[f][i])
		}
		if near > most {
			best, most = i, near
		}
	}
	return best
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
