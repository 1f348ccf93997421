package sim

import (
	"math"
	"time"

	"x0tta6bl4/core/path"
)

// element is a link or a node, and what the mesh can know of it.
type element struct {
	bad   bool
	since time.Duration // when it went bad
	known time.Duration // from when on all that concerns it is settled again, if it is not bad
	falls int           // how often it went bad
}

// How long after an element works again everybody counts on it: as long as announcements and measurements take, and the
// probation of a link that fell before; longer where its session was lost with it.
const (
	knownAfter   = 3 * time.Second
	redialAfter  = settled
	sessionLives = 6 * time.Second // a fault of this length leaves the session of a link: idleTimeout less keepAlive and a margin
	probation    = 100 * time.Millisecond
	mostFalls    = 9
)

// turn notes whether an element is bad now, and reports whether it has just become so, or works again. A process that ended
// takes its sessions along.
func (e *element) turn(now time.Duration, bad, ended bool) (struck, mended bool) {
	if bad == e.bad {
		return false, false
	}
	if e.bad = bad; bad {
		e.since = now
		e.falls = min(e.falls+1, mostFalls)
		return true, false
	}
	e.known = now + knownAfter + probation<<e.falls
	if ended || now-e.since > sessionLives {
		e.known = now + redialAfter
	}
	return false, true
}

func (e *element) steady(now time.Duration) bool { return !e.bad && e.known <= now }

// elements are the links and nodes of a world.
type elements struct {
	links, nodes []element
	ended        []bool        // by node: its process has ended since it was last well
	bad          int           // how many are
	one          part          // of those that are, the last
	known        time.Duration // from when on all others are counted on
}

func newElements(w *World) elements {
	x := elements{links: make([]element, len(w.wires)), nodes: make([]element, len(w.nodes)), ended: make([]bool, len(w.nodes))}
	for i := range x.links {
		x.links[i].known = startTime
	}
	for i := range x.nodes {
		x.nodes[i].known = startTime
	}
	return x
}

// startTime is how long a mesh has to come together.
const startTime = 5 * time.Second

// part names an element.
type part struct {
	node  bool
	index int
}

// update takes over the state of the network, and returns what it struck since the last time, and how much works again.
func (x *elements) update(w *World) (struck []part, mended int) {
	now := time.Duration(w.at)
	for i, l := range w.wires {
		hit, well := x.links[i].turn(now, l.silent() || l.loses() || len(l.extra.active) > 0, false)
		if mended += btoi(well); hit {
			struck = append(struck, part{false, i})
		}
	}
	for i, s := range w.nodes {
		x.ended[i] = x.ended[i] || s.ended()
		hit, well := x.nodes[i].turn(now, s.mute() || s.drops > 0 || s.clock != 0, x.ended[i])
		if mended += btoi(well); hit {
			struck = append(struck, part{true, i})
		} else if well {
			x.ended[i] = false
		}
	}
	x.count()
	return struck, mended
}

// count takes stock of what is bad.
func (x *elements) count() {
	x.bad, x.known = 0, 0
	for kind, all := range [2][]element{x.links, x.nodes} {
		for i := range all {
			if e := &all[i]; e.bad {
				x.bad, x.one = x.bad+1, part{kind == 1, i}
			} else {
				x.known = max(x.known, e.known)
			}
		}
	}
}

// never is later than any run ends.
const never = time.Duration(math.MaxInt64)

// silent reports whether hellos do not cross the link, in a direction or both.
func (l *wireLink) silent() bool { return l.down > 0 || l.block != [2]int{} }

// ended reports whether a process that ran does not any more; mute whether it says nothing.
func (s *simNode) ended() bool { return s.boots > 0 && !s.alive }
func (s *simNode) mute() bool  { return s.ended() || s.frozen }

// steady reports whether all have counted on a link, and on both of its ends, for long enough.
func (x *elements) steady(l *wireLink, now time.Duration) bool {
	return x.links[l.index].steady(now) && x.nodes[l.ends[0].node.index].steady(now) && x.nodes[l.ends[1].node.index].steady(now)
}

// reaches reports whether a way of steady links that a frame has labels enough for leads from one node to another without one
// part.
func (x *elements) reaches(w *World, from, to *simNode, now time.Duration, without part) bool {
	return x.reachesIn(w, from, to, now, without, path.MaxLongHops)
}

// reachesIn is reaches for ways of at most so many links.
func (x *elements) reachesIn(w *World, from, to *simNode, now time.Duration, without part, most int) bool {
	if !x.nodes[from.index].steady(now) || !x.nodes[to.index].steady(now) {
		return false
	}
	hops := make([]int, len(w.nodes)) // one more than that; 0 = not reached
	hops[from.index] = 1
	queue := []*simNode{from}
	for i := 0; i < len(queue) && hops[to.index] == 0; i++ {
		s := queue[i]
		for _, e := range s.ends {
			n := e.other().node
			if hops[n.index] == 0 && x.steady(e.link, now) && without != (part{true, n.index}) && without != (part{false, e.link.index}) {
				hops[n.index] = hops[s.index] + 1
				queue = append(queue, n)
			}
		}
	}
	return hops[to.index] > 0 && hops[to.index] <= most+1
}

// nothing is left out.
var nothing = part{true, -1}

// twice reports whether two ways of steady links that share no relay lead from one node to another: by Menger's theorem, if
// what remains without any one relay, and without any one link between the two, still holds a way. Ways of more than
// path.MaxHops links do not count: a source prefers a shorter one alone to two of these, and says that it has but one.
func (x *elements) twice(w *World, from, to *simNode, now time.Duration) bool {
	for i := range w.nodes {
		if i != from.index && i != to.index && !x.reachesIn(w, from, to, now, part{true, i}, path.MaxHops) {
			return false
		}
	}
	for _, e := range from.ends {
		if e.other().node == to && !x.reachesIn(w, from, to, now, part{false, e.link.index}, path.MaxHops) {
			return false
		}
	}
	return x.reachesIn(w, from, to, now, nothing, path.MaxHops)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
