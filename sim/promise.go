package sim

import (
	"slices"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/mesh"
)

// How often a flow may take another path: see promise.
const (
	switchesFirst = 4
	switchesEach  = 2
	switchesLossy = 4
	switchesLiar  = 8
)

// promises are those to all flows.
type promises struct {
	elements
	change  time.Duration // the last one of the network
	changes int
	lossy   int             // how many of them were the begin of a loss
	stood   bool            // some process has stood still
	strikes []blow          // of the last knownAfter
	times   []time.Duration // of all strikes
	Promised
}

// blow is when an element was struck.
type blow struct {
	part
	at time.Duration
}

// Promised is how well the promises to flows were kept.
type Promised struct {
	Gap      float64 `json:"gap_ms"`            // the longest after which packets were back, of those with a bound
	Share    float64 `json:"gap_of_bound"`      // the greatest share of its bound that one took
	Guarded  uint64  `json:"guarded_packets"`   // of the protected class that had to arrive
	Control  uint64  `json:"control_packets"`   // of their unprotected twins, in the same time
	Lost     uint64  `json:"control_lost"`      // of those
	Changes  int     `json:"network_changes"`   // beginnings and ends of faults
	Switches int     `json:"switches"`          // from path to path, of all flows
	ByOne    int     `json:"switches_of_one"`   // of that flow which made most
	Swing    float64 `json:"switches_of_bound"` // the greatest share of what it may that one flow made
	Cover
}

// Add takes over what came of another run.
func (p *Promised) Add(q *Promised) {
	p.Gap, p.Share = max(p.Gap, q.Gap), max(p.Share, q.Share)
	p.ByOne, p.Swing = max(p.ByOne, q.ByOne), max(p.Swing, q.Swing)
	p.Guarded, p.Control, p.Lost = p.Guarded+q.Guarded, p.Control+q.Control, p.Lost+q.Lost
	p.Changes, p.Switches = p.Changes+q.Changes, p.Switches+q.Switches
	p.add(&q.Cover)
}

// promise is what one flow is promised now, which is checked if Config.Promises says so. H is the interval of hellos, I that of
// the packets, D the delay of the slowest path of the set in use.
//
// No blackhole. While a way exists of links and nodes that all have counted on for knownAfter, packets arrive again within a
// bound after the last change of the network, and then without a gap that is longer. The bound is the sum of
//
//	silence  what hellos need to see it: 1.5 H and an allowance for late ones, H/10, but H once some process stood still; 3 H,
//	         the allowance and a round trip for a link that is dead in one direction, whose better end hears hellos and
//	         misses their echo; 2 H more where several links of one node fall silent together, which it takes for its own
//	         standstill first
//	probing  for each path of the set that swallows packets behind hellos that pass, and for each link and node anywhere that
//	         does, as a path that is new may lead there, but for no more than a set has: the gap between two probes (50 ms
//	         and I), an answer's time for the first and for the last (six times D, 200 ms at least; if no probe by it was
//	         answered yet six times what the path costs, but 1 s at most), and followGap or half of D for each other one of
//	         those that must stay unanswered (3, and up to 6 after misses of late)
//	news     if no path of the set is whole: the relays must give the link up (3 H, or silence and the five probes of its
//	         burst with their answers), the announcements reach the source, which waits spfPause for more of them, twice
//	travel   the next packet (I), the error that came back to the source (D and I, but for an own link), and the packet's way (D)
//
// Swallowed packets are promised nothing if no path of the set is whole: nobody announces them. A flow that was silent when it had
// no bound gets one as soon as a way is counted on, and has to be back within it.
//
// No loss. A packet of the protected class arrives if two ways without a common relay (of at most 17 links, see twice) existed and
// were counted on when the network was struck last, and all that was struck within knownAfter is one link or one node, not an end of the flow.
// Where something swallows packets, two whole paths without a common relay must be in the set; where two things do, nothing is
// promised. Whatever was before, packets arrive again when nothing has changed for knownAfter and the source has a whole path,
// until something breaks. Nor is anything lost that is sent while one link or relay alone is bad and all others are counted on, if
// there were two ways before or that has been so for knownAfter, unless something else breaks while it is under way, or two members lie.
//
// No oscillation. A flow takes another path at most switchesFirst times, and switchesEach more for each link or node that is
// struck or works again;
// switchesLossy more if something begins to lose packets, which looks whole again at times: it is tried at intervals that double.
// A liar that says of links which work that they failed makes flows leave it, and they come back after 1, 2, 4 and 8 s: that is
// switchesLiar in a run of 20 s. Where no whole path of the set is without one there is none to stay on: then it is one in flow.Hold.
type promise struct {
	since    time.Duration // of the bound
	within   time.Duration // 0 = nothing
	own      bool          // only links of the source itself were struck
	heard    time.Duration // last delivery; 0 = none yet
	sound    bool          // some way is not bad, whether or not it is counted on
	twice    bool          // two ways were counted on when the network was struck last
	guarded  bool
	lifted   time.Duration // when it was no longer
	switches int
	driven   int       // more of them, while liars were on all whole paths
	last     mesh.Path // of the last packet
	base     mesh.Path // the one that all packets since have gone by
}

func (p *promises) init(w *World) {
	if w.cfg.Promises {
		p.elements = newElements(w)
	}
}

// physical takes over a change of the network. What guards a flow is what was known before it.
func (p *promises) physical(w *World) {
	if p.links == nil {
		return
	}
	now := time.Duration(w.at)
	twice := make([]bool, len(w.flows))
	for i, f := range w.flows {
		twice[i] = p.doubly(w, f, now)
	}
	struck, mended := p.update(w)
	if len(struck)+mended == 0 {
		return
	}
	p.change = now
	p.stood = p.stood || slices.ContainsFunc(w.nodes, func(s *simNode) bool { return s.frozen })
	p.changes += len(struck) + mended
	p.Changes++
	p.strikes = slices.DeleteFunc(p.strikes, func(b blow) bool { return now-b.at > knownAfter })
	if len(struck) > 0 {
		p.times = append(p.times, now)
	}
	for _, s := range struck {
		p.strikes = append(p.strikes, blow{s, now})
		if s.node && w.nodes[s.index].drops > 0 || !s.node && len(w.wires[s.index].extra.active) > 0 {
			p.lossy++
		}
	}
	for i, f := range w.flows {
		f.promise.sound = p.reaches(w, f.from, f.to, never, nothing)
		f.promise.since = now
		f.promise.within = p.bound(w, f, now)
		if len(struck) > 0 {
			f.promise.twice = twice[i]
			p.guard(f, twice[i], now)
		}
	}
}

// guard settles whether a flow loses nothing to what has just been struck.
func (p *promises) guard(f *trafficFlow, twice bool, now time.Duration) {
	one := !slices.ContainsFunc(p.strikes, func(b blow) bool {
		return b.part != p.strikes[0].part || b.part == part{true, f.from.index} || b.part == part{true, f.to.index}
	})
	again := len(p.strikes) > 1 // the same was struck a moment ago: a second way was there then
	if f.promise.guarded && (!one || !twice && !again) {
		f.promise.guarded, f.promise.lifted = false, now
	}
}

// look gives flows their promises back when all is counted on again.
func (p *promises) look(w *World) {
	if p.links == nil {
		return
	}
	now := time.Duration(w.at)
	for _, f := range w.flows {
		q := &f.promise
		if q.within == 0 {
			q.since, q.within = now, p.bound(w, f, now)
		}
		if !q.guarded && now-q.heard <= lookEvery && len(w.cfg.Liars) < 2 && now-p.change > knownAfter && p.served(w, f, now) {
			q.guarded = true
		}
	}
	p.cover(w, now)
}

// sent checks a flow that sends a packet.
func (p *promises) sent(w *World, f *trafficFlow, k *packet) {
	if p.links == nil {
		return
	}
	q, now := &f.promise, time.Duration(w.at)
	if gap := now - max(q.heard, q.since); q.within > 0 && gap > q.within {
		if again := p.bound(w, f, now); again == 0 { // by the paths that it has found meanwhile
			q.within = 0
		} else if q.within = max(q.within, again); gap > q.within {
			w.check.fail("packets from %v to %v have not arrived for %v although a way existed, want %v", f.from.id, f.to.id, gap, q.within)
		}
	}
	if k.guarded = q.guarded; k.guarded && f.protected {
		p.Guarded++
	} else if k.guarded {
		p.Control++
	}
	if k.struck = p.faulty(f, now); k.struck {
		p.sentInFault(f, k, now)
	}
	first := k.paths[0]
	if len(first.Labels) == 0 || f.protected {
		return
	}
	if len(q.last.Labels) > 0 && !q.last.Same(first) && now > startTime {
		p.switched(w, f, k, now)
	}
	if q.last = first; len(q.base.Labels) == 0 || !slices.ContainsFunc(k.paths[:], q.base.Same) {
		q.base = first
	}
}

// switched checks a flow that has taken another path by a packet.
func (p *promises) switched(w *World, f *trafficFlow, k *packet, now time.Duration) {
	q := &f.promise
	if p.slandered(w, f) {
		if slices.ContainsFunc(k.paths[:], q.base.Same) {
			return // packets still go by the path of before, too
		}
		q.driven++
		if most := switchesFirst + int((now-startTime)/flow.Hold); q.driven > most {
			w.check.fail("the flow from %v to %v has taken another path %d times in %v because of what liars said, want %d",
				f.from.id, f.to.id, q.driven, now-startTime, most)
		}
		return
	}
	q.switches++
	p.Switches++
	p.ByOne = max(p.ByOne, q.switches)
	most := switchesFirst + switchesEach*p.changes + switchesLossy*p.lossy
	if w.cfg.Slander > 0 {
		most += switchesLiar * len(w.cfg.Liars)
	}
	if p.Swing = max(p.Swing, float64(q.switches)/float64(most)); q.switches > most {
		w.check.fail("the flow from %v to %v has taken another path %d times in %d changes of the network, want %d", f.from.id, f.to.id, q.switches, p.changes, most)
	}
}

// delivered notes a packet that came.
func (p *promises) delivered(w *World, f *trafficFlow) {
	q, now := &f.promise, time.Duration(w.at)
	if gap := now - max(q.heard, q.since); p.links != nil && q.within > 0 && q.heard > 0 {
		p.Gap = max(p.Gap, millis(gap))
		p.Share = max(p.Share, float64(gap)/float64(q.within))
	}
	q.heard = now
}

// lost checks a packet that did not come.
func (p *promises) lost(w *World, f *trafficFlow, k *packet) {
	sent := k.sent.Sub(epoch)
	if !k.guarded || !f.promise.guarded && f.promise.lifted >= sent && f.promise.lifted <= sent+underWay {
		p.lostElse(w, f, k, sent)
		return
	}
	if !f.protected {
		p.Lost++
		return
	}
	p.fail(w, f, k)
}

func (p *promises) fail(w *World, f *trafficFlow, k *packet) {
	w.check.fail("packet %d of the protected class from %v to %v, sent at %v by %v and %v, was lost to one failure", k.number, f.from.id, f.to.id,
		k.sent.Sub(epoch), k.paths[0].Nodes, k.paths[1].Nodes)
}
