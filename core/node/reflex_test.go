package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// fast drives one Reflex by hand. At the far end of each of its links a machine of core/link answers hellos after a
// delay, unless the link is broken.
type fast struct {
	*testing.T
	r       *Reflex
	at      time.Time
	far     map[mesh.Label]*link.Machine
	broken  map[mesh.Label]bool
	mail    []letter  // hellos on their way, by time of arrival
	held    time.Time // until when what comes to us lies in a queue
	mtu     int       // larger hellos of ours are lost; 0 = none is
	table   *mesh.Forwarding
	probes  []SendProbe
	dials   []DialPeer
	reports []ControlEvent
	set     map[mesh.Label]LinkSet // what Control has set and not withdrawn
	peers   map[mesh.NodeID]PeerSet
}

type letter struct {
	at    time.Time
	label mesh.Label
	ours  bool // to us
	hello wire.Hello
}

const oneWay = 5 * time.Millisecond

func newFast(t *testing.T) *fast {
	return &fast{
		T: t, r: NewReflex(Config{Self: self, Rand: seeded(4)}), at: epoch,
		far: map[mesh.Label]*link.Machine{}, broken: map[mesh.Label]bool{}, table: &mesh.Forwarding{},
		set: map[mesh.Label]LinkSet{}, peers: map[mesh.NodeID]PeerSet{},
	}
}

// do takes one event and checks the invariants after it.
func (f *fast) do(ev ReflexEvent) ReflexEffects {
	f.Helper()
	switch ev := ev.(type) {
	case LinkSet:
		f.set[ev.Label] = ev
		if f.far[ev.Label] == nil {
			f.far[ev.Label] = link.New(link.Config{}, seeded(byte(ev.Label)), f.at)
		}
	case LinkGone:
		delete(f.set, ev.Label)
	case PeerSet:
		f.peers[ev.Node] = ev
	case PeerGone:
		delete(f.peers, ev.Node)
	}
	out := f.r.Step(f.at, ev)
	if out.Publish != nil {
		f.table = out.Publish
	}
	if err := f.valid(); err != nil {
		f.Fatalf("%v after the start, after %T: %v", f.at.Sub(epoch), ev, err)
	}
	for _, h := range out.Hellos {
		if f.mtu > 0 && h.Size > f.mtu {
			continue
		}
		f.mail = append(f.mail, letter{f.at.Add(oneWay), h.Label, false, h.Hello})
	}
	f.probes = append(f.probes, out.Probes...)
	f.dials = append(f.dials, out.Dial...)
	f.reports = append(f.reports, out.Report...)
	if at := f.r.Deadline(); !at.IsZero() && !at.After(f.at) && ev != (Tick{}) {
		f.do(Tick{})
		if at := f.r.Deadline(); !at.After(f.at) {
			f.Fatalf("after %T: the deadline %v does not move on from %v", ev, at, f.at)
		}
	}
	return out
}

// valid compares the published table with what Control has said.
func (f *fast) valid() error {
	for i, l := range f.table.Links {
		s, ok := f.set[l.Label]
		if !ok || s.Session != l.Session || s.Remote != l.Remote || s.Neighbour != l.Neighbour {
			return fmt.Errorf("the table has link %+v, Control set %+v", l, s)
		}
		if i > 0 && f.table.Links[i-1].Label >= l.Label {
			return fmt.Errorf("links are not ascending at %d", l.Label)
		}
	}
	for i, p := range f.table.Peers {
		s, ok := f.peers[p.Node]
		if !ok || s.Session != p.Session {
			return fmt.Errorf("the table has peer %+v, Control set %+v", p, s)
		}
		if i > 0 && f.table.Peers[i-1].Node.Compare(p.Node) >= 0 {
			return fmt.Errorf("peers are not ascending at %v", p.Node)
		}
		for _, q := range p.Ways {
			if l, ok := f.table.Link(q.Labels[0]); !ok || !l.Usable {
				return fmt.Errorf("packets to %v leave by link %d, which is not usable", p.Node, q.Labels[0])
			}
			if !q.Copy.Valid() {
				continue
			}
			if l, ok := f.table.Link(q.Copy.Labels[0]); !ok || !l.Usable {
				return fmt.Errorf("copies of packets to %v leave by link %d, which is not usable", p.Node, q.Copy.Labels[0])
			}
		}
	}
	return nil
}

// pass lets time go by: deadlines of both ends, hellos on their way.
func (f *fast) pass(d time.Duration) {
	f.Helper()
	for end := f.at.Add(d); ; {
		next := end
		soonest := func(t time.Time) {
			if !t.IsZero() && t.Before(next) {
				next = t
			}
		}
		soonest(f.r.Deadline())
		for _, m := range f.far {
			soonest(m.Deadline())
		}
		for _, l := range f.mail {
			soonest(l.at)
		}
		if !next.Before(end) {
			f.at = end
			return
		}
		f.at = next
		f.deliver()
		for label := mesh.Label(1); label < 10; label++ {
			if m := f.far[label]; m != nil && !m.Deadline().After(f.at) {
				for _, h := range m.Tick(f.at).Send {
					f.mail = append(f.mail, letter{f.at.Add(oneWay), label, true, h.Hello})
				}
			}
		}
		if at := f.r.Deadline(); !at.IsZero() && !at.After(f.at) {
			f.do(Tick{})
		}
	}
}

func (f *fast) deliver() {
	f.Helper()
	due := slices.DeleteFunc(slices.Clone(f.mail), func(l letter) bool { return l.at.After(f.at) })
	f.mail = slices.DeleteFunc(f.mail, func(l letter) bool { return !l.at.After(f.at) })
	for _, l := range due {
		switch {
		case f.broken[l.label]:
		case l.ours && f.at.Before(f.held):
			f.mail = append(f.mail, letter{f.held, l.label, true, l.hello})
		case l.ours:
			f.do(HelloHeard{Label: l.label, Hello: l.hello})
		default:
			f.far[l.label].Hello(f.at, l.hello)
		}
	}
}

func linkSet(label mesh.Label, n mesh.NodeID, session mesh.ConnID) LinkSet {
	return LinkSet{Label: label, Neighbour: n, Session: session, Remote: addr(int(label)), MTU: 1400}
}

func pathBy(cost mesh.Cost, labels ...mesh.Label) mesh.Path {
	p := mesh.Path{Nodes: []mesh.NodeID{self}, Labels: labels, Cost: cost, MTU: 1400}
	for i, l := range labels[:len(labels)-1] {
		p.Nodes = append(p.Nodes, mesh.MustNodeID(fmt.Sprintf("relay-%d-%d", i, l)))
	}
	p.Nodes = append(p.Nodes, zeta)
	return p
}

func (f *fast) inUse() mesh.Label {
	p, ok := f.table.Peer(zeta)
	if !ok || len(p.Ways) == 0 {
		return 0
	}
	return p.Ways[0].Labels[0]
}

// Two ways to a destination: packets take the first, leave it when its link is silent, and the report of that goes
// to the slow loop; they come back when it has been up for a while.
func TestPacketsLeaveADeadLink(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(linkSet(2, beta, 12))
	f.do(PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5), pathBy(3000, 2, 6)}})
	if f.inUse() != 0 {
		t.Error("packets leave by a link that was never up")
	}
	f.pass(time.Second)
	if f.inUse() != 1 {
		t.Fatalf("packets leave by %d", f.inUse())
	}
	f.broken[1] = true
	broke := f.at
	for f.inUse() == 1 {
		f.pass(5 * time.Millisecond)
	}
	if took := f.at.Sub(broke); f.inUse() != 2 || took > 150*time.Millisecond {
		t.Errorf("after %v packets leave by %d", took, f.inUse())
	}
	f.pass(time.Second)
	var down bool
	for _, r := range f.reports {
		lr, ok := r.(LinkReport)
		down = down || ok && lr.Label == 1 && lr.Status.State == mesh.LinkDown && lr.Status.Since.After(broke)
	}
	if l, _ := f.table.Link(1); l.Usable || !down {
		t.Errorf("link %+v, reported down: %v", l, down)
	}
	f.broken[1] = false
	f.pass(10 * time.Second)
	if f.inUse() != 1 {
		t.Errorf("packets did not come back: %d", f.inUse())
	}
	f.do(LinkGone{Label: 1})
	if f.inUse() != 2 || len(f.table.Links) != 1 {
		t.Errorf("after the link is gone: %+v", f.table)
	}
	f.do(PeerGone{Node: zeta})
	if len(f.table.Peers) != 0 {
		t.Errorf("peers %+v", f.table.Peers)
	}
}

// A renewed session of a link changes the session and nothing else: its liveness goes on.
func TestLinkKeepsItsStateOverARenewal(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.pass(time.Second)
	n := len(f.reports)
	f.do(linkSet(1, alpha, 12))
	f.pass(200 * time.Millisecond)
	if l, _ := f.table.Link(1); !l.Usable || l.Session != 12 {
		t.Errorf("link %+v", l)
	}
	for _, r := range f.reports[n:] {
		if r.(LinkReport).Status.State != mesh.LinkUp {
			t.Errorf("reported %+v", r)
		}
	}
}

// An error frame makes a path suspect: packets leave it, probes decide, and their answers bring it back.
func TestErrorsAndProbes(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(linkSet(2, beta, 12))
	f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5), pathBy(1050, 2, 6)}})
	f.pass(time.Second)
	f.do(PathError{Node: alpha, Path: pathBy(1, 1)}) // about a destination that is not in use
	f.do(ProbeAnswered{Node: alpha, ID: 1})
	f.do(PathError{Node: zeta, Path: pathBy(1000, 1, 5), Code: wire.ErrorLinkDown})
	if f.inUse() != 2 || len(f.probes) == 0 {
		t.Fatalf("packets leave by %d, probes %v", f.inUse(), f.probes)
	}
	if s := f.r.States(zeta); len(s) != 2 || s[0].State != flow.Suspect || !s[1].InUse || f.r.States(alpha) != nil {
		t.Errorf("states %+v", s)
	}
	f.do(ProbeAnswered{Node: zeta, ID: f.probes[0].ID})
	if s := f.r.States(zeta); s[0].State != flow.Standby {
		t.Errorf("states after the answer %+v", s)
	}
	f.do(PathError{Node: zeta, Path: pathBy(1000, 1, 5), Code: wire.ErrorLinkDown})
	f.pass(5 * time.Second)
	if s := f.r.States(zeta); s[0].State != flow.Dead {
		t.Errorf("states when no answer comes %+v", s)
	}
	f.reports = nil
	f.do(PathError{Node: zeta, Conn: 7, Path: pathBy(1050, 2, 6), Code: wire.ErrorNoSession})
	if len(f.reports) != 1 || f.reports[0] != (Stale{Node: zeta, Conn: 7}) {
		t.Errorf("reports %v", f.reports)
	}
}

// A session that the peer is said not to know, and by which it answers all the same, is known; it is told once.
func TestAnswerByASessionInDoubt(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(PeerSet{Node: zeta, Session: 7, Paths: []mesh.Path{pathBy(1000, 1, 5)}})
	f.pass(time.Second)
	f.reports = nil
	unknown := PathError{Node: zeta, Conn: 7, Path: pathBy(1000, 1, 5), Code: wire.ErrorNoSession}
	for _, ev := range []ReflexEvent{
		ProbeAnswered{Node: zeta}, ProbeAnswered{Node: zeta, Conn: 7}, unknown, ProbeAnswered{Node: zeta, Conn: 6}, ProbeAnswered{Node: zeta}, ProbeAnswered{Node: zeta, Conn: 7},
		ProbeAnswered{Node: zeta, Conn: 7},
	} {
		f.do(ev)
	}
	want := []ControlEvent{Stale{Node: zeta, Conn: 7}, Known{Node: zeta, Conn: 7}}
	if !slices.Equal(f.reports, want) {
		t.Errorf("reports %+v, want %+v", f.reports, want)
	}
}

// An error which says that the far end does not know a session, and which is there before an answer of the far end's can be, comes
// of a relay that cannot know: the path is suspected. One that comes later may be true.
func TestErrorThatIsTooQuick(t *testing.T) {
	for _, tt := range []struct {
		after   time.Duration
		suspect bool
	}{{10 * time.Millisecond, true}, {25 * time.Millisecond, false}} {
		f := newFast(t)
		f.do(linkSet(1, alpha, 11))
		path := pathBy(1000, 1, 5)
		f.do(PeerSet{Node: zeta, Session: 7, Paths: []mesh.Path{path}})
		f.pass(time.Second)
		out := f.do(Sending{Node: zeta})
		if len(out.Probes) != 1 {
			t.Fatalf("probes %v", out.Probes)
		}
		f.at = f.at.Add(20 * time.Millisecond)
		f.do(ProbeAnswered{Node: zeta, Conn: 7, ID: out.Probes[0].ID})
		f.do(PeerSet{Node: zeta, Session: 8, Paths: []mesh.Path{path}})
		f.at = f.at.Add(tt.after)
		f.do(PathError{Node: zeta, Conn: 7, Path: path, Code: wire.ErrorNoSession}) // of the session before
		if s := f.r.States(zeta); s[0].State != flow.Active {
			t.Errorf("states %+v after an error of another session", s)
		}
		f.do(PathError{Node: zeta, Conn: 8, Path: path, Code: wire.ErrorNoSession})
		if s := f.r.States(zeta); (s[0].State == flow.Suspect) != tt.suspect {
			t.Errorf("after %v: states %+v", tt.after, s)
		}
	}
}

// A dial comes out behind the table that holds the way there; a late loop suspects nobody; any frame is a sign of life.
// The network changed: every link says hello now, and those whose interface has gone are down without delay.
func TestNudgeAndCut(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, mesh.MustNodeID("one"), 11))
	f.do(linkSet(2, mesh.MustNodeID("two"), 12))
	f.pass(time.Second)
	f.at = f.at.Add(time.Microsecond)
	if out := f.do(Nudge{}); len(out.Hellos) != 2 {
		t.Errorf("hellos %+v", out.Hellos)
	}
	out := f.do(LinkCut{Label: 2})
	i := slices.IndexFunc(out.Report, func(ev ControlEvent) bool { r, ok := ev.(LinkReport); return ok && r.Label == 2 })
	if i < 0 || out.Report[i].(LinkReport).Status.State != mesh.LinkDown {
		t.Fatalf("reported %+v", out.Report)
	}
	for _, l := range out.Publish.Links {
		if l.Usable != (l.Label == 1) {
			t.Errorf("link %d is usable: %t", l.Label, l.Usable)
		}
	}
	f.do(LinkCut{Label: 9}) // of a link that went meanwhile
}

func TestOtherEvents(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.pass(time.Second)
	out := f.do(DialPeer{ID: 3, Peer: zeta})
	if len(out.Dial) != 1 || out.Dial[0].ID != 3 {
		t.Errorf("dials %v", out.Dial)
	}
	f.broken[1] = true
	quiet := f.at
	for range 40 { // data frames come, hellos do not: the doubt is about our own hellos only
		f.pass(10 * time.Millisecond)
		f.do(Heard{Label: 1, At: f.at})
		f.do(Heard{Label: 9, At: f.at})
		if f.r.links[0].state == mesh.LinkUp && f.at.Sub(quiet) > 300*time.Millisecond {
			t.Fatal("unanswered hellos are not doubted")
		}
	}
	f.broken[1] = false
	f.pass(10 * time.Second)
	f.broken[1] = true
	f.do(Late{By: time.Second})
	f.pass(60 * time.Millisecond)
	if f.r.links[0].state != mesh.LinkUp {
		t.Error("suspects a neighbour right after being late itself")
	}
	f.do(HelloHeard{Label: 9})
}

// copied returns the link by which copies of packets leave, 0 = none.
func (f *fast) copied() mesh.Label {
	if p, ok := f.table.Peer(zeta); ok && len(p.Ways) > 0 && p.Ways[0].Copy.Valid() {
		return p.Ways[0].Copy.Labels[0]
	}
	return 0
}

// While a link falls silent packets go by both paths, from the suspicion on until it is settled.
func TestSilentLinkHasPacketsCopied(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(linkSet(2, beta, 12))
	f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5), pathBy(3000, 2, 6)}})
	f.pass(time.Second)
	if f.copied() != 0 {
		t.Fatal("packets are copied without a doubt")
	}
	f.broken[1] = true
	for begin := f.at; f.copied() == 0; f.pass(time.Millisecond) {
		if f.inUse() != 1 || f.at.Sub(begin) > 150*time.Millisecond {
			t.Fatalf("after %v packets leave by %d, and copies by %d", f.at.Sub(begin), f.inUse(), f.copied())
		}
	}
	if l, _ := f.table.Link(1); f.inUse() != 1 || f.copied() != 2 || !l.Suspect {
		t.Errorf("packets leave by %d, copies by %d, link %+v", f.inUse(), f.copied(), l)
	}
	f.pass(200 * time.Millisecond)
	if f.inUse() != 2 || f.copied() != 0 {
		t.Errorf("when the link is dead packets leave by %d, copies by %d", f.inUse(), f.copied())
	}
}

// What a relay says of its doubt has packets copied; what it says of a link that is down moves them.
func TestDoubtOfARelayHasPacketsCopied(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(linkSet(2, beta, 12))
	f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5), pathBy(1050, 2, 6)}})
	f.pass(time.Second)
	f.do(PathError{Node: zeta, Path: pathBy(1000, 1, 5), Code: wire.ErrorLinkSuspect})
	if f.inUse() != 1 || f.copied() != 2 || len(f.probes) != 1 {
		t.Fatalf("packets leave by %d, copies by %d, probes %v", f.inUse(), f.copied(), f.probes)
	}
	f.do(ProbeAnswered{Node: zeta, ID: f.probes[0].ID})
	f.pass(time.Second)
	if f.inUse() != 1 || f.copied() != 0 {
		t.Errorf("a second later packets leave by %d, copies by %d", f.inUse(), f.copied())
	}
	f.do(PathError{Node: zeta, Path: pathBy(1000, 1, 5), Code: wire.ErrorLinkDown})
	if f.inUse() != 2 || f.copied() != 0 {
		t.Errorf("after an error packets leave by %d, copies by %d", f.inUse(), f.copied())
	}
}
