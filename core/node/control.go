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
	started  time.Time
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
	members  uint64                     // of the database when addrs was made
	mapped   []addressed                // the same as addrs, by node
	charted  *charted                   // the newest graph that was made
	labels   labels
	dials    map[uint64]dialFor
	nextDial uint64
	identity Identity
	indices  [2]session.Indices // links, end to end
	digestAt time.Time
	due      time.Time // when links, targets, peers or the digest have something to do, as of the last full settle
	linksNew bool      // adjacent has to be made anew
	adjacent []mesh.Adjacency
	observed observed
	doors    []door // oldest first
	searches []search
	detours  detourPlan
	byways   bywayBudget
	sunk     time.Time // when all paths to all destinations last began to fail
	alone    alone
	tally    tally

	allowances []*allowance // of neighbours, ascending by node
	out        Effects

	borrowedAt time.Time // when to look whether links that are borrowed can go; zero: there are none
	recordAt   time.Time // when the record is made anew because of addresses; zero: it is not
	recordMade time.Time
	wokeAt     time.Time     // when everything was redialled for it
	wokePause  time.Duration // and how long that is not done again
	renewPeers bool          // end-to-end sessions are replaced as soon as a link is up
}

type conn struct {
	id      mesh.ConnID
	purpose wire.Purpose
	index   uint32
	link    *neighbourLink // of a link connection
	peer    *peer          // of an end-to-end connection
	opened  bool           // the peer's open message came
	theirs  mesh.Label     // in it, of a link connection: the neighbour's label for the link
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
		started:  now,
		db:       lsdb.New(cfg.Self, lsdb.Config{Incarnation: cfg.Incarnation, Boot: cfg.Boot, Shared: cfg.Shared.database()}),
		conns:    map[mesh.ConnID]*conn{},
		addrs:    map[netip.Addr]mesh.NodeID{},
		dials:    map[uint64]dialFor{},
		digestAt: now.Add(jitter(cfg.Rand, digestEvery)),
		charted:  &charted{graph: path.NewGraph(nil)},
	}
	c.graph = c.charted.graph
	c.labels.load(cfg.Labels, cfg.Rand)
	for _, a := range cfg.Neighbours {
		c.addTarget(a, configured, now)
	}
	for _, a := range cfg.Bootstrap {
		c.addTarget(a, joined, now)
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
		c.connDown(now, ev, false)
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
		c.stale(now, ev.Node, ev.Conn)
	case AllFail:
		c.allFail(now, ev.Begins)
	case Known:
		c.known(ev.Node, ev.Conn)
	case PathsFail:
		c.pathsFail(now, ev)
	case Found:
		c.found(now, ev)
	case Resolved:
		c.resolved(now, ev)
	case LocalAddresses:
		c.localAddresses(now, ev.Addresses)
	case CarrierLost:
		c.carrierLost(ev.Via)
	case Woke:
		c.woke(now, ev.Slept)
	case ClockSet:
		c.clockSet(now)
	case Routing:
		c.route(ev)
	case Moved:
		c.moved(now, ev)
	case Echoed:
		c.echoed(now, ev)
	case Tick:
	}
	c.settle(now, c.passing(ev))
	out := c.out
	c.out = Effects{}
	return out
}

// passing reports whether an event is but the time, or news of other nodes, which nothing but the database takes in. They are
// by far the most in a large mesh.
func (c *Control) passing(ev ControlEvent) bool {
	switch ev := ev.(type) {
	case Received:
		switch ev.Message.(type) {
		case wire.RecordMsg, wire.LSAMsg, wire.Digest, wire.Summary, wire.RecordRequest:
			return true
		}
	case Checked:
		return ev.Job.Origin != c.cfg.Self
	case Tick:
		return true
	}
	return false
}

// settle brings everything that depends on time or on what the event changed up to date.
func (c *Control) settle(now time.Time, passing bool) {
	d := c.db.Deadline()
	expired := !d.IsZero() && !now.Before(d)
	if expired {
		c.db.Expire(now)
		c.lapse()
	}
	c.watchTopology(now)
	if passing && !expired && !c.linksNew && now.Before(c.due) && (len(c.peers) == 0 || !c.spfDue(now)) {
		c.settleDetours(now) // in a mesh where somewhere a link always changes most turns are for nothing else
		return
	}
	for _, l := range slices.Clone(c.links) {
		c.settleLink(now, l)
	}
	c.settleBorrowed(now)
	c.settleAlone(now)
	c.settleTargets(now)
	c.settleRecord(now)
	c.announce(now)
	c.syncTopology(now)
	c.settleDetours(now)
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
	at := sooner(sooner(c.due, c.db.Deadline()), c.detours.at)
	if c.version != c.db.Version() && len(c.peers) > 0 { // else nobody needs to know before it is asked for
		at = sooner(at, c.lastSPF.Add(spfPause))
	}
	return at
}

// ownDeadline returns when links, targets, peers or the digest have something to do.
func (c *Control) ownDeadline() time.Time {
	at := c.digestAt
	soonest := func(t time.Time) { at = sooner(at, t) }
	soonest(c.alone.next)
	soonest(c.borrowedAt)
	soonest(c.recordAt)
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

func (c *Control) pool(p wire.Purpose) *session.Indices {
	if p == wire.PurposeLink {
		return &c.indices[0]
	}
	return &c.indices[1]
}

// linkBy returns the first link that a function is true of, nil if there is none.
func (c *Control) linkBy(which func(*neighbourLink) bool) *neighbourLink {
	if i := slices.IndexFunc(c.links, which); i >= 0 {
		return c.links[i]
	}
	return nil
}

// peer returns the record of a destination, nil if there is none.
func (c *Control) peer(n mesh.NodeID) *peer {
	if i, ok := slices.BinarySearchFunc(c.peers, n, func(p *peer, n mesh.NodeID) int { return p.node.Compare(n) }); ok {
		return c.peers[i]
	}
	return nil
}
