package node

import (
	"maps"
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// Observation is what one node announces of its links with another, as this node's database holds it.
type Observation struct {
	By, Of  mesh.NodeID
	Since   time.Time    // this node has held such an announcement without a break since then; zero without Config.Observe
	Quality mesh.Quality // of the cheapest of the links, those that Of confirms first
	Cost    mesh.Cost
	Suspect bool
	Mutual  bool // Of announces the link too; one that it does not is no way to anywhere
}

// sighting is since when a node has announced a link with a neighbour.
type sighting struct {
	neighbour mesh.NodeID
	since     time.Time
}

// observed is what a Control notes of others beside what it decides by.
type observed struct {
	seen     map[mesh.NodeID][]sighting // by announcer, ascending by neighbour; no more than the database holds
	accepted [2]uint64                  // records and LSAs of others
}

// witness notes which neighbours a node announces from now on.
func (c *Control) witness(now time.Time, n mesh.NodeID) {
	if !c.cfg.Observe {
		return
	}
	links := c.db.Links(n)
	if len(links) == 0 {
		delete(c.observed.seen, n)
		return
	}
	old := c.observed.seen[n]
	next := make([]sighting, 0, len(links))
	for _, l := range links {
		next = append(next, sighting{l.Neighbour, now})
	}
	slices.SortFunc(next, func(a, b sighting) int { return a.neighbour.Compare(b.neighbour) })
	next = slices.CompactFunc(next, func(a, b sighting) bool { return a.neighbour == b.neighbour })
	for i := range next {
		if at, ok := sightingOf(old, next[i].neighbour); ok {
			next[i].since = at
		}
	}
	if c.observed.seen == nil {
		c.observed.seen = map[mesh.NodeID][]sighting{}
	}
	c.observed.seen[n] = next
}

func sightingOf(s []sighting, n mesh.NodeID) (time.Time, bool) {
	i, ok := slices.BinarySearchFunc(s, n, func(s sighting, n mesh.NodeID) int { return s.neighbour.Compare(n) })
	if !ok {
		return time.Time{}, false
	}
	return s[i].since, true
}

// lapse forgets what was noted of announcements that ended.
func (c *Control) lapse() {
	for _, n := range slices.SortedFunc(maps.Keys(c.observed.seen), mesh.NodeID.Compare) {
		if len(c.db.Links(n)) == 0 {
			delete(c.observed.seen, n)
		}
	}
}

// countAccepted counts an announcement that was checked and found new.
func (c *Control) countAccepted(k lsdb.Kind, o lsdb.Outcome) {
	if len(o.Flood) > 0 && k >= lsdb.KindRecord && k <= lsdb.KindLSA {
		c.observed.accepted[k-lsdb.KindRecord]++
	}
}

// Accepted returns how many records and link-state announcements of others were taken into the database.
func (c *Control) Accepted() (records, lsas uint64) {
	return c.observed.accepted[0], c.observed.accepted[1]
}

// Observations returns what every node announces of its links with others, ascending by announcer, then by neighbour.
func (c *Control) Observations() []Observation {
	return c.observations(func(mesh.NodeID) bool { return true })
}

// ObserversOf returns what others announce of their links with n, ascending by announcer.
func (c *Control) ObserversOf(n mesh.NodeID) []Observation {
	return c.observations(func(of mesh.NodeID) bool { return of == n })
}

func (c *Control) observations(want func(of mesh.NodeID) bool) (all []Observation) {
	for by, links := range c.db.Announced() {
		from := len(all)
		for _, l := range links {
			if !want(l.Neighbour) {
				continue
			}
			since, _ := sightingOf(c.observed.seen[by], l.Neighbour)
			o := Observation{by, l.Neighbour, since, l.Quality, l.Cost, l.Suspect, c.db.Mutual(by, l)}
			i := slices.IndexFunc(all[from:], func(x Observation) bool { return x.Of == o.Of })
			switch {
			case i < 0:
				all = append(all, o)
			case o.better(all[from+i]):
				all[from+i] = o
			}
		}
		slices.SortFunc(all[from:], func(a, b Observation) int { return a.Of.Compare(b.Of) })
	}
	return all
}

// better reports whether o rather than p, a parallel link of the same two nodes, says how well they are linked.
func (o Observation) better(p Observation) bool {
	switch {
	case o.Mutual != p.Mutual:
		return o.Mutual
	case o.Suspect != p.Suspect:
		return !o.Suspect
	}
	return o.Cost < p.Cost
}

// clockGuess tells how far a neighbour's clock is ahead of ours, from the dates of its own announcements. Each comes some
// time after it was made, so the one that came soonest is the nearest; only the last few count, for clocks are set. Where a
// later announcement bears an earlier date the neighbour's clock was set back, and what came before tells nothing any more.
type clockGuess struct {
	ahead     [4]time.Duration
	n         int
	came      int       // announcements
	boot, seq uint64    // of the latest
	date      time.Time // and its date
}

// add takes an announcement's date, which is d ahead of when it came. One that is not later than all before was passed
// on, and tells nothing.
func (g *clockGuess) add(v lsdb.Verdict, d time.Duration) {
	if g.n > 0 && (v.Boot < g.boot || v.Boot == g.boot && v.Seq <= g.seq) {
		return
	}
	if v.Time.Before(g.date) {
		g.n = 0
	}
	g.boot, g.seq, g.date = v.Boot, v.Seq, v.Time
	g.came++
	g.ahead[g.n%len(g.ahead)] = d
	g.n++
}

func (g *clockGuess) best() (time.Duration, bool) {
	k := min(g.n, len(g.ahead))
	if k == 0 {
		return 0, false
	}
	return slices.Max(g.ahead[:k]), true
}

// dated takes the date of an announcement that came from a connection. Only what a node says of itself counts.
func (c *Control) dated(now time.Time, cn *conn, v lsdb.Verdict) {
	if cn.link != nil && v.Origin == cn.link.neighbour {
		cn.link.clock.add(v, v.Time.Sub(now))
	}
}

// ClockView is how far the clock of a neighbour is ahead of ours, by the dates of its announcements.
type ClockView struct {
	Neighbour mesh.NodeID
	Ahead     time.Duration // negative: behind; short by what the announcement took to get here
	Fresh     bool          // one was made while the link was there: the first may have lain in a database
}

// Clocks returns what is known of the clocks of the neighbours, ascending by neighbour.
func (c *Control) Clocks() []ClockView {
	var vs []ClockView
	for _, l := range c.links {
		ahead, ok := l.clock.best()
		if !ok {
			continue
		}
		i, found := slices.BinarySearchFunc(vs, l.neighbour, func(v ClockView, n mesh.NodeID) int { return v.Neighbour.Compare(n) })
		if found {
			vs[i].Ahead, vs[i].Fresh = max(vs[i].Ahead, ahead), vs[i].Fresh || l.clock.came > 1
			continue
		}
		vs = slices.Insert(vs, i, ClockView{l.neighbour, ahead, l.clock.came > 1})
	}
	return vs
}

// ForgetClocks drops what was learnt of the neighbours' clocks, as when our own was set.
func (c *Control) ForgetClocks() {
	for _, l := range c.links {
		l.clock = clockGuess{}
	}
}

// Reachable returns the nodes to which a path of announced links leads from here, ascending, this one left out.
func (c *Control) Reachable() []mesh.NodeID {
	edges := c.db.Edges() // ascending by From
	seen := map[mesh.NodeID]bool{c.cfg.Self: true}
	queue := []mesh.NodeID{c.cfg.Self}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		i, _ := slices.BinarySearchFunc(edges, from, func(e mesh.Edge, n mesh.NodeID) int { return e.From.Compare(n) })
		for ; i < len(edges) && edges[i].From == from; i++ {
			if to := edges[i].To; !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
		}
	}
	delete(seen, c.cfg.Self)
	return slices.SortedFunc(maps.Keys(seen), mesh.NodeID.Compare)
}

// Shortest returns the cheapest path to each of the nodes, from the topology of this moment; none for one that cannot be
// reached. The topology is looked at once for all of them.
func (c *Control) Shortest(to []mesh.NodeID) map[mesh.NodeID]mesh.Path {
	g := path.NewGraph(c.db.Edges())
	found := make(map[mesh.NodeID]mesh.Path, len(to))
	for _, n := range to {
		if ps := g.Disjoint(c.cfg.Self, n, 1).Paths; len(ps) > 0 {
			found[n] = ps[0]
		}
	}
	return found
}
