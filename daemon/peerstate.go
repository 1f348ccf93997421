package daemon

import (
	"slices"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// Times of what api.PeerState means.
const (
	connectedFor = 30 * time.Second // since a packet came in
	stalledAfter = 10 * time.Second // since the first packet that nothing answered
	doubtAfter   = 4 * time.Second  // and since when a probe asks: less than two looks at peers apart
	recentFor    = 30 * time.Second // traffic that says something of the present
)

// peerFacts is what is known of a peer at one moment.
type peerFacts struct {
	reachable, session, opening bool
	established                 time.Time
	rx, tx                      time.Time // last packet each way; an answered probe is one that came in
}

// peerTrack follows one peer from one look to the next.
type peerTrack struct {
	state      api.PeerState
	since      time.Time
	rx, tx     time.Time
	unanswered time.Time // when the first packet was sent that nothing came back after; zero = none
}

// step looks at the peer.
func (t *peerTrack) step(now time.Time, f peerFacts) {
	t.rx, t.tx = latest(t.rx, f.rx), latest(t.tx, f.tx)
	switch {
	case !f.session || !t.tx.After(t.rx):
		t.unanswered = time.Time{}
	case t.unanswered.IsZero() || t.rx.After(t.unanswered):
		t.unanswered = latest(t.tx, f.established) // at the soonest; what went before is not known
	}
	state, since := t.now(now, f)
	if state == t.state {
		return
	}
	if since.Before(t.since) || since.After(now) {
		since = now
	}
	t.state, t.since = state, since
}

// now returns the state that the peer is in, and since when.
func (t *peerTrack) now(now time.Time, f peerFacts) (api.PeerState, time.Time) {
	switch {
	case !f.reachable:
		return api.PeerUnreachable, now
	case !f.session && f.opening:
		return api.PeerOpening, now
	case !f.session:
		return api.PeerNone, now
	case !t.unanswered.IsZero() && now.Sub(t.unanswered) >= stalledAfter:
		return api.PeerStalled, t.unanswered.Add(stalledAfter)
	case !t.rx.IsZero() && now.Sub(t.rx) < connectedFor:
		return api.PeerConnected, t.rx
	case t.rx.IsZero():
		return api.PeerIdle, f.established
	}
	return api.PeerIdle, latest(t.rx.Add(connectedFor), f.established)
}

// doubtful reports whether a probe should ask if the peer still hears us.
func (t *peerTrack) doubtful(now time.Time) bool {
	return !t.unanswered.IsZero() && now.Sub(t.unanswered) >= doubtAfter
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// peerTracks are those of all members.
type peerTracks map[mesh.NodeID]*peerTrack

// step looks at all members; whoever is none any more is forgotten.
func (ts peerTracks) step(now time.Time, all map[mesh.NodeID]peerFacts) {
	for n, f := range all {
		t := ts[n]
		if t == nil {
			t = &peerTrack{}
			ts[n] = t
		}
		t.step(now, f)
	}
	for n := range ts {
		if _, ok := all[n]; !ok {
			delete(ts, n)
		}
	}
}

// doubtful returns the peers that a probe should ask.
func (ts peerTracks) doubtful(now time.Time) (ns []mesh.NodeID) {
	for n, t := range ts {
		if t.doubtful(now) {
			ns = append(ns, n)
		}
	}
	slices.SortFunc(ns, mesh.NodeID.Compare)
	return ns
}

// recent returns of the peers that packets were sent to lately how many are there, and which of them are stalled.
func (ts peerTracks) recent(now time.Time) (used int, stalled []mesh.NodeID) {
	for n, t := range ts {
		if t.tx.IsZero() || now.Sub(t.tx) >= recentFor || t.state != api.PeerStalled && t.state != api.PeerConnected {
			continue
		}
		used++
		if t.state == api.PeerStalled {
			stalled = append(stalled, n)
		}
	}
	slices.SortFunc(stalled, mesh.NodeID.Compare)
	return used, stalled
}
