package sim

import (
	"slices"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// The parts of a bound that core/flow, core/link and core/node decide: see promise.
const (
	probeGap     = 50 * time.Millisecond
	leastAnswer  = 200 * time.Millisecond
	firstAnswer  = time.Second
	followGap    = 20 * time.Millisecond
	mostFollowed = 4
	burstProbes  = 5
	burstGap     = 5 * time.Millisecond
	burstAnswer  = 40 * time.Millisecond
	spfPause     = 20 * time.Millisecond
	underWay     = 300 * time.Millisecond // a packet, at most: 33 links and a detour
	slack        = 2 * time.Millisecond   // signatures, and the grain of turns
)

// doubly reports whether two ways without a common relay can be counted on. What swallows packets is not announced: where
// anything does, two whole ones must be among the paths that the source has; and where two things do, a new set of paths may
// lead to both before anybody has tried it.
func (p *promises) doubly(w *World, f *trafficFlow, now time.Duration) bool {
	n := p.swallowing(w)
	return p.twice(w, f.from, f.to, now) && (n == 0 || n == 1 && p.surveyed(w, f).apart)
}

// served reports whether packets of the protected class arrive as long as nothing new breaks: two ways can be counted on, or one
// that the source has.
func (p *promises) served(w *World, f *trafficFlow, now time.Duration) bool {
	return p.doubly(w, f, now) || p.swallowing(w) <= 1 && p.reaches(w, f.from, f.to, now, nothing) && p.surveyed(w, f).whole > 0
}

// swallowing returns how many links and nodes lose packets behind hellos that pass.
func (p *promises) swallowing(w *World) (n int) {
	for _, l := range w.wires {
		if len(l.extra.active) > 0 {
			n++
		}
	}
	for _, s := range w.nodes {
		if s.drops > 0 {
			n++
		}
	}
	return n
}

// bound returns within which time packets of a flow arrive again after a change now; 0 if nothing is promised.
func (p *promises) bound(w *World, f *trafficFlow, now time.Duration) time.Duration {
	if f.promise.heard == 0 || !p.reaches(w, f.from, f.to, now, nothing) {
		return 0
	}
	s := p.surveyed(w, f)
	silence, own := p.silence(w, f.from)
	f.promise.own = own
	all := silence + w.cfg.Packet + s.slowest + slack
	if !own {
		all += s.slowest + w.cfg.Packet
	}
	if s.whole == 0 {
		if s.swallow > 0 {
			return 0
		}
		far := p.farthest(w, f.from)
		giveUp := max(3*w.cfg.Hello, silence+burstProbes*burstGap+far+burstAnswer)
		return all - silence + giveUp + 2*spfPause + 2*far
	}
	for i := range min(max(s.swallow, p.swallowing(w)), path.DefaultPaths) {
		answer := max(6*s.slowest, leastAnswer)
		if i < s.unknown || i >= s.swallow { // nobody has measured it, or it is not there yet
			answer = max(answer, min(6*s.dearest, firstAnswer))
		}
		all += probeGap + w.cfg.Packet + 2*answer + mostFollowed*max(followGap, s.slowest/2)
	}
	return all
}

// silence returns how long hellos need to tell all that is silent now, and whether that is links of one node only.
func (p *promises) silence(w *World, s *simNode) (d time.Duration, own bool) {
	h, oneway, own := w.cfg.Hello, false, true
	count := make([]int, len(w.nodes))
	for i, l := range w.wires {
		if p.links[i].bad || l.ends[0].node.mute() || l.ends[1].node.mute() {
			oneway = oneway || l.block[0] != l.block[1]
			own = own && (l.ends[0].node == s || l.ends[1].node == s)
			count[l.ends[0].node.index]++
			count[l.ends[1].node.index]++
		}
	}
	late := h / 10
	if p.stood {
		late = h
	}
	d = h*3/2 + late
	if oneway {
		d = 3*h + late + 2*p.slowestLink(w)
	}
	for i, s := range w.nodes {
		if count[i] > 1 && !s.mute() {
			return d + 2*h, own
		}
	}
	return d, own
}

func (p *promises) slowestLink(w *World) (d time.Duration) {
	for _, l := range w.wires {
		d = max(d, l.delay+l.extra.delay)
	}
	return d
}

// slandered reports whether a liar that invents errors relays on each whole path that a source uses.
func (p *promises) slandered(w *World, f *trafficFlow) bool {
	if w.cfg.Slander == 0 {
		return false
	}
	liar := func(n mesh.NodeID) bool { return slices.Contains(w.cfg.Liars, n) }
	for _, st := range f.from.reflex.States(f.to.id) {
		_, silent, swallows := p.walk(w, st.Path)
		if !silent && !swallows && !slices.ContainsFunc(st.Path.Nodes[1:len(st.Path.Labels)], liar) {
			return false
		}
	}
	return true
}

// survey is the set of paths that a source uses.
type survey struct {
	whole   int           // paths on which nothing is bad
	swallow int           // paths on which packets vanish while hellos pass
	unknown int           // of these: those by which no probe was answered yet
	slowest time.Duration // delay, of all
	dearest time.Duration // cost, of all: what the source takes for the delay of a path that it has not measured
	apart   bool          // two of the whole ones share no relay
}

func (p *promises) surveyed(w *World, f *trafficFlow) (s survey) {
	var whole []mesh.Path
	for _, st := range f.from.reflex.States(f.to.id) {
		delay, silent, swallows := p.walk(w, st.Path)
		s.slowest, s.dearest = max(s.slowest, delay), max(s.dearest, time.Duration(st.Path.Cost)*time.Microsecond)
		switch {
		case swallows:
			s.swallow++
			if !st.Answered {
				s.unknown++
			}
		case !silent:
			for _, q := range whole {
				s.apart = s.apart || !slices.ContainsFunc(q.Nodes[1:len(q.Labels)], func(n mesh.NodeID) bool { return slices.Contains(st.Path.Nodes, n) })
			}
			whole = append(whole, st.Path)
		}
	}
	s.whole = len(whole)
	return s
}

// walk follows a path: how long it takes, and whether something on it is silent or swallows.
func (p *promises) walk(w *World, q mesh.Path) (delay time.Duration, silent, swallows bool) {
	for i, label := range q.Labels {
		s := w.byID[q.Nodes[i]]
		j := slices.IndexFunc(s.byLabel, func(l labelled) bool { return l.label == label })
		if j < 0 {
			return delay, silent, !s.mute() // a link that its node has made up, or that a restart has renamed
		}
		e := s.byLabel[j].end
		to := e.other().node
		delay += e.link.delay + e.link.extra.delay
		silent = silent || e.link.silent() || to.mute()
		swallows = swallows || len(e.link.extra.active) > 0 || i < len(q.Labels)-1 && to.drops > 0
	}
	return delay, silent, swallows
}

// farthest returns the delay of the slowest of the fastest ways from a node to the others.
func (p *promises) farthest(w *World, from *simNode) (d time.Duration) {
	delays := make([]time.Duration, len(w.nodes))
	for i := range delays {
		delays[i] = time.Hour
	}
	delays[from.index] = 0
	for changed := true; changed; {
		changed = false
		for _, l := range w.wires {
			for _, e := range l.ends {
				if via := delays[e.node.index] + l.delay; e.works() && e.node.runs() && via < delays[e.other().node.index] {
					delays[e.other().node.index], changed = via, true
				}
			}
		}
	}
	for _, x := range delays {
		if x < time.Hour {
			d = max(d, x)
		}
	}
	return d
}
