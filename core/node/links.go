package node

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/core/session"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A link that comes back after being down this long gets a fresh connection: the old one's retransmission timer
// has backed off, and would hold the database exchange up by seconds.
const staleConnection = time.Second

// A neighbour whose link is down for this long is looked for at the other addresses that it announces.
const seekAfter = time.Second

// neighbourLink is one way to one neighbour: its sessions, and what the fast loop says of it.
type neighbourLink struct {
	label     mesh.Label
	neighbour mesh.NodeID
	remote    netip.AddrPort
	theirs    mesh.Label // the neighbour's label for this link; 0 until it said so
	mtu       int
	sess      *session.Peer
	via       mesh.ConnID // the session that the fast loop was told to use
	since     time.Time   // when the fast loop was told of the link, this time
	status    mesh.LinkStatus
	dialling  bool
	next      time.Time // earliest time of the next renewal dial
	backoff   session.Backoff
	clock     clockGuess // of the neighbour
	iface     string     // by which the neighbour is reached; empty: not known
	move      movement
	seekAt    time.Time // when to look for the neighbour elsewhere if the link is still down; zero: not
	borrowed  bool      // made for want of any other link
	around    path.Around
	capacity  mesh.BitsPerSecond // as the fast loop was told; 0: not known
	low       mesh.BitsPerSecond // what the neighbour announces, if that is too little to be counted
	lookedAt  uint64             // the version of the database that capacity is of
}

func (l *neighbourLink) deadline() time.Time {
	at := l.sess.Deadline()
	if due := l.sess.RenewDue(); !due.IsZero() && !l.dialling && !l.sess.Pending() {
		at = sooner(at, later(due, l.next))
	}
	_, move := l.dueMove()
	return sooner(sooner(at, l.seekAt), move)
}

// maxParallel bounds the links to one neighbour: each takes a label and a place in our announcement, and by coming from
// ever new addresses one neighbour could crowd out all others.
const maxParallel = 16

// crowded reports whether a connection would make one link too many to its neighbour.
func (c *Control) crowded(ev ConnUp) bool {
	n := 0
	for _, l := range c.links {
		if l.neighbour != ev.Peer {
			continue
		}
		if l.remote == ev.Remote {
			return false
		}
		n++
	}
	return n >= maxParallel
}

func (c *Control) linkConnUp(now time.Time, cn *conn, ev ConnUp, d dialFor) {
	l := c.linkTo(now, ev.Peer, ev.Remote)
	if d.link != nil {
		d.link.dialling = false
	}
	if d.target != nil {
		d.target.dialling = false
		if d.target.kind == hinted && d.target.via == viaContacts {
			l.borrowed = true
			c.borrowedAt = sooner(c.borrowedAt, now.Add(borrowedLife))
		}
	}
	if ev.Via != "" {
		l.iface = ev.Via
	}
	l.mtu = ev.MTU
	cn.link = l
	l.sess.Add(session.Conn{ID: cn.id, Opener: c.opener(ev), Established: now, HardEnd: ev.NotAfter})
	c.out.Install = append(c.out.Install, Install{cn.id, wire.PurposeLink, ev.Peer, l.label, cn.index, l.mtu})
	c.out.Send = append(c.out.Send, Send{cn.id, []wire.Message{wire.LinkOpen{
		Version: wire.Version, Index: cn.index, Label: l.label, Hello: c.cfg.Hello, MTU: uint16(min(ev.MTU, 65535)), Boot: c.cfg.Boot,
	}}})
}

func (c *Control) opener(ev ConnUp) mesh.NodeID {
	if ev.Dial != 0 {
		return c.cfg.Self
	}
	return ev.Peer
}

// linkTo returns the link to a neighbour over an underlay address, making it if need be.
func (c *Control) linkTo(now time.Time, n mesh.NodeID, remote netip.AddrPort) *neighbourLink {
	for _, l := range c.links {
		if l.neighbour == n && l.remote == remote {
			return l
		}
	}
	l := &neighbourLink{
		label: c.labels.get(n, remote, c.labelled), neighbour: n, remote: remote, sess: session.New(c.cfg.Self),
		status: mesh.LinkStatus{State: mesh.LinkDown, Since: now}, backoff: c.backoff(),
	}
	c.links = append(c.links, l)
	slices.SortFunc(c.links, func(a, b *neighbourLink) int { return cmp.Compare(a.label, b.label) })
	return l
}

// labelled reports whether a link has this label.
func (c *Control) labelled(l mesh.Label) bool {
	return slices.ContainsFunc(c.links, func(x *neighbourLink) bool { return x.label == l })
}

func (c *Control) linkOpened(now time.Time, cn *conn, m wire.LinkOpen) {
	l := cn.link
	cn.opened, cn.theirs = true, m.Label
	if c.doubled(now, cn, m) {
		return
	}
	if m.MTU > 0 {
		l.mtu = min(l.mtu, max(int(m.MTU), wire.MinLinkMTU))
	}
	if t := c.target(l.remote); t != nil {
		t.backoff.Reset()
	}
	l.backoff.Reset()
	c.out.Activate = append(c.out.Activate, Activate{cn.id, wire.PurposeLink, m.Index})
	c.closeAll(l.sess.Confirm(cn.id, m.Boot), "the neighbour was restarted")
	c.settleLink(now, l)
	c.sendDigest(cn.id)
}

func (c *Control) settleLink(now time.Time, l *neighbourLink) {
	c.settleMove(now, l)
	d := l.sess.Decide(now)
	c.closeAll(d.Close, "superseded")
	switch {
	case d.Use == 0 && l.via != 0:
		l.via = 0
		l.move.tests = nil
		c.dropLink(now, l)
	case d.Use != l.via:
		if l.via == 0 {
			l.since = now
			c.detours.graph = nil // the fast loop has forgotten the detours of an earlier life
			c.detours.stir(now)
		}
		l.via = d.Use
		l.theirs = c.conns[d.Use].theirs // of this one: the neighbour may know our address as the other end of another link, too
		c.linksNew = true
		c.tellLink(l)
	default:
		c.settleCapacity(l)
	}
	if d.Renew && !l.dialling && !l.sess.Pending() && !now.Before(l.next) {
		l.dialling = true
		c.nextDial++
		c.dials[c.nextDial] = dialFor{link: l}
		c.out.Dial = append(c.out.Dial, Dial{ID: c.nextDial, Addr: l.remote, Want: l.neighbour})
	}
	if !l.seekAt.IsZero() && !now.Before(l.seekAt) {
		l.seekAt = time.Time{}
		c.elsewhere(now, l.neighbour)
	}
	if l.sess.Empty() {
		c.links = slices.DeleteFunc(c.links, func(o *neighbourLink) bool { return o == l })
	}
}

// tellLink tells the fast loop what a link is now.
func (c *Control) tellLink(l *neighbourLink) {
	l.capacity, l.low = c.capacityOf(l)
	c.out.Reflex = append(c.out.Reflex, LinkSet{l.label, l.neighbour, l.via, l.remote, l.mtu, c.cfg.Hello, l.capacity})
}

func (c *Control) dropLink(now time.Time, l *neighbourLink) {
	l.status = mesh.LinkStatus{State: mesh.LinkDown, Since: now}
	l.around = path.Around{}
	c.linksNew = true
	c.out.Reflex = append(c.out.Reflex, LinkGone{l.label})
}

func (c *Control) linkReport(now time.Time, ev LinkReport) {
	i := slices.IndexFunc(c.links, func(l *neighbourLink) bool { return l.label == ev.Label && l.via != 0 })
	if i < 0 {
		return
	}
	l := c.links[i]
	if ev.Status.Since.Before(l.since) {
		return // of the life before the last LinkGone, which crossed it: believed, it would never be corrected
	}
	was := l.status
	l.status = ev.Status
	if was.State != ev.Status.State || was.Cost != ev.Status.Cost || was.Quality != ev.Status.Quality ||
		was.MTU != ev.Status.MTU || was.Thin != ev.Status.Thin {
		c.linksNew = true
	}
	if was.State != mesh.LinkDown && ev.Status.State == mesh.LinkDown {
		l.seekAt = now.Add(seekAfter)
	}
	if was.State == mesh.LinkDown && ev.Status.State == mesh.LinkUp {
		c.renewSessions(now)
		if now.Sub(was.Since) > staleConnection && now.Sub(l.sess.Established()) > staleConnection {
			l.sess.RenewAt(now)
		}
		c.sendDigest(l.via)
	}
}
