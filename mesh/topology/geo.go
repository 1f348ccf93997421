package topology

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// maxScatter bounds the maps that compare all pairs of places.
const maxScatter = 5000

// field is the region in which places are drawn, degrees, and how many of its nearest each is joined to.
type field struct {
	lat, lon, height, width float64
	near                    int
}

// region is 1,000 km wide: one to five milliseconds of fibre between its ends. Joined to four nearest, the nodes have
// about five links each.
var region = field{lat: 45, lon: 2, height: 9, width: 14, near: 4}

// county is 200 km wide; the maps of geometric:N, which have about four links for each node.
var county = field{lat: 50, lon: 10, height: 1.8, width: 2.8, near: 3}

// parseGeo reads N[:SEED], with seed 1 if there is none.
func parseGeo(spec, arg string) (n int, seed uint64, err error) {
	count, seeds, given := strings.Cut(arg, ":")
	seed = 1
	if given {
		seed, err = strconv.ParseUint(seeds, 10, 64)
	}
	n, err2 := strconv.Atoi(count)
	if err != nil || err2 != nil || n < 2 || n > maxScatter {
		return 0, 0, fmt.Errorf("%w: %q: write geo:N:SEED with N from 2 to %d and a whole number as seed, such as geo:40:1", ErrSpec, spec, maxScatter)
	}
	return n, seed, nil
}

// scatter places the nodes at random in f and joins each to its nearest; parts that stay apart are joined where they
// come closest to the part of the first node. The same source gives the same map on every machine and in every version:
// only the raw numbers of PCG are used, which its algorithm fixes, and no product is fused into a sum.
func (m *Map) scatter(f field, source *rand.PCG) {
	unit := func() float64 { return float64(source.Uint64()<<11>>11) / (1 << 53) }
	for i := range m.Nodes {
		n := &m.Nodes[i]
		n.Lat = f.lat + float64(f.height*unit())
		n.Lon = f.lon + float64(f.width*unit())
		n.Located = true
	}
	joined := map[[2]int]bool{}
	join := func(a, b int) {
		if key := [2]int{min(a, b), max(a, b)}; a != b && !joined[key] {
			joined[key] = true
			m.Links = append(m.Links, Link{A: key[0], B: key[1], Quality: 1, Delay: fibreDelay(m.Nodes[a], m.Nodes[b], wireFloor)})
		}
	}
	for i := range m.Nodes {
		for _, j := range m.nearest(i, f.near) {
			join(i, j)
		}
	}
	for part := m.Components(Broken{}); ; part = m.Components(Broken{}) {
		i := slices.IndexFunc(part, func(p int) bool { return p > 0 })
		if i < 0 {
			return
		}
		join(m.closest(part, part[i]))
	}
}

// closest returns the two nodes, one in part 0 and one in another, that are nearest to each other.
func (m *Map) closest(part []int, other int) (a, b int) {
	best := math.Inf(1)
	for i := range m.Nodes {
		if part[i] != other {
			continue
		}
		for j := range m.Nodes {
			if d := m.apart(i, j); part[j] == 0 && d < best {
				a, b, best = i, j, d
			}
		}
	}
	return a, b
}

// apart is the square of the distance in degrees, good enough to compare.
func (m *Map) apart(i, j int) float64 {
	a, b := m.Nodes[i], m.Nodes[j]
	dy, dx := a.Lat-b.Lat, (a.Lon-b.Lon)*0.63
	return float64(dx*dx) + float64(dy*dy)
}

func (m *Map) nearest(i, k int) []int {
	type near struct {
		d float64
		n int
	}
	var best []near
	for j := range m.Nodes {
		if j == i {
			continue
		}
		d := m.apart(i, j)
		if len(best) == k && d >= best[k-1].d {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, d, func(n near, d float64) int { return cmp.Compare(n.d, d) })
		best = slices.Insert(best, at, near{d, j})
		best = best[:min(len(best), k)]
	}
	out := make([]int, len(best))
	for x, n := range best {
		out[x] = n.n
	}
	return out
}
