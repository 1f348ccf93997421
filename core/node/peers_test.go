package node

import (
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// neighbourhood returns a node with an announced link to alpha, behind which zeta is, and the link's connection.
func neighbourhood(t *testing.T, cfg Config) (*scene, mesh.ConnID) {
	t.Helper()
	r := newScene(t, cfg)
	conn := r.linkUp(0, alpha, addr(1), 7, 100)
	label := r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	r.pass(time.Second)
	r.hear(conn, alpha, 100, adjacency(self, 7, label), adjacency(zeta, 8, 9))
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8))
	r.pass(time.Second)
	r.takeReflex()
	return r, conn
}

func dialsOf(events []ReflexEvent) (ids []uint64) {
	for _, e := range events {
		if d, ok := e.(DialPeer); ok {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// A wish for a destination that nobody has announced yet does nothing; once there is a way there it does, and the
// fast loop has the way before it is to dial.
func TestWantedBeforeTheTopologyIsKnown(t *testing.T) {
	r := newScene(t, Config{})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	r.do(Wanted{Addr: mesh.Addr(domain, self)})
	if len(r.Peers()) != 0 || len(r.reflex) != 0 {
		t.Fatalf("peers %v, effects %v", r.Peers(), r.reflex)
	}
	conn := r.linkUp(0, alpha, addr(1), 7, 100)
	label := r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8)) // known, but no way there yet
	r.pass(time.Second)
	r.takeReflex()
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	if got := r.takeReflex(); len(dialsOf(got)) != 0 {
		t.Errorf("dials without a way: %v", got)
	}
	r.hear(conn, alpha, 100, adjacency(self, 7, label), adjacency(zeta, 8, 9))
	r.pass(100 * time.Millisecond)
	got := r.takeReflex()
	if len(dialsOf(got)) != 1 {
		t.Fatalf("effects when the way is known: %v", got)
	}
	set := slices.IndexFunc(got, func(e ReflexEvent) bool { p, ok := e.(PeerSet); return ok && len(p.Paths) == 1 })
	dial := slices.IndexFunc(got, func(e ReflexEvent) bool { _, ok := e.(DialPeer); return ok })
	if set < 0 || set > dial {
		t.Errorf("the way comes after the dial: %v", got)
	}
	if r := r.PathsTo(zeta); len(r.Paths) != 1 || len(r.Paths[0].Nodes) != 3 {
		t.Errorf("paths %+v", r)
	}
}

// A session is dialled with back-off for as long as somebody asked for it lately, and not longer.
func TestWishesEnd(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	asked := r.at
	n := 0
	for r.at.Sub(asked) < 2*time.Minute {
		for _, id := range dialsOf(r.takeReflex()) {
			n++
			if late := r.at.Sub(asked); late > wantedFor {
				t.Fatalf("dials %v after the wish", late)
			}
			r.do(DialFailed{Dial: id, Reason: "timeout"})
		}
		r.pass(50 * time.Millisecond)
	}
	if n < 5 || n > 40 {
		t.Errorf("%d dials", n)
	}
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	if got := r.takeReflex(); len(dialsOf(got)) != 1 {
		t.Errorf("a new wish: %v", got)
	}
	r.pass(10 * time.Minute)
	if p := r.Peers(); len(p) != 0 {
		t.Errorf("still a peer: %+v", p)
	}
}

// A session without packets is closed after the idle time, at the end that had it last; packets keep it.
func TestIdleSessionsClose(t *testing.T) {
	r, _ := neighbourhood(t, Config{Idle: time.Minute})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	id := r.peerUp(dialsOf(r.takeReflex())[0], zeta, 100)
	if p := r.Peers(); len(p) != 1 || p[0].Session != id || p[0].Opening || len(p[0].Paths) != 1 || p[0].Established != r.at {
		t.Fatalf("peers %+v", p)
	}
	for range 5 {
		r.pass(50 * time.Second)
		r.do(Used{Node: zeta, At: r.at})
	}
	if len(r.closed) != 0 {
		t.Fatalf("closed %v while in use", r.closed)
	}
	r.pass(61 * time.Second)
	got := r.takeReflex()
	if len(r.closed) != 1 || r.closed[0].Conn != id || len(r.Peers()) != 0 {
		t.Errorf("closed %v, peers %v", r.closed, r.Peers())
	}
	if _, ok := got[len(got)-1].(PeerGone); !ok {
		t.Errorf("the fast loop was told %+v", got)
	}
	r.do(ConnDown{Conn: id}) // the shell's answer to Close comes late
}

// A connection that ends before the peer opened it is a failed attempt, like a dial that fails.
func TestSessionThatEndsBeforeItOpens(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	n := 0
	for end := r.at.Add(20 * time.Second); r.at.Before(end); r.pass(10 * time.Millisecond) {
		for _, id := range dialsOf(r.takeReflex()) {
			n++
			r.conn++
			r.do(ConnUp{Conn: r.conn, Dial: id, Purpose: wire.PurposeE2E, Peer: zeta, NotAfter: r.at.Add(time.Hour)})
			r.do(ConnDown{Conn: r.conn, Reason: "bad certificate"})
		}
	}
	if n < 3 || n > 30 {
		t.Errorf("%d attempts in 20 s", n)
	}
}

// A peer that lost our session says so: one new connection is made, not one for each hint.
func TestStaleSessionsAreReplaced(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	first := r.peerUp(dialsOf(r.takeReflex())[0], zeta, 100)
	r.do(Stale{Node: zeta, Conn: first + 100})
	if got := dialsOf(r.takeReflex()); len(got) != 0 {
		t.Errorf("a session is replaced that no error was about")
	}
	r.do(Stale{Node: zeta, Conn: first})
	r.do(Stale{Node: zeta, Conn: first})
	got := dialsOf(r.takeReflex())
	if len(got) != 1 {
		t.Fatalf("dials %v", got)
	}
	second := r.peerUp(got[0], zeta, 101)
	if p := r.Peers(); p[0].Session != second {
		t.Errorf("session %d", p[0].Session)
	}
	if len(r.closed) != 1 || r.closed[0].Conn != first {
		t.Errorf("closed %v: the process that knew it is gone", r.closed)
	}
}

// Who never stops saying that it knows no session has a new one ever more rarely: after 1 s, 2 s, then up to 30 s. After a session
// that lasted the first one is opened at once again.
func TestNeverEndingStaleness(t *testing.T) {
	r, _ := neighbourhood(t, Config{Idle: time.Hour})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	in := r.peerUp(dialsOf(r.takeReflex())[0], zeta, 100)
	doubted := func(d time.Duration) (at []time.Duration) {
		for began := r.at; r.at.Sub(began) < d; r.pass(100 * time.Millisecond) {
			r.do(Stale{Node: zeta, Conn: in})
			r.do(Stale{Node: zeta, Conn: in})
			for _, dial := range dialsOf(r.takeReflex()) {
				in = r.peerUp(dial, zeta, 100)
				at = append(at, r.at.Sub(began).Round(time.Second))
			}
			if r.Peers()[0].Session == 0 {
				t.Fatal("no session is in use")
			}
		}
		return at
	}
	want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second, 61 * time.Second, 91 * time.Second}
	if got := doubted(2 * time.Minute); !slices.Equal(got, want) {
		t.Errorf("sessions after %v, want %v", got, want)
	}
	r.pass(staleMost)
	for _, dial := range dialsOf(r.takeReflex()) {
		in = r.peerUp(dial, zeta, 100)
	}
	r.pass(staleMost)
	if got := doubted(5 * time.Second); !slices.Equal(got, want[:3]) {
		t.Errorf("after one that lasted: sessions after %v, want %v", got, want[:3])
	}
}

// What the other end sealed with a session shows that it knows it: nothing is opened in its place, whatever is claimed meanwhile.
func TestKnownSessionIsNotReplaced(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	in := r.peerUp(dialsOf(r.takeReflex())[0], zeta, 100)
	r.do(Stale{Node: zeta, Conn: in})
	in = r.peerUp(dialsOf(r.takeReflex())[0], zeta, 100)
	for _, known := range []mesh.ConnID{in, in + 100} {
		r.do(Known{Node: mesh.MustNodeID("nobody"), Conn: in})
		r.do(Stale{Node: zeta, Conn: in})
		r.do(Known{Node: zeta, Conn: known})
		r.pass(10 * time.Second)
		if got := dialsOf(r.takeReflex()); len(got) != btoi(known != in) {
			t.Errorf("dials %v though the peer knows %d of %d", got, known, in)
		}
	}
}

// The two ends opened one each, and the one that counts is not known at the other: the second is used at once.
func TestStaleFallsBack(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	mine := r.peerUp(dialsOf(r.takeReflex())[0], zeta, 100)
	theirs := r.peerUp(0, zeta, 100)
	use := r.Peers()[0].Session
	other := mine + theirs - use
	r.takeReflex()
	r.do(Stale{Node: zeta, Conn: use})
	if p := r.Peers(); p[0].Session != other {
		t.Errorf("session %d, want %d", p[0].Session, other)
	}
	if got := dialsOf(r.takeReflex()); len(got) != 0 {
		t.Errorf("dials %v though there is another", got)
	}
	r.do(Stale{Node: zeta, Conn: other})
	if got := dialsOf(r.takeReflex()); len(got) != 1 {
		t.Errorf("dials %v when neither is known", got)
	}
}

// The far end opens a session that we did not ask for: it is ours to answer by.
func TestAcceptedSession(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	id := r.peerUp(0, zeta, 100)
	p := r.Peers()
	if len(p) != 1 || p[0].Session != id || len(p[0].Paths) != 1 {
		t.Errorf("peers %+v", p)
	}
	r.do(Received{Conn: id, Message: wire.Bye{Reason: "idle"}})
	if p := r.Peers(); p[0].Session != 0 {
		t.Errorf("after goodbye: %+v", p)
	}
	if got := dialsOf(r.takeReflex()); len(got) != 0 {
		t.Errorf("dials though nobody wants to: %v", got)
	}
}

// What a neighbour says of the database: digests that differ are answered by a summary, a summary by what it lacks
// and a request, a request by records; all of it only once the connection is open.
func TestDatabaseExchange(t *testing.T) {
	r, conn := neighbourhood(t, Config{})
	last := func() []wire.Message {
		m := r.send[len(r.send)-1]
		if m.Conn != conn {
			t.Fatalf("sent to %d", m.Conn)
		}
		return m.Messages
	}
	r.do(Received{Conn: conn, Message: wire.Digest{Hash: [32]byte{1}}})
	sum, ok := last()[0].(wire.Summary)
	if !ok || len(sum.Entries) == 0 {
		t.Fatalf("a digest is answered by %T", last()[0])
	}
	n := len(r.send)
	r.do(Received{Conn: conn, Message: wire.Digest{Hash: r.Database().Digest()}})
	if len(r.send) != n {
		t.Errorf("an equal digest is answered by %v", last())
	}
	r.do(Received{Conn: conn, Message: wire.Summary{}})
	if got := last(); len(got) < 6 {
		t.Errorf("an empty summary is answered by %d messages, want three nodes' records and announcements", len(got))
	}
	unknown := wire.SummaryEntry{Origin: mesh.MustNodeID("omega"), SVID: [32]byte{7}, RecordSeq: 1}
	r.do(Received{Conn: conn, Message: wire.Summary{Entries: append(slices.Clone(sum.Entries), unknown)}})
	if q, ok := last()[0].(wire.RecordRequest); !ok || len(q.SVIDs) != 1 || q.SVIDs[0] != unknown.SVID {
		t.Errorf("an unknown record is asked for by %+v", last())
	}
	r.do(Received{Conn: conn, Message: wire.RecordRequest{SVIDs: [][32]byte{sum.Entries[0].SVID}}})
	if _, ok := last()[0].(wire.RecordMsg); !ok {
		t.Errorf("a request is answered by %T", last()[0])
	}
	// An announcement whose record is missing: the record is asked for.
	_, leaf := chainOf(mesh.MustNodeID("omega"), 0)
	lsa := wire.LSA{Origin: mesh.MustNodeID("omega"), Incarnation: 1, Boot: 1, Seq: 1, Time: r.at, Lifetime: lsdb.Lifetime, SVID: leaf}
	r.do(Received{Conn: conn, Message: wire.LSAMsg{Raw: lsa.AppendSigned(nil, []byte("s"))}})
	if q, ok := last()[0].(wire.RecordRequest); !ok || q.SVIDs[0] != leaf {
		t.Errorf("an announcement without record is answered by %+v", last())
	}
	// Not before the connection was opened.
	n = len(r.send)
	shy := r.handshake(0, zeta, addr(2))
	n++ // our own open message
	r.do(Received{Conn: shy, Message: wire.Digest{}})
	if len(r.send) != n {
		t.Errorf("answers %v to one that did not open", r.send[n:])
	}
}

// Digests go out now and then, at times that differ.
func TestDigestsGoOut(t *testing.T) {
	r, _ := neighbourhood(t, Config{})
	r.send = nil
	r.pass(time.Minute)
	n := 0
	for _, s := range r.send {
		if _, ok := s.Messages[0].(wire.Digest); ok {
			n++
		}
	}
	if n < 4 || n > 8 {
		t.Errorf("%d digests in a minute", n)
	}
}

// Somebody else announces this node, newer than we do and dated in our own life: that is a twin.
func TestTwinRaisesAlarm(t *testing.T) {
	r, conn := neighbourhood(t, Config{})
	r.pass(time.Minute)
	_, leaf := chainOf(self, 0)
	twin := wire.LSA{
		Origin: self, Incarnation: 2, Boot: uint64(r.at.UnixMilli()), Seq: 1 << 50, Time: r.at, Lifetime: lsdb.Lifetime, SVID: leaf,
	}
	n := len(r.signed)
	r.do(Received{Conn: conn, Message: wire.LSAMsg{Raw: twin.AppendSigned(nil, []byte("s"))}})
	if len(r.alarms) != 1 {
		t.Errorf("alarms %q", r.alarms)
	}
	if len(r.signed) == n || r.signed[len(r.signed)-1].LSA.Boot <= twin.Boot {
		t.Errorf("did not announce itself above the twin")
	}
}

// The SVID is rotated while its record is out for signature: the record is made again.
func TestRecordIsSignedAgain(t *testing.T) {
	r := newScene(t, Config{})
	n := len(r.signed)
	r.do(Signed{Kind: lsdb.KindRecord})
	if len(r.signed) != n+1 {
		t.Errorf("%d records asked for", len(r.signed)-n)
	}
	r.do(Signed{Kind: lsdb.KindLSA, Raw: []byte("nonsense")})
	if len(r.alarms) != 1 {
		t.Errorf("alarms %q", r.alarms)
	}
}
