package node

import (
	"slices"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// Detours are looked for when the topology has been quiet for a moment, and else not very late: they are for the next failure,
// not for this one.
const (
	detourQuiet = 250 * time.Millisecond
	detourLate  = 3 * time.Second

	maxDetours  = 256 // of a node, but one for each link at least
	maxSearches = 32  // in one step; the next comes spfPause later
)

// DetoursSet gives the ways around a link for frames of others; they take the place of those given before.
type DetoursSet struct {
	Label   mesh.Label
	Detours []mesh.Detour // ascending by Behind; not modified from then on
}

func (DetoursSet) reflexEvent() {}

// detourPlan is when to look for detours.
type detourPlan struct {
	version uint64      // of the database, that was looked at
	first   time.Time   // of the changes that nobody has looked at; zero: there is none
	at      time.Time   // when that is due; zero: not
	from    mesh.Label  // the first link that has not had its turn
	graph   *path.Graph // that all links had their turn in; nil: none
	begun   *path.Graph // that the first had its turn in
}

// stir notes that detours may be others now.
func (p *detourPlan) stir(now time.Time) {
	if p.first.IsZero() {
		p.first = now
	}
	p.at = sooner(now.Add(detourQuiet), p.first.Add(detourLate))
}

func (p *detourPlan) due(now time.Time) bool { return !p.at.IsZero() && !now.Before(p.at) }

// watchTopology plans to look for detours when the topology has changed. With one link there is no way around it.
func (c *Control) watchTopology(now time.Time) {
	if v := c.db.Version(); v != c.detours.version {
		c.detours.version = v
		if c.forks() {
			c.detours.stir(now)
		}
	}
}

func (c *Control) forks() bool {
	live := 0
	for _, l := range c.links {
		if l.via != 0 {
			live++
		}
	}
	return live > 1
}

// settleDetours looks for the detours of links whose own no longer serve, and tells the fast loop of those that are others. A
// link that the topology does not have now keeps its own: they are for the frames that still want it.
func (c *Control) settleDetours(now time.Time) {
	p := &c.detours
	if !p.due(now) {
		return
	}
	graph, most, searches := c.chart().graph, max(1, maxDetours/max(len(c.links), 1)), 0
	if graph == p.graph {
		p.first, p.at = time.Time{}, time.Time{} // what changed is no matter of paths, such as a suspicion
		return
	}
	if p.from == 0 {
		p.begun = graph
	}
	for _, l := range c.links {
		if l.via == 0 || l.label < p.from || graph.Stands(&l.around, c.cfg.Self, most) {
			continue
		}
		if searches == maxSearches {
			p.from, p.at = l.label, now.Add(spfPause)
			return
		}
		searches++
		if found, ok := graph.Around(c.cfg.Self, l.label, most); ok {
			c.useDetours(l, found)
		}
	}
	p.from, p.first, p.at, p.graph = 0, time.Time{}, time.Time{}, graph
	if p.begun != graph { // it changed between two turns
		p.graph = nil
		p.stir(now)
	}
}

func (c *Control) useDetours(l *neighbourLink, found path.Around) {
	was := l.around.Detours
	l.around = found
	if !slices.EqualFunc(was, found.Detours, sameDetour) {
		c.out.Reflex = append(c.out.Reflex, DetoursSet{l.label, found.Detours})
	}
}

func sameDetour(a, b mesh.Detour) bool {
	return a.Behind == b.Behind && slices.Equal(a.Labels, b.Labels)
}
