// Package flow decides which of the paths to one destination carry packets now. It is the fast loop's memory of a
// destination: pure, time comes as an argument, the probes to send and the next deadline come out as values.
//
// A path is judged by the state of its first link, which this node sees for itself, and end to end, twice:
//
//	       error frame, or silence            3 probes unanswered
//	(alive) ────────────────► (suspect) ────────────────────────► (dead)
//	   ▲                          │                                 │
//	   └──────── probe reply ─────┴────────── probe reply ──────────┘
//
//	        counts prove loss, or silence
//	(clean) ──────────────────────────────► (lossy)
//	   ▲                                       │
//	   └── no loss for the hold time (trial) ──┘
//
// While packets are sent the path in use is probed, about every 50 ms. An answer says how many of the frames that this
// node sent by the path, packets and probes alike, have come to the other end: the loss of the data itself is known,
// and in which direction. So a path is left whose relays answer hellos and lose packets, or large packets, or some.
//
// A suspicion is a hint (an error frame can be wrong, never forged by who did not see the packet): it moves packets
// away at once if there is anywhere better, and starts probes; only their silence makes a path dead. A dead path
// is probed again with growing pauses, and carries packets if there is nothing better and its own first link is not down: sooner
// where silence alone speaks against it. A lossy path is used if there is no clean one, the least lossy first. A path that
// topology no longer offers is forgotten, but not what speaks against it: it is tried when it is back, whatever its labels are.
//
// Which paths fail though the topology offers them is told (Failing): where all do, a byway may be offered besides, which knows
// better than the topology. It is tried before it carries packets if another path delivers some.
//
// A doubt is less: the first link has been silent for a moment, a relay says so of its own, or a probe is overdue. Mostly it
// is nothing, so packets stay, and are copied to another path until it is settled: whichever it was, none is lost, and none
// overtakes another. A doubt that is not settled in a second moves them after all.
//
// Nor is the word of who was wrong about both paths of two worth more than one move in Hold: errors that answers disprove would
// else send packets to and fro. Between two such moves they are copied, and go by the other path first when the answer that would
// disprove the last error is late.
//
// Packets stay where they are as long as no path is healthier, unless the preferred path is more than a tenth
// cheaper for Hold on end.
package flow

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

const (
	// Hold is how long the preferred path must be better before packets move to it, and how long a lossy one must lose
	// nothing. It doubles with each suspicion of that path after the first, until the path has been quiet for two minutes.
	Hold = time.Second

	minTimeout  = 200 * time.Millisecond
	maxTimeout  = 5 * time.Second
	minBackoff  = 200 * time.Millisecond
	maxBackoff  = 10 * time.Second
	dearBackoff = time.Second // the longest while packets are sent and no path is known to deliver them
	calm        = 2 * time.Minute
	maxNumber   = 31 // of a path; 0 is that of none
	maxStrikes  = 6
	maxPast     = 8 // paths remembered that are not offered

	// firstTimeout is the most before the first measurement (RFC 6298 §2). Cost is no better guess: where links lose frames it is
	// many times the delay, and a path that has never worked would be waited for as long.
	firstTimeout = time.Second
)

// Probe asks for an end-to-end probe over one path. IDs are unique within a Flow.
type Probe struct {
	ID   uint64
	Path mesh.Path
	Full bool // to be as long as the longest packet
}

// Flow is the choice of paths to one destination. Invariants: current is one of routes or nil; it is nil exactly
// when the first link of every route is down; no route is healthier than it, but for the time that a doubt has, or a hold.
type Flow struct {
	dest     mesh.NodeID
	cfg      Config
	routes   []*route // as offered, the primary first
	links    map[mesh.Label]mesh.LinkState
	current  *route
	rival    *route // the cheaper path that waits for its hold time
	moveAt   time.Time
	moved    time.Time // when current last changed
	held     bool      // it would change, but for that
	past     []*route  // those that are not offered now and not trusted, the newest last; each by other nodes
	sent     time.Time // when packets were last being sent
	spread   spreading
	pair     []*route // what protected packets go by
	hot      bool     // they are being sent
	hotUntil time.Time

	kept      *route // of the pair, though it is not offered any more; nil: none
	keptUntil time.Time

	switches uint64 // times that current gave way to another path

	left   []left // in the order in which they were
	given  given
	lastID uint64
	number uint8 // the last one given to a path
}

// Config says what a flow is to do besides keeping its packets on the best path.
type Config struct {
	Protect bool   // some packets are protected: a pair of paths is kept for them
	Spread  Spread // when packets go by several paths
}

// New returns the flow to dest, without a path.
func New(dest mesh.NodeID, cfg Config) *Flow {
	return &Flow{dest: dest, cfg: cfg, links: map[mesh.Label]mesh.LinkState{}}
}

// Dest returns the destination.
func (f *Flow) Dest() mesh.NodeID { return f.dest }

// Switches returns how often another path took the place of the one in use.
func (f *Flow) Switches() uint64 { return f.switches }

// linkState returns the state of an own link; one never heard of counts as up.
func (f *Flow) linkState(l mesh.Label) mesh.LinkState {
	if s, ok := f.links[l]; ok {
		return s
	}
	return mesh.LinkUp
}

// Link tells the state of one of this node's own links.
func (f *Flow) Link(now time.Time, own mesh.Label, state mesh.LinkState) {
	f.links[own] = state
	for _, r := range f.every() {
		if r.path.Labels[0] == own {
			r.setLink(now, state)
		}
	}
	f.choose(now)
}

// Suspect tells that an error frame matched a packet sent on a path. A path not offered is ignored.
func (f *Flow) Suspect(now time.Time, path mesh.Path) {
	if r := find(f.every(), path); r != nil {
		r.accuse(now)
		f.choose(now)
	}
}

// Doubt tells that a relay on a path is in doubt about its next link. A path not offered is ignored.
func (f *Flow) Doubt(now time.Time, path mesh.Path) {
	if r := find(f.every(), path); r != nil {
		r.hint(now)
		f.choose(now)
	}
}

// Unknown tells that an error came by a path which says that the other end does not know the session that packets have gone by
// for so long. Before an answer can be back only a relay can have said so, and it does not know.
func (f *Flow) Unknown(now time.Time, path mesh.Path, used time.Duration) {
	if r := find(f.every(), path); r != nil && used < r.quickest() {
		r.accuse(now)
		f.choose(now)
	}
}

// Sending tells that packets are being sent, and whether protected ones are among them. It is to be called about every 50 ms
// while they are.
func (f *Flow) Sending(now time.Time, protected bool) {
	f.sent = now
	if protected && f.cfg.Protect {
		f.hotUntil = now.Add(hotLife)
		if !f.hot {
			for _, r := range f.pair {
				f.join(r)
			}
			f.hot = true
		}
	}
	for _, r := range f.every() {
		if f.watches(r) {
			r.sending(now)
		}
	}
}

// Anew tells that packets and probes go by another session from now on: what was not answered by the last one may not have
// been understood, which says nothing of the paths.
func (f *Flow) Anew(now time.Time) {
	for _, r := range f.every() {
		r.forget()
		if r.health != alive {
			r.tries, r.backoff = 0, 0
			if r.link != mesh.LinkDown {
				r.next = now
			}
		}
	}
}

// every returns the paths offered and the one that is kept.
func (f *Flow) every() []*route {
	if f.kept == nil {
		return f.routes
	}
	return append(f.routes[:len(f.routes):len(f.routes)], f.kept)
}

// watches reports whether probes go by a path along with packets: it carries some, or would have to at once.
func (f *Flow) watches(r *route) bool {
	return f.carries(r) || f.hot && slices.Contains(f.pair, r)
}

// Late tells that this process did not run for a time: answers may have waited, and are waited for anew, and how long they
// took says nothing. A process that is always late has to judge all the same, so the waiting anew helps once in a while.
func (f *Flow) Late(now time.Time) {
	for _, r := range f.every() {
		r.ran = now
		if now.Sub(r.grace) >= graceAgain {
			r.grace = now.Add(r.answerTime())
		}
	}
}

// ProbeReply tells that the probe with this ID was answered, and what the peer has counted. An answer after its time still
// counts: the path works.
func (f *Flow) ProbeReply(now time.Time, id uint64, c Counts) {
	for _, r := range f.every() {
		if r.answered(now, id, c) {
			f.choose(now)
			return
		}
	}
}

// Tick does what has come due and returns the probes to send.
func (f *Flow) Tick(now time.Time) []Probe {
	dear := f.Sends(now) && (f.current == nil || f.current.grade() >= mute)
	for _, r := range f.every() {
		r.compared = f.current != nil && f.current.grade() >= leaky
		r.hurry(now, dear)
		r.judge(now, f.watches(r))
	}
	f.choose(now)
	var out []Probe
	for _, r := range f.every() {
		if r.due(now, f.watches(r)) {
			f.lastID++
			full := r.probe(now, f.lastID)
			out = append(out, Probe{ID: f.lastID, Path: r.path, Full: full})
		}
	}
	f.choose(now)
	return out
}

// Deadline returns when Tick has something to do next; zero if nothing is pending.
func (f *Flow) Deadline() time.Time {
	at := f.moveAt
	for _, r := range f.every() {
		at = sooner(at, r.deadline(f.watches(r)))
	}
	if f.hot {
		at = sooner(at, f.hotUntil)
	}
	if f.kept != nil {
		at = sooner(at, f.keptUntil)
	}
	for _, r := range f.every() {
		if r.grade() == undecided && f.carries(r) && (r != f.current || r.grade() > f.preferred().grade()) {
			if r != f.current || !f.held {
				at = sooner(at, r.decideAt)
			}
			if !r.leans {
				at = sooner(at, r.leanAt)
			}
		}
	}
	if f.held {
		at = sooner(at, f.moved.Add(Hold))
		if !f.current.leans {
			at = sooner(at, f.current.leansAt())
		}
	}
	for _, l := range f.left {
		at = sooner(at, l.until)
	}
	return sooner(at, f.spread.check)
}

// sooner returns the earlier of two times of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
