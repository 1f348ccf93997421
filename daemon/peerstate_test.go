package daemon

import (
	"slices"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

var dawn = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)

func at(s int) time.Time { return dawn.Add(time.Duration(s) * time.Second) }

// The states of a peer as its packets come and go, looked at every five seconds and now and then.
func TestPeerStates(t *testing.T) {
	open := func(rx, tx int) peerFacts {
		f := peerFacts{reachable: true, session: true, established: at(2)}
		if rx > 0 {
			f.rx = at(rx)
		}
		if tx > 0 {
			f.tx = at(tx)
		}
		return f
	}
	var tr peerTrack
	for _, step := range []struct {
		now   int
		f     peerFacts
		state api.PeerState
		since int
		doubt bool
	}{
		{0, peerFacts{}, api.PeerUnreachable, 0, false},
		{1, peerFacts{reachable: true}, api.PeerNone, 1, false},
		{2, peerFacts{reachable: true, opening: true}, api.PeerOpening, 2, false},
		{3, open(0, 0), api.PeerIdle, 2, false},
		{5, open(5, 4), api.PeerConnected, 5, false},
		{10, open(9, 10), api.PeerConnected, 5, false}, // an answer is under way
		{14, open(9, 14), api.PeerConnected, 5, true},  // none came
		{15, open(15, 15), api.PeerConnected, 5, false},
		{20, open(15, 20), api.PeerConnected, 5, false},
		{29, open(15, 29), api.PeerConnected, 5, true},
		{30, open(15, 30), api.PeerStalled, 30, true}, // ten seconds after 20
		{40, open(15, 30), api.PeerStalled, 30, true}, // we have stopped: nothing came back all the same
		{41, open(41, 30), api.PeerConnected, 41, false},
		{70, open(41, 30), api.PeerConnected, 41, false},
		{71, open(41, 30), api.PeerIdle, 71, false},
		{90, peerFacts{reachable: true}, api.PeerNone, 90, false},
		{91, peerFacts{session: true}, api.PeerUnreachable, 91, false},
	} {
		tr.step(at(step.now), step.f)
		if tr.state != step.state || !tr.since.Equal(at(step.since)) || tr.doubtful(at(step.now)) != step.doubt {
			t.Errorf("at %d: %s since %d, doubtful %v; want %s since %d, %v", step.now, tr.state,
				int(tr.since.Sub(dawn).Seconds()), tr.doubtful(at(step.now)), step.state, step.since, step.doubt)
		}
	}
	if tr.rx != at(41) || tr.tx != at(30) {
		t.Errorf("last packets at %v and %v", tr.rx, tr.tx)
	}
}

// A session that is made anew gets its ten seconds, however long ago the last packet was sent by the old one.
func TestPeerStateOfNewSession(t *testing.T) {
	var tr peerTrack
	tr.step(at(0), peerFacts{reachable: true, tx: at(0)})
	tr.step(at(60), peerFacts{reachable: true, session: true, established: at(59), tx: at(0)})
	if tr.state != api.PeerIdle || tr.doubtful(at(60)) {
		t.Errorf("%+v", tr)
	}
}

func TestRecentPeers(t *testing.T) {
	ts := peerTracks{}
	a, b, c := mesh.MustNodeID("a"), mesh.MustNodeID("b"), mesh.MustNodeID("c")
	up := peerFacts{reachable: true, session: true, established: at(1)}
	sent, both, quiet := up, up, up
	sent.tx = at(10)
	both.tx, both.rx = at(10), at(11)
	all := map[mesh.NodeID]peerFacts{a: sent, b: both, c: quiet}
	ts.step(at(11), all)
	ts.step(at(20), all)
	if used, stalled := ts.recent(at(20)); used != 2 || !slices.Equal(stalled, []mesh.NodeID{a}) {
		t.Errorf("%d used, %v stalled", used, stalled)
	}
	if got := ts.doubtful(at(20)); !slices.Equal(got, []mesh.NodeID{a}) {
		t.Errorf("doubtful: %v", got)
	}
	if used, stalled := ts.recent(at(41)); used != 0 || stalled != nil {
		t.Errorf("long after: %d used, %v stalled", used, stalled)
	}
	delete(all, a)
	ts.step(at(42), all)
	if len(ts) != 2 {
		t.Errorf("a is no member and yet tracked")
	}
}
