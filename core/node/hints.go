package node

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// Bounds of what hints may cause. Anybody can send hints: they cost a few dials at most.
const (
	hintTries    = 2
	hintsPerVia  = 4  // pending at once from one source
	hintsInAll   = 64 // pending at once
	linksPerVia  = 32 // beyond so many links by one interface its hints make no more: a segment is no full mesh
	maxDoors     = 256
	doorLife     = 10 * time.Minute
	hintRush     = time.Second     // an address that was dialled within this is not dialled again because of a hint
	justOpened   = 2 * time.Second // a link this young counts as good though no hello has come back yet
	viaRecord    = "record "       // + node: an address that the node announces
	viaContacts  = "contacts"
	contactsOpen = 16 // pending at once from viaContacts

	recordBurst = 16              // addresses of one node's record that are tried without a pause
	recordEvery = 5 * time.Second // and then one for each of these: a member may announce whatever it likes as its own
	maxSought   = 256
)

// door is an address that led to a neighbour which is linked by another one.
type door struct {
	addr netip.AddrPort
	who  mesh.NodeID
	at   time.Time
}

// usable reports whether a link carries traffic.
func (l *neighbourLink) usable() bool { return l.via != 0 && l.status.State != mesh.LinkDown }

// good reports whether a link is usable or has just begun.
func (l *neighbourLink) good(now time.Time) bool {
	return l.usable() || l.via != 0 && now.Sub(l.since) < justOpened
}

// sameWay reports whether a link goes by an interface, as far as is known.
func (l *neighbourLink) sameWay(via string) bool { return via == "" || l.iface == "" || l.iface == via }

// found takes a hint.
func (c *Control) found(now time.Time, ev Found) {
	if !ev.Addr.IsValid() || ev.Addr.Port() == 0 || ev.Want == c.cfg.Self {
		return
	}
	if t := c.target(ev.Addr); t != nil {
		if t.idle() && now.Sub(t.dialled) >= hintRush && now.Before(t.next) {
			t.again(now, c.cfg.Rand) // somebody is there: no reason to sleep on
		}
		return
	}
	if c.pointless(now, ev) {
		return
	}
	c.hint(now, ev, hintsPerVia)
}

// hint makes a target of a hint, if there is room.
func (c *Control) hint(now time.Time, ev Found, most int) bool {
	here, all := 0, 0
	for _, t := range c.targets {
		if t.kind == hinted {
			all++
			here += btoi(t.via == ev.Via)
		}
	}
	if here >= most || all >= hintsInAll {
		c.tally.hintsDropped++
		return false
	}
	t := c.addTarget(ev.Addr, hinted, now)
	if t == nil {
		return false
	}
	c.tally.hints++
	c.due = now // also where the event is one that only the database takes in
	t.want, t.who, t.via, t.tries = ev.Want, ev.Want, ev.Via, hintTries
	if ev.Via == viaContacts {
		t.tries = 1 // there are others to ask
	}
	return true
}

// pointless reports whether a hint leads to where a link is, or to one more than are wanted.
func (c *Control) pointless(now time.Time, ev Found) bool {
	who := ev.Want
	c.doors = slices.DeleteFunc(c.doors, func(d door) bool { return now.Sub(d.at) > doorLife })
	if i := slices.IndexFunc(c.doors, func(d door) bool { return d.addr == ev.Addr }); i >= 0 {
		who = c.doors[i].who
	}
	byVia := 0
	for _, l := range c.links {
		if l.remote == ev.Addr && !l.sess.Empty() {
			return true
		}
		if !who.IsZero() && l.neighbour == who && l.good(now) && l.sameWay(ev.Via) {
			return true
		}
		byVia += btoi(ev.Via != "" && l.iface == ev.Via)
	}
	return byVia >= linksPerVia
}

// redundant reports whether a connection that came of a hint leads to a neighbour that is linked already over the same
// interface, and remembers the address as that neighbour's.
func (c *Control) redundant(now time.Time, t *target, ev ConnUp) bool {
	if t == nil || t.kind != hinted {
		return false
	}
	l := c.linkBy(func(l *neighbourLink) bool {
		return l.neighbour == ev.Peer && l.remote != ev.Remote && l.good(now) && l.sameWay(ev.Via)
	})
	if l == nil {
		return false
	}
	c.tally.hintsKnown++
	if len(c.doors) == maxDoors {
		c.doors = slices.Delete(c.doors, 0, 1)
	}
	c.doors = append(c.doors, door{t.addr, ev.Peer, now})
	c.dropTarget(t)
	return true
}

// search is how often a node's announced addresses were tried.
type search struct {
	node mesh.NodeID
	owed time.Time // the tries so far are made up for then
}

// elsewhere looks for a neighbour, that is not met now, at the addresses which it announces.
func (c *Control) elsewhere(now time.Time, n mesh.NodeID) {
	if n == c.cfg.Self || c.linkBy(func(l *neighbourLink) bool { return l.neighbour == n && l.good(now) }) != nil {
		return
	}
	for _, a := range c.announcedBy(n) {
		if c.linkBy(func(l *neighbourLink) bool { return l.remote == a && l.neighbour == n }) != nil || c.target(a) != nil {
			continue
		}
		if !c.mayTry(now, n) {
			c.tally.hintsDropped++
			return
		}
		if c.hint(now, Found{Addr: a, Via: viaRecord + n.String(), Want: n}, hintsPerVia) {
			c.tried(now, n)
		}
	}
}

// mayTry reports whether another address that a node announces may be tried now. Whoever announces the addresses of
// others, so that all who miss it dial those, has little of it.
func (c *Control) mayTry(now time.Time, n mesh.NodeID) bool {
	c.searches = slices.DeleteFunc(c.searches, func(s search) bool { return !now.Before(s.owed) })
	i := slices.IndexFunc(c.searches, func(s search) bool { return s.node == n })
	if i < 0 {
		return len(c.searches) < maxSought
	}
	return c.searches[i].owed.Sub(now) <= (recordBurst-1)*recordEvery
}

func (c *Control) tried(now time.Time, n mesh.NodeID) {
	if i := slices.IndexFunc(c.searches, func(s search) bool { return s.node == n }); i >= 0 {
		c.searches[i].owed = c.searches[i].owed.Add(recordEvery)
		return
	}
	c.searches = append(c.searches, search{n, now.Add(recordEvery)})
}

// announcedBy returns the addresses in a node's record, in random order: only some of many are tried at a time. Those that
// mean another thing to each machine, or the mesh itself, are left out: a record must not make us dial our own services,
// a whole segment, or ourselves through the mesh.
func (c *Control) announcedBy(n mesh.NodeID) (as []netip.AddrPort) {
	info, ok := c.db.Node(n)
	if !ok {
		return nil
	}
	inside := mesh.Prefix(c.cfg.Domain)
	for _, s := range info.Addresses {
		a, err := netip.ParseAddrPort(s)
		ip := a.Addr().Unmap()
		if err == nil && a.Port() != 0 && ip.IsGlobalUnicast() && ip.Zone() == "" && !inside.Contains(ip) {
			as = append(as, netip.AddrPortFrom(ip, a.Port()))
		}
	}
	c.cfg.Rand.Shuffle(len(as), func(i, j int) { as[i], as[j] = as[j], as[i] })
	return as
}

// sought reports whether a node's addresses are of interest: it is expected at an address where it does not answer.
func (c *Control) sought(n mesh.NodeID) bool {
	return slices.ContainsFunc(c.targets, func(t *target) bool { return !t.met && t.kind != hinted && t.known() == n }) ||
		c.linkBy(func(l *neighbourLink) bool { return l.neighbour == n && !l.usable() }) != nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
