package lsdb

import (
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The pace of our own LSAs.
const (
	bundle      = 50 * time.Millisecond // a link that is new or back waits this long for others
	stands      = time.Second           // any other change but a loss has to last this long: most suspicions are soon cleared, or a loss
	young       = 5 * time.Second       // after a link came up: its cost is not measured before
	paceLeast   = time.Second
	paceMost    = time.Minute
	paceClear   = 5 * time.Second // a suspicion, or its end, is not held up longer than this by the pace
	paceSteady  = 3               // changes in a row before the pace slows down
	urgentBurst = 10              // LSAs that need not keep the pace
	urgentKeep  = 5               // of them only for lost links, not for new ones
	urgentRate  = 1               // a second
	signTime    = 2 * time.Second // an LSA that is not signed by then is given again
)

// change is how urgent a difference from the last LSA is.
type change uint8

const (
	changeNone  change = iota
	changeMinor        // costs
	changeClear        // a link is suspect, or is so no more: at the least pace or soon after
	changeOwn          // the SVID is another, or the last LSA came to nothing: likewise, whatever the links do
	changeGain         // a link is new or back, or the neighbour's end of it is another: it may be the only way to somebody
	changeLoss         // a link is lost, or others hold a newer LSA of ours
)

// Originate takes the node's links as they are now and returns the LSA to sign, if one is due; give it back signed
// by SetSelf. It is called at every change of the links and when Deadline has come. Links that no LSA may carry
// are left out.
func (db *DB) Originate(now time.Time, links []mesh.Adjacency) (wire.LSA, bool) {
	links = announceable(links)
	due, ok := db.dueAt(now, links)
	db.own.next = due
	if !ok || due.After(now) {
		return wire.LSA{}, false
	}
	o := &db.own
	o.seq = max(o.seq+1, o.boot)
	if o.class != changeNone {
		o.pace.made(now, o.class)
	}
	o.announced, o.under, o.made = links, o.svid, true
	o.class, o.since, o.force, o.again = changeNone, time.Time{}, false, false
	o.signing = now
	o.refresh = now.Add(Lifetime / 3)
	o.next = now.Add(signTime)
	return wire.LSA{
		Origin: db.self, Incarnation: db.cfg.Incarnation, Boot: o.boot, Seq: o.seq,
		Time: now.UTC().Truncate(time.Millisecond), Lifetime: Lifetime,
		SVID: o.svid, Capabilities: db.cfg.Capabilities, Links: slices.Clone(links),
	}, true
}

// dueAt returns when the next LSA is to be made if the links stay as they are.
func (db *DB) dueAt(now time.Time, links []mesh.Adjacency) (time.Time, bool) {
	o := &db.own
	self := db.origins[db.self]
	if !o.hasSVID || self == nil || self.record(o.svid) == nil {
		return time.Time{}, false // nothing to sign with
	}
	if !o.signing.IsZero() && now.Before(o.signing.Add(signTime)) {
		return o.signing.Add(signTime), true
	}
	if !o.made && len(links) == 0 {
		return time.Time{}, false // nobody could hear it
	}
	lost := o.made && o.signing.IsZero() && self.lsa == nil // it ended
	class := db.classify(links, lost || o.again || !o.signing.IsZero())
	if class != o.class {
		o.class, o.since = class, now
	}
	if class == changeNone {
		return o.refresh, true
	}
	at := o.pace.due(now, class, o.since, o.made)
	if o.made && o.refresh.Before(at) {
		at = o.refresh
	}
	return at, true
}

func (db *DB) classify(links []mesh.Adjacency, again bool) change {
	o := &db.own
	class := changeNone
	if !o.made {
		class = changeMinor
	}
	if o.made && o.under != o.svid || again {
		class = changeOwn
	}
	if o.force {
		class = changeLoss
	}
	for i := range links {
		was, ok := findLink(o.announced, links[i].Label)
		switch {
		case !ok || was.Neighbour != links[i].Neighbour || was.Remote != links[i].Remote:
			class = max(class, changeGain)
		case was.Suspect != links[i].Suspect:
			class = max(class, changeClear)
		case !sameLink(*was, links[i]):
			class = max(class, changeMinor)
		}
	}
	for i := range o.announced {
		if l, ok := findLink(links, o.announced[i].Label); !ok || l.Neighbour != o.announced[i].Neighbour {
			class = changeLoss
		}
	}
	return class
}

func findLink(links []mesh.Adjacency, l mesh.Label) (*mesh.Adjacency, bool) {
	i, ok := slices.BinarySearchFunc(links, l, func(a mesh.Adjacency, l mesh.Label) int { return cmp.Compare(a.Label, l) })
	if !ok {
		return nil, false
	}
	return &links[i], true
}

// announceable returns the links that an LSA may carry, ascending by label.
func announceable(links []mesh.Adjacency) []mesh.Adjacency {
	out := make([]mesh.Adjacency, 0, len(links))
	for _, l := range links {
		if l.Label == 0 || l.Remote == 0 || l.Neighbour.IsZero() || l.Cost == 0 || l.Cost > mesh.MaxCost || l.Quality > mesh.Excellent {
			continue
		}
		if len(l.Groups) > 0 {
			l.Groups = slices.Compact(slices.Sorted(slices.Values(l.Groups)))
			l.Groups = l.Groups[:min(len(l.Groups), wire.MaxGroups)]
		}
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b mesh.Adjacency) int { return cmp.Compare(a.Label, b.Label) })
	out = slices.CompactFunc(out, func(a, b mesh.Adjacency) bool { return a.Label == b.Label })
	return out[:min(len(out), wire.MaxLinks)]
}

// pace keeps the interval between LSAs: it doubles while changes keep coming and halves with each quiet spell.
type pace struct {
	interval time.Duration
	last     time.Time
	streak   int
	gained   time.Time // the last LSA with a link that was new or back
	urgent   bucket
}

func newPace() pace { return pace{interval: paceLeast, urgent: bucket{tokens: urgentBurst}} }

func (p *pace) made(now time.Time, class change) {
	if p.bypasses(now, class) {
		p.urgent.take(now, urgentBurst, urgentRate)
	}
	if class == changeGain {
		p.gained = now
	}
	quiet := now.Sub(p.last)
	if p.last.IsZero() {
		quiet = 0
	}
	if quiet < 2*p.interval {
		if p.streak++; p.streak > paceSteady {
			p.interval = min(2*p.interval, paceMost)
		}
	} else {
		p.streak = 0
		for quiet >= 2*p.interval && p.interval > paceLeast {
			quiet -= 2 * p.interval
			p.interval = max(p.interval/2, paceLeast)
		}
	}
	p.last = now
}

// bypasses reports whether a change need not keep the pace now.
func (p *pace) bypasses(now time.Time, class change) bool {
	p.urgent.fill(now, urgentBurst, urgentRate)
	switch class {
	case changeLoss:
		return p.urgent.tokens >= 1
	case changeGain:
		return p.urgent.tokens >= urgentKeep+1
	}
	return false
}

func (p *pace) due(now time.Time, class change, since time.Time, made bool) time.Time {
	bypass := p.bypasses(now, class)
	switch {
	case !made, bypass && class == changeGain:
		return since.Add(bundle)
	case bypass && class == changeLoss:
		return now
	}
	wait, lasts := p.interval, stands
	switch {
	case class >= changeGain:
		wait, lasts = paceLeast, bundle
	case class >= changeClear:
		wait = min(wait, paceClear)
	}
	if class == changeOwn {
		lasts = bundle
	}
	at := p.last.Add(wait)
	if b := since.Add(lasts); b.After(at) {
		at = b
	}
	if y := p.gained.Add(young); class < changeOwn && y.After(at) {
		at = y
	}
	return at
}
