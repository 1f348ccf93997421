package node

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// ReflexEvent is what the fast loop takes.
type ReflexEvent interface{ reflexEvent() }

type (
	// LinkSet says that a link exists and which session to send by.
	LinkSet struct {
		Label     mesh.Label
		Neighbour mesh.NodeID
		Session   mesh.ConnID
		Remote    netip.AddrPort
		MTU       int
		Hello     time.Duration
		Capacity  mesh.BitsPerSecond // 0 = not known
	}
	// LinkGone says that a link has no session any more.
	LinkGone struct{ Label mesh.Label }
	// PeerSet gives a destination's session (0 = none) and disjoint paths, the preferred one first, and byways: paths besides.
	PeerSet struct {
		Node    mesh.NodeID
		Addr    netip.Addr
		Session mesh.ConnID
		Paths   []mesh.Path
		Byways  []mesh.Path
	}
	// PeerGone says that a destination is not in use any more.
	PeerGone struct{ Node mesh.NodeID }
	// DialPeer asks for an end-to-end connection; it comes out again behind the table that holds the way there.
	DialPeer struct {
		ID   uint64
		Peer mesh.NodeID
	}
	// HelloHeard is an authenticated hello from a neighbour, which came at At; zero = now.
	HelloHeard struct {
		Label mesh.Label
		Hello wire.Hello
		At    time.Time
	}
	// Heard says that some fresh authenticated frame came over a link at a time.
	Heard struct {
		Label mesh.Label
		At    time.Time
	}
	// PathError says that a relay on a path that we sent by reported an error about a packet of ours.
	PathError struct {
		Node mesh.NodeID
		Conn mesh.ConnID // the session it was sent by; 0: not known
		Path mesh.Path
		Code wire.ErrorCode
	}
	// ProbeAnswered says that an end-to-end probe came back, by which session, and what the peer has counted.
	ProbeAnswered struct {
		Node   mesh.NodeID
		Conn   mesh.ConnID
		ID     uint64
		Counts flow.Counts
	}
	// Sending says that packets for a destination are being sent.
	Sending struct {
		Node      mesh.NodeID
		Protected bool // among them some that go by two paths
	}
	// TooBig says that a frame of Size bytes of UDP payload was too large to leave by a link.
	TooBig struct {
		Label mesh.Label
		Size  int
	}
	// Nudge asks every link to say hello now.
	Nudge struct{}
	// LinkCut says that nothing can go out by a link's interface.
	LinkCut struct{ Label mesh.Label }
	// Late says that this loop itself ran late.
	Late struct{ By time.Duration }
)

func (LinkSet) reflexEvent()       {}
func (LinkGone) reflexEvent()      {}
func (PeerSet) reflexEvent()       {}
func (PeerGone) reflexEvent()      {}
func (DialPeer) reflexEvent()      {}
func (HelloHeard) reflexEvent()    {}
func (Heard) reflexEvent()         {}
func (PathError) reflexEvent()     {}
func (ProbeAnswered) reflexEvent() {}
func (Sending) reflexEvent()       {}
func (TooBig) reflexEvent()        {}
func (Nudge) reflexEvent()         {}
func (LinkCut) reflexEvent()       {}
func (Late) reflexEvent()          {}
func (Tick) reflexEvent()          {}

// ReflexEffects are what the fast loop wants done, in the order of the fields.
type ReflexEffects struct {
	Publish *mesh.Forwarding // the data plane's new table
	Hellos  []SendHello
	Probes  []SendProbe
	Dial    []DialPeer
	Report  []ControlEvent // to the slow loop
	Stirs   []mesh.Label   // links that have to be woken: see Rest
}

type (
	// SendHello sends a hello over a link.
	SendHello struct {
		Label mesh.Label
		Hello wire.Hello
		Size  int // bytes of UDP payload that the frame is to have; 0 = no more than it needs
	}
	// SendProbe sends an end-to-end probe over one path.
	SendProbe struct {
		Node mesh.NodeID
		Path mesh.Path
		ID   uint64
		Full bool // as long as the longest packet
	}
)

// Reflex is the fast machine of a node. Invariant: the published table names only links and sessions that Control
// has set and not withdrawn.
type Reflex struct {
	cfg   Config
	beat  *link.Beat
	links []*reflexLink // ascending by label
	peers []*reflexPeer // ascending by node
	dirty bool
	out   ReflexEffects

	stalled time.Time // when links last fell silent together
	sunk    bool      // as the slow loop was told

	switches uint64 // of destinations that are not in use any more
}

type reflexPeer struct {
	PeerSet
	flow *flow.Flow
	ways []mesh.Way
	pair []mesh.Path

	failing []mesh.Path // as the slow loop was told
	began   time.Time   // since when Session is used
	unknown mesh.ConnID // that the slow loop was told is not known to the peer; 0: none
}

// NewReflex returns the fast machine of a node that starts without links.
func NewReflex(cfg Config) *Reflex {
	cfg.defaults()
	return &Reflex{cfg: cfg, beat: link.NewBeat(cfg.Rand)}
}

// Step takes one event at time now and returns what is to be done.
func (r *Reflex) Step(now time.Time, ev ReflexEvent) ReflexEffects {
	r.take(now, ev)
	return r.settle(now)
}

// settle does what is due, and returns what is to be done since it was called last.
func (r *Reflex) settle(now time.Time) ReflexEffects {
	r.tick(now)
	out := r.out
	r.out = ReflexEffects{}
	return out
}

// take takes one event; settle follows.
func (r *Reflex) take(now time.Time, ev ReflexEvent) {
	switch ev := ev.(type) {
	case LinkSet:
		r.linkSet(now, ev)
	case LinkGone:
		r.linkGone(now, ev.Label)
	case PeerSet:
		r.peerSet(now, ev)
	case PeerGone:
		if i, ok := r.findPeer(ev.Node); ok {
			r.switches += r.peers[i].flow.Switches()
			r.peers = slices.Delete(r.peers, i, i+1)
			r.dirty = true
		}
	case DetoursSet:
		if l := r.link(ev.Label); l != nil {
			l.detours, r.dirty = ev.Detours, true
		}
	case DialPeer:
		r.out.Dial = append(r.out.Dial, ev)
	case HelloHeard:
		if l := r.link(ev.Label); l != nil {
			at := ev.At
			if at.IsZero() {
				at = now
			}
			l.live.Hello(at, ev.Hello)
		}
	case Heard:
		if l := r.link(ev.Label); l != nil {
			l.live.Heard(ev.At)
		}
	case PathError:
		r.pathError(now, ev)
	case ProbeAnswered:
		r.probeAnswered(now, ev)
	case Sending:
		if i, ok := r.findPeer(ev.Node); ok {
			r.peers[i].flow.Sending(now, ev.Protected)
		}
	case TooBig:
		if l := r.link(ev.Label); l != nil {
			l.live.TooBig(ev.Size)
		}
	case Nudge:
		for _, l := range r.links {
			l.live.Nudge(now)
		}
	case LinkCut:
		if l := r.link(ev.Label); l != nil {
			l.live.Cut()
		}
	case Steering:
		r.steer(now, ev)
	case Late:
		for _, l := range r.links {
			l.live.Late(now, ev.By)
		}
		for _, p := range r.peers {
			p.flow.Late(now)
		}
	case Tick:
	}
}

// tick runs the links and flows whose time has come, or that the event touched, and publishes what changed.
func (r *Reflex) tick(now time.Time) {
	doubt := false
	for _, l := range r.links {
		if l.rest != nil {
			if l.rest.Tick(l.side, now) {
				r.out.Stirs = append(r.out.Stirs, l.Label)
			}
			continue
		}
		o := l.live.Tick(now)
		doubt = doubt || o.Changed && l.live.Status().State == mesh.LinkSuspect
		for _, h := range o.Send {
			r.out.Hellos = append(r.out.Hellos, SendHello{Label: l.Label, Hello: h.Hello, Size: h.Size})
		}
		if o.Changed || o.Measured {
			r.report(now, l)
		}
	}
	if doubt {
		r.stall(now)
	}
	for _, p := range r.peers {
		for _, pr := range p.flow.Tick(now) {
			r.out.Probes = append(r.out.Probes, SendProbe{p.Node, pr.Path, pr.ID, pr.Full})
		}
		ways, pair := p.flow.Ways(), p.flow.Pair()
		r.dirty = r.dirty || !slices.EqualFunc(ways, p.ways, sameWay) || !slices.EqualFunc(pair, p.pair, sameNumbered)
		p.ways, p.pair = ways, pair
		if failing := p.flow.Failing(); !slices.EqualFunc(failing, p.failing, mesh.Path.Same) {
			p.failing = failing
			r.out.Report = append(r.out.Report, PathsFail{p.Node, failing})
		}
	}
	if sunk := r.allFail(now); sunk != r.sunk {
		r.sunk = sunk
		r.out.Report = append(r.out.Report, AllFail{sunk})
	}
	if r.dirty {
		r.dirty = false
		r.out.Publish = r.table()
	}
}

// Deadline returns when Step must be called with a Tick at the latest; zero when nothing is pending.
func (r *Reflex) Deadline() time.Time {
	var at time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, l := range r.links {
		if l.rest != nil {
			soonest(l.rest.Deadline(l.side))
			continue
		}
		soonest(l.live.Deadline())
	}
	for _, p := range r.peers {
		soonest(p.flow.Deadline())
	}
	return at
}

func (r *Reflex) peerSet(now time.Time, ev PeerSet) {
	r.dirty = true
	i, ok := r.findPeer(ev.Node)
	if !ok {
		r.peers = slices.Insert(r.peers, i, &reflexPeer{flow: flow.New(ev.Node, r.flows())})
	}
	p := r.peers[i]
	if ok && p.Session != ev.Session {
		p.flow.Anew(now)
	}
	if p.Session != ev.Session {
		p.began = now
	}
	p.PeerSet = ev
	p.flow.SetPaths(now, ev.Paths, ev.Byways...)
	for _, path := range slices.Concat(ev.Paths, ev.Byways) {
		state := mesh.LinkDown
		if l := r.link(path.Labels[0]); l != nil {
			state = l.state
		}
		p.flow.Link(now, path.Labels[0], state)
	}
}

func (r *Reflex) findPeer(n mesh.NodeID) (int, bool) {
	return slices.BinarySearchFunc(r.peers, n, func(p *reflexPeer, x mesh.NodeID) int { return p.Node.Compare(x) })
}
