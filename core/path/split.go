package path

import "slices"

// split takes the flow apart into paths, the cheapest first, each as apart from those before as the flow allows,
// and clears it.
func (s *solver) split(units int) [][]int32 {
	total := make([]uint8, len(s.flows))
	for i, a := range s.flows {
		total[i] = s.flow[a]
	}
	paths := make([][]int32, 0, units)
	for range units {
		paths = append(paths, s.extract(total))
	}
	for _, a := range s.flows {
		from := s.g.info[a].from
		s.flow[a], s.outHead[from] = 0, -1
		s.uses[from], s.uses[s.g.arcs[a].to] = 0, 0
	}
	s.flows = s.flows[:0]
	return paths
}

// extract removes one path from the flow: Bellman and Ford's algorithm over the few arcs that carry it.
func (s *solver) extract(total []uint8) []int32 {
	src := s.tree.from
	s.distance[src] = 0
	for again := true; again; {
		again = false
		for i, a := range s.flows {
			from, to := s.g.info[a].from, s.g.arcs[a].to
			if s.flow[a] == 0 || s.distance[from] == infinity {
				continue
			}
			d := s.distance[from] + s.tree.price.of(s.g.arcs[a].weight) + int64(total[i]-s.flow[a])*nodeUnit
			if d < s.distance[to] {
				s.distance[to], s.enter[to] = d, a
				again = true
			}
		}
	}
	var path []int32
	for n := s.t; n != src; n = s.g.info[s.enter[n]].from {
		path = append(path, s.enter[n])
		s.flow[s.enter[n]]--
	}
	for _, a := range s.flows {
		s.distance[s.g.info[a].from], s.distance[s.g.arcs[a].to] = infinity, infinity
	}
	slices.Reverse(path)
	return path
}
