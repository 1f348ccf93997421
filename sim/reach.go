package sim

// reacher answers what is physically possible now, in memory of its own: a churning mesh asks many times a second.
type reacher struct {
	first []int32 // out[first[n]:first[n+1]] are the link ends of node n
	out   []*wireEnd
	dist  []int32 // of the last search, by node; -1 = not reached
	queue []int32
	from  int // of the last search; -1 = something changed since
}

func (r *reacher) init(w *World) {
	r.first = make([]int32, len(w.nodes)+1)
	for i, s := range w.nodes {
		r.out = append(r.out, s.ends...)
		r.first[i+1] = int32(len(r.out)) // #nosec G115 -- a map has fewer links
	}
	r.dist = make([]int32, len(w.nodes))
	r.from = -1
}

// works reports whether a link carries anything in both directions: one that does not is no way to the protocol.
func (e *wireEnd) works() bool {
	x := &e.link.extra
	return e.passes() && e.other().passes() && !e.other().node.frozen && x.loss < 1 && (x.mtu == 0 || x.mtu >= leastMTU)
}

// leastMTU is what an IPv6 link carries (RFC 8200 §5); a link that carries less is none for a mesh.
const leastMTU = 1280

// search fills dist from one node.
func (r *reacher) search(w *World, from int) {
	for i := range r.dist {
		r.dist[i] = -1
	}
	r.from = from
	if !w.nodes[from].runs() {
		return
	}
	r.queue = r.visit(r.queue[:0], from, 0)
	r.spread(0)
}

func (r *reacher) visit(q []int32, n int, hops int32) []int32 {
	r.dist[n] = hops
	return append(q, int32(n)) // #nosec G115 -- an index
}

// spread goes on from what is in the queue behind at.
func (r *reacher) spread(at int) {
	for ; at < len(r.queue); at++ {
		n := r.queue[at]
		for _, e := range r.out[r.first[n]:r.first[n+1]] {
			if to := e.other().node.index; r.dist[to] < 0 && e.works() {
				r.queue = r.visit(r.queue, to, r.dist[n]+1)
			}
		}
	}
}

// hops returns the links of the shortest way between two nodes, -1 if there is none.
func (r *reacher) hops(w *World, a, b int) int {
	if r.from != a {
		r.search(w, a)
	}
	return int(r.dist[b])
}

// parts returns for each node the number of its connected part, -1 for one that does not run; in the memory of part.
func (r *reacher) parts(w *World, part []int) []int {
	r.from = -1
	for i := range r.dist {
		r.dist[i] = -1
	}
	count := 0
	for i, s := range w.nodes {
		if !s.runs() || r.dist[i] >= 0 {
			continue
		}
		r.queue = r.visit(r.queue[:0], i, 0)
		r.spread(0)
		count++
		for _, n := range r.queue {
			r.dist[n] = int32(count) // #nosec G115 -- fewer than nodes
		}
	}
	for i, s := range w.nodes {
		if part[i] = -1; s.runs() {
			part[i] = int(r.dist[i]) - 1
		}
	}
	return part
}
