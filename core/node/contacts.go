package node

import (
	"bytes"
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/session"
	"x0tta6bl4/mesh"
)

// A node without any link asks all members that it knows of, in rounds: four addresses at a time, the first round two
// to four seconds after the last link went, the next ones a second apart at first and half a minute at last. Every wait
// is drawn from the upper half of its range, and every node goes through the members in an order of its own, so that
// many nodes that lost each other at once do not ask the same one, or all together.
const (
	aloneFor     = 2 * time.Second
	roundFirst   = time.Second
	roundMax     = 30 * time.Second
	perRound     = 4
	borrowedLife = time.Minute // links that such a round made go when one that lasts has been up for this
)

// Bounds of the contacts that outlive the process.
const (
	MaxContacts      = 256
	contactAddresses = 4
)

// Contact is a member and where it was reached.
type Contact struct {
	Node      mesh.NodeID      `json:"node"`
	Addresses []netip.AddrPort `json:"addresses"`
}

// alone is the search of a node that has no link.
type alone struct {
	since   time.Time // zero: it is not alone
	next    time.Time
	backoff session.Backoff
	ring    []Found // what is still to be asked in this turn
}

// settleAlone asks members for as long as the node has no link.
func (c *Control) settleAlone(now time.Time) {
	if c.linkBy((*neighbourLink).usable) != nil {
		if !c.alone.since.IsZero() {
			c.alone = alone{}
			c.endSearch()
		}
		return
	}
	if c.alone.since.IsZero() {
		c.alone = alone{
			since: now, next: now.Add(aloneFor + jitter(c.cfg.Rand, aloneFor)),
			backoff: session.Backoff{First: roundFirst, Max: roundMax},
		}
	}
	if now.Before(c.alone.next) {
		return
	}
	c.alone.next = now.Add(c.alone.backoff.Next(c.cfg.Rand))
	if len(c.alone.ring) == 0 {
		c.alone.ring = c.everybody()
	}
	for n := 0; n < perRound && len(c.alone.ring) > 0; n++ {
		c.hint(now, c.alone.ring[0], contactsOpen)
		c.alone.ring = c.alone.ring[1:]
	}
}

// endSearch gives up what the search has begun: one link will do.
func (c *Control) endSearch() {
	for _, t := range slices.Clone(c.targets) {
		if t.kind == hinted && t.via == viaContacts && !t.met {
			c.dropTarget(t)
		}
	}
}

// everybody returns the addresses of all members that are known, in random order.
func (c *Control) everybody() []Found {
	var all []Found
	known := map[netip.AddrPort]bool{}
	add := func(n mesh.NodeID, a netip.AddrPort) {
		if n != c.cfg.Self && !known[a] && c.target(a) == nil {
			known[a] = true
			all = append(all, Found{Addr: a, Via: viaContacts, Want: n})
		}
	}
	for _, n := range c.db.Nodes() {
		for _, a := range c.announcedBy(n.ID) {
			add(n.ID, a)
		}
	}
	for _, k := range c.cfg.Contacts {
		for _, a := range k.Addresses {
			add(k.Node, a)
		}
	}
	c.cfg.Rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// Contacts returns what is worth remembering of the members for a life in which nobody else answers: at most
// MaxContacts, neighbours first. Which others each node remembers of many is its own choice, and stays the same, so
// that not all fall upon the same ones.
func (c *Control) Contacts() []Contact {
	type ranked struct {
		Contact
		neighbour bool
		rank      [32]byte
	}
	var rs []ranked
	for _, n := range c.db.Nodes() {
		as := c.announcedBy(n.ID)
		if n.ID == c.cfg.Self || len(as) == 0 {
			continue
		}
		slices.SortFunc(as, netip.AddrPort.Compare)
		rs = append(rs, ranked{
			Contact:   Contact{n.ID, as[:min(len(as), contactAddresses)]},
			neighbour: c.linkBy(func(l *neighbourLink) bool { return l.neighbour == n.ID && l.usable() }) != nil,
			rank:      sha256.Sum256([]byte(c.cfg.Self.String() + " " + n.ID.String())),
		})
	}
	slices.SortFunc(rs, func(a, b ranked) int {
		if a.neighbour != b.neighbour {
			return btoi(b.neighbour) - btoi(a.neighbour)
		}
		return bytes.Compare(a.rank[:], b.rank[:])
	})
	rs = rs[:min(len(rs), MaxContacts)]
	cs := make([]Contact, len(rs))
	for i, r := range rs {
		cs[i] = r.Contact
	}
	slices.SortFunc(cs, func(a, b Contact) int { return a.Node.Compare(b.Node) })
	return cs
}

// settleBorrowed ends links that the search of a lonely node made when it is needed no more: a link that lasts has
// been up for a while, and the neighbour is reached without.
func (c *Control) settleBorrowed(now time.Time) {
	if c.borrowedAt.IsZero() || now.Before(c.borrowedAt) {
		return
	}
	c.borrowedAt = now.Add(borrowedLife)
	if c.linkBy(func(l *neighbourLink) bool { return l.borrowed }) == nil {
		c.borrowedAt = time.Time{}
	}
	if !c.settled(now) {
		return
	}
	for _, l := range slices.Clone(c.links) {
		if l.borrowed && len(c.PathsTo(l.neighbour).Paths) > 1 {
			c.closeAll(l.sess.Conns(), "its sender is not alone any more")
			for _, id := range l.sess.Conns() {
				l.sess.Closed(id)
			}
			c.settleLink(now, l)
			c.labels.forget(l.label)
			c.tally.returned++
		}
	}
}

// settled reports whether a link to a lasting target has been up for a while.
func (c *Control) settled(now time.Time) bool {
	return slices.ContainsFunc(c.targets, func(t *target) bool {
		return t.kind.lasting() && c.linkBy(func(l *neighbourLink) bool {
			return l.remote == t.addr && l.usable() && now.Sub(l.since) >= borrowedLife
		}) != nil
	})
}
