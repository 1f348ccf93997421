package node

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/path"
	"x0tta6bl4/core/session"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Times of the slow loop.
const (
	digestEvery = 10 * time.Second      // neighbours compare database digests this often
	spfPause    = 20 * time.Millisecond // paths are recomputed at most this often, the first time at once
	wantedFor   = 30 * time.Second      // how long a destination stays wanted after the last request for it
)

// Control is the slow machine of a node. Invariants: every connection belongs to exactly one link or peer; a
// label is bound to one link; a peer with a usable session or a recent wish has its paths computed.
type Control struct {
	cfg      Config
	now      time.Time // of the last Step
	db       *lsdb.DB
	graph    *path.Graph
	version  uint64 // of the database when the paths of peers were last looked at
	unmapped bool   // graph and addrs are of an earlier version
	lastSPF  time.Time
	conns    map[mesh.ConnID]*conn
	links    []*neighbourLink // ascending by label
	targets  []*target
	peers    []*peer                    // ascending by node
	addrs    map[netip.Addr]mesh.NodeID // of every node in the database
	labels   labels
	dials    map[uint64]dialFor
	nextDial uint64
	identity Identity
	indices  [2]session.Indices // links, end to end
	digestAt time.Time
	due      time.Time // when links, targets, peers or the digest have something to do, as of the last full settle
	linksNew bool      // adjacent has to be made anew
	adjacent []mesh.Adjacency
	out      Effects
}

type conn struct {
	id      mesh.ConnID
	purpose wire.Purpose
	index   uint32
	link    *neighbourLink // of a link connection
	peer    *peer          // of an end-to-end connection
	opened  bool           // the peer's open message came
}

type dialFor struct {
	target *target
	link   *neighbourLink
	peer   *peer
}

// NewControl returns the slow machine of a node that starts at now with nothing but its configuration.
func NewControl(cfg Config, now time.Time) *Control {
	cfg.defaults()
	c := &Control{
		cfg:      cfg,
		db:       lsdb.New(cfg.Self, lsdb.Config{Incarnation: cfg.Incarnation, Boot: cfg.Boot}),
		conns:    map[mesh.ConnID]*conn{},
		addrs:    map[netip.Addr]mesh.NodeID{},
		dials:    map[uint64]dialFor{},
		digestAt: now.Add(jitter(cfg.Rand, digestEvery)),
		graph:    path.NewGraph(nil),
	}
	c.labels.load(cfg.Labels, cfg.Rand)
	for _, a := range cfg.Neighbours {
		c.addTarget(a, now)
	}
	c.recall(now)
	return c
}

// Step takes one event at time now and returns what is to be done.
func (c *Control) Step(now time.Time, ev ControlEvent) Effects {
	c.out = Effects{}
	c.now = now
	switch ev := ev.(type) {
	case ConnUp:
		c.connUp(now, ev)
	case ConnDown:
		c.connDown(now, ev)
	case DialFailed:
		c.dialFailed(now, ev)
	case Received:
		c.received(now, ev)
	case Identity:
		c.setIdentity(now, ev)
	case Signed:
		c.signed(now, ev)
	case Checked:
		c.checked(now, ev)
	case Wanted:
		c.wanted(now, ev.Addr)
	case Used:
		if p := c.peer(ev.Node); p != nil && ev.At.After(p.used) {
			p.used = ev.At
		}
	case LinkReport:
		c.linkReport(now, ev)
	case Stale:
		c.stale(now, ev.Node)
	case Tick:
	}
	c.settle(now, c.passing(ev))
	out := c.out
	c.out = Effects{}
	return out
}

// passing reports whether an event is but news of other nodes, which nothing but the database takes in. They are by far
// the most in a large mesh.
func (c *Control) passing(ev ControlEvent) bool {
	switch ev := ev.(type) {
	case Received:
		switch ev.Message.(type) {
		case wire.RecordMsg, wire.LSAMsg, wire.Digest, wire.Summary, wire.RecordRequest:
			return true
		}
	case Checked:
		return ev.Job.Origin != c.cfg.Self
	}
	return false
}

// settle brings everything that depends on time or on what the event changed up to date.
func (c *Control) settle(now time.Time, passing bool) {
	d := c.db.Deadline()
	expired := !d.IsZero() && !now.Before(d)
	if expired {
		c.db.Expire(now)
	}
	if passing && !expired && !c.linksNew && now.Before(c.due) && !c.spfDue(now) {
		return
	}
	for _, l := range slices.Clone(c.links) {
		c.settleLink(now, l)
	}
	c.settleTargets(now)
	c.announce(now)
	c.syncTopology(now)
	for _, p := range slices.Clone(c.peers) {
		c.settlePeer(now, p)
	}
	if !now.Before(c.digestAt) {
		c.digestAt = now.Add(digestEvery - digestEvery/4 + jitter(c.cfg.Rand, digestEvery/2))
		for _, l := range c.links {
			c.sendDigest(l.via)
		}
	}
	if c.labels.dirty {
		c.labels.dirty = false
		s := c.labels.state()
		c.out.Persist = &s
	}
	c.due = c.ownDeadline()
}

// Deadline returns when Step must be called with a Tick at the latest.
func (c *Control) Deadline() time.Time {
	at := sooner(c.due, c.db.Deadline())
	if c.version != c.db.Version() {
		at = sooner(at, c.lastSPF.Add(spfPause))
	}
	return at
}

// ownDeadline returns when links, targets, peers or the digest have something to do.
func (c *Control) ownDeadline() time.Time {
	at := c.digestAt
	soonest := func(t time.Time) { at = sooner(at, t) }
	for _, l := range c.links {
		soonest(l.deadline())
	}
	for _, t := range c.targets {
		if t.idle() {
			soonest(t.next)
		}
	}
	for _, p := range c.peers {
		soonest(p.deadline(c.now, c.cfg.Idle))
	}
	return at
}

func (c *Control) connUp(now time.Time, ev ConnUp) {
	d, known := c.dials[ev.Dial]
	delete(c.dials, ev.Dial)
	if ev.Dial != 0 && !known {
		c.out.Close = append(c.out.Close, Close{ev.Conn, ev.Purpose, "dial was given up"})
		return
	}
	switch {
	case ev.Peer == c.cfg.Self:
		c.out.Close = append(c.out.Close, Close{ev.Conn, ev.Purpose, "this is myself"})
		if d.target != nil {
			d.target.self = true
		}
		return
	case ev.Dial == 0 && ev.Purpose == wire.PurposeLink && c.crowded(ev):
		c.out.Close = append(c.out.Close, Close{ev.Conn, ev.Purpose, "too many links to this neighbour"})
		return
	}
	cn := &conn{id: ev.Conn, purpose: ev.Purpose, index: c.pool(ev.Purpose).Take(c.cfg.Rand)}
	switch {
	case ev.Purpose == wire.PurposeLink:
		c.linkConnUp(now, cn, ev, d)
	default:
		c.peerConnUp(now, cn, ev)
	}
	c.conns[ev.Conn] = cn
}

func (c *Control) connDown(now time.Time, ev ConnDown) {
	cn := c.conns[ev.Conn]
	if cn == nil {
		return
	}
	c.forget(cn, false, ev.Reason)
	if cn.link != nil {
		cn.link.sess.Closed(cn.id)
		if !cn.opened {
			c.failTargets(now, cn.link.remote)
			cn.link.next = now.Add(cn.link.backoff.Next(c.cfg.Rand))
		}
		return
	}
	cn.peer.sess.Closed(cn.id)
	if !cn.opened {
		cn.peer.next = now.Add(cn.peer.backoff.Next(c.cfg.Rand))
	}
}

// forget drops a connection and has its keys erased; end says whether it is ours to close.
func (c *Control) forget(cn *conn, end bool, reason string) {
	delete(c.conns, cn.id)
	c.pool(cn.purpose).Release(cn.index)
	if end && cn.opened {
		c.out.Send = append(c.out.Send, Send{cn.id, []wire.Message{wire.Bye{Reason: reason}}})
	}
	c.out.Close = append(c.out.Close, Close{cn.id, cn.purpose, reason})
}

func (c *Control) closeAll(ids []mesh.ConnID, reason string) {
	for _, id := range ids {
		if cn := c.conns[id]; cn != nil {
			c.forget(cn, true, reason)
		}
	}
}

func (c *Control) dialFailed(now time.Time, ev DialFailed) {
	d, ok := c.dials[ev.Dial]
	if !ok {
		return
	}
	delete(c.dials, ev.Dial)
	switch {
	case d.target != nil:
		d.target.self = ev.Self
		d.target.fail(now, c.cfg.Rand)
	case d.link != nil:
		d.link.dialling = false
		d.link.next = now.Add(d.link.backoff.Next(c.cfg.Rand))
	case d.peer != nil:
		d.peer.dialling = false
		d.peer.next = now.Add(d.peer.backoff.Next(c.cfg.Rand))
	}
}

func (c *Control) received(now time.Time, ev Received) {
	cn := c.conns[ev.Conn]
	if cn == nil {
		return
	}
	switch m := ev.Message.(type) {
	case wire.LinkOpen:
		if cn.link != nil && !cn.opened {
			c.linkOpened(now, cn, m)
		}
	case wire.PeerOpen:
		if cn.peer != nil && !cn.opened {
			c.peerOpened(now, cn, m)
		}
	case wire.Bye:
		c.connDown(now, ConnDown{cn.id, "closed by the peer: " + m.Reason})
	default:
		if cn.link != nil && cn.opened {
			c.flooded(now, cn, ev.Message)
		}
	}
}

func (c *Control) setIdentity(now time.Time, id Identity) {
	rotated := c.identity.Leaf != id.Leaf && len(c.identity.Chain) > 0
	c.identity = id
	c.signRecord(now)
	if !rotated {
		return
	}
	for _, t := range c.targets { // who refused the old SVID may take the new one
		t.backoff.Reset()
		t.next = now
	}
	// Make before break: every session gets a successor under the new SVID, spread over a twentieth of its life.
	spread := min(id.NotAfter.Sub(now)/20, time.Minute)
	for _, l := range c.links {
		l.sess.RenewAt(now.Add(jitter(c.cfg.Rand, spread)))
	}
	for _, p := range c.peers {
		p.sess.RenewAt(now.Add(jitter(c.cfg.Rand, spread)))
	}
}

func (c *Control) spfDue(now time.Time) bool {
	return c.version != c.db.Version() && now.Sub(c.lastSPF) >= spfPause
}

// syncTopology recomputes the paths of every peer when the topology changed, at most once per spfPause.
func (c *Control) syncTopology(now time.Time) {
	if !c.spfDue(now) {
		return
	}
	c.version = c.db.Version()
	c.lastSPF = now
	c.unmapped = true
	for _, p := range c.peers {
		// Only the news of a later boot ends sessions: a node that jumped over its own stale announcements announces
		// a boot that is later than the one its sessions carry, for as long as it lives.
		if n, ok := c.db.Node(p.node); ok && n.Boot > p.boot {
			p.boot = n.Boot
			if dead := p.sess.EndBefore(n.Boot); len(dead) > 0 {
				c.closeAll(dead, "the peer was restarted")
			}
		}
	}
	for _, p := range c.peers {
		c.findPaths(p)
	}
}

// mapTopology makes graph and addrs anew if the topology changed since. A node that talks to nobody does not need them.
func (c *Control) mapTopology() {
	if !c.unmapped {
		return
	}
	c.unmapped = false
	c.graph = path.NewGraph(c.db.Edges())
	clear(c.addrs)
	for _, n := range c.db.Nodes() {
		c.addrs[mesh.Addr(c.cfg.Domain, n.ID)] = n.ID
	}
}

func (c *Control) pool(p wire.Purpose) *session.Indices {
	if p == wire.PurposeLink {
		return &c.indices[0]
	}
	return &c.indices[1]
}

// peer returns the record of a destination, nil if there is none.
func (c *Control) peer(n mesh.NodeID) *peer {
	if i, ok := slices.BinarySearchFunc(c.peers, n, func(p *peer, n mesh.NodeID) int { return p.node.Compare(n) }); ok {
		return c.peers[i]
	}
	return nil
}
