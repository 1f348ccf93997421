package node

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/core/session"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// peer is one destination that this node exchanges packets with, or is asked to.
type peer struct {
	node     mesh.NodeID
	addr     netip.Addr
	sess     *session.Peer
	via      mesh.ConnID
	paths    []mesh.Path
	found    path.Result // that paths are of
	graph    *path.Graph // in which they were found, or found to be as good as any
	used     time.Time   // when packets last passed, or were last wanted
	wanted   time.Time   // last request for a session
	dialling bool
	next     time.Time
	backoff  session.Backoff
	stale    staleness
	told     bool   // the fast loop knows of it
	boot     uint64 // latest that the node has announced
	byways   byways
}

// deadline returns when settlePeer has something to do, as seen at now, when it ran last.
func (p *peer) deadline(now time.Time, idle time.Duration) time.Time {
	at := sooner(sooner(p.used.Add(idle), p.sess.Deadline()), p.bywayDeadline())
	if p.dialling || p.sess.Pending() || len(p.paths) == 0 {
		return at // nothing to dial, or nowhere to: whatever ends that comes as an event
	}
	if p.sess.Doubted() {
		at = sooner(at, later(p.stale.next, p.next))
	}
	if due := p.sess.RenewDue(); !due.IsZero() {
		return sooner(at, later(due, p.next))
	}
	if p.wish(now) {
		at = sooner(at, p.next)
	}
	return at
}

// wish reports whether somebody has asked for a session lately.
func (p *peer) wish(now time.Time) bool { return now.Sub(p.wanted) < wantedFor }

// sooner returns the earlier of two times of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (c *Control) wanted(now time.Time, a netip.Addr) {
	if p := c.peer(c.addrs[a]); p == nil || len(p.paths) == 0 {
		c.lastSPF = time.Time{} // a first packet does not wait for the pause between two looks at the topology
		c.syncTopology(now)
	}
	c.mapTopology()
	n, ok := c.addrs[a]
	if !ok && c.knowsMesh(now) {
		c.out.NoSuch = append(c.out.NoSuch, a)
	}
	if !ok || n == c.cfg.Self {
		return
	}
	p := c.peerFor(now, n)
	p.used, p.wanted = now, now
}

// peerFor returns the record of a destination, making it if need be.
func (c *Control) peerFor(now time.Time, n mesh.NodeID) *peer {
	if p := c.peer(n); p != nil {
		return p
	}
	p := &peer{
		node: n, addr: mesh.Addr(c.cfg.Domain, n), sess: session.New(c.cfg.Self), used: now, next: now,
		backoff: c.backoff(),
	}
	if known, ok := c.db.Node(n); ok {
		p.boot = known.Boot
	}
	c.peers = append(c.peers, p)
	slices.SortFunc(c.peers, func(a, b *peer) int { return a.node.Compare(b.node) })
	c.findPaths(p)
	return p
}

// findPaths computes the disjoint paths to a peer and tells the fast loop if they changed.
func (c *Control) findPaths(p *peer) {
	c.mapTopology()
	c.usePaths(p, c.graph.Disjoint(c.cfg.Self, p.node, c.cfg.Disjoint))
}

// usePaths makes what was found in the present graph the paths to a peer.
func (c *Control) usePaths(p *peer, found path.Result) {
	p.found, p.graph = found, c.graph
	paths := p.found.Paths
	same := p.told && slices.EqualFunc(paths, p.paths, sameMetrics)
	if len(p.paths) == 0 && len(paths) > 0 && p.sess.Use() == 0 && !p.dialling {
		p.next = time.Time{} // the destination became reachable: no back-off from when it was not
		p.backoff.Reset()
	}
	p.paths = paths
	if c.followByways(c.now, p) || !same {
		c.tellPeer(p)
	}
}

func sameMetrics(a, b mesh.Path) bool {
	return a.Same(b) && a.Cost == b.Cost && a.MTU == b.MTU && a.Capacity == b.Capacity
}

func (c *Control) tellPeer(p *peer) {
	p.told = true
	c.out.Reflex = append(c.out.Reflex, PeerSet{p.node, p.addr, p.via, p.paths, p.byways.paths})
}

func (c *Control) peerConnUp(now time.Time, cn *conn, ev ConnUp) {
	p := c.peerFor(now, ev.Peer)
	if ev.Dial != 0 {
		p.dialling = false
	}
	cn.peer = p
	p.used = now
	p.sess.Add(session.Conn{ID: cn.id, Opener: c.opener(ev), Established: now, HardEnd: ev.NotAfter})
	c.out.Install = append(c.out.Install, Install{Conn: cn.id, Purpose: wire.PurposeE2E, Node: p.node, Index: cn.index})
	c.out.Send = append(c.out.Send, Send{cn.id, []wire.Message{wire.PeerOpen{
		Version: wire.Version, Index: cn.index, Boot: c.cfg.Boot,
	}}})
}

func (c *Control) peerOpened(now time.Time, cn *conn, m wire.PeerOpen) {
	cn.opened = true
	p := cn.peer
	p.backoff.Reset()
	c.out.Activate = append(c.out.Activate, Activate{cn.id, wire.PurposeE2E, m.Index})
	c.closeAll(p.sess.Confirm(cn.id, m.Boot), "the peer was restarted")
	c.settlePeer(now, p)
}

func (c *Control) settlePeer(now time.Time, p *peer) {
	c.settleByways(now, p)
	d := p.sess.Decide(now)
	c.closeAll(d.Close, "superseded")
	if d.Use != p.via {
		p.via = d.Use
		c.tellPeer(p)
	}
	quiet := now.Sub(p.used)
	if quiet >= c.cfg.Idle {
		c.dropPeer(p)
		return
	}
	want := d.Use == 0 && p.wish(now) || d.Use != 0 && d.Renew
	unknown := p.sess.Doubted() && !now.Before(p.stale.next)
	if (want || unknown) && !p.dialling && !p.sess.Pending() && len(p.paths) > 0 && !now.Before(p.next) {
		p.dialling = true
		if unknown {
			p.stale.dialled(now)
		}
		c.nextDial++
		c.dials[c.nextDial] = dialFor{peer: p}
		c.out.Reflex = append(c.out.Reflex, DialPeer{ID: c.nextDial, Peer: p.node})
	}
}

func (c *Control) dropPeer(p *peer) {
	c.closeAll(p.sess.Conns(), "idle")
	c.peers = slices.DeleteFunc(c.peers, func(o *peer) bool { return o == p })
	c.out.Reflex = append(c.out.Reflex, PeerGone{p.node})
}
