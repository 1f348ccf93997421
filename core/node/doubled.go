package node

import (
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A neighbour with several addresses may see us at one only: what would be two links here is one link there, and it
// sends by one of its connections. The other link would hear nothing and be down for ever. The neighbour's label tells:
// it is the same on both.

// doubled reports whether a connection that has just been opened is by such a second address. It is closed then, and the
// address is taken for met while the first link is good. If that one is not, it makes room instead.
func (c *Control) doubled(now time.Time, cn *conn, m wire.LinkOpen) bool {
	l := cn.link
	first := c.linkBy(func(o *neighbourLink) bool {
		return o != l && o.neighbour == l.neighbour && o.theirs == m.Label && o.via != 0
	})
	if first == nil || l.via != 0 {
		return false
	}
	c.tally.doubled++
	c.closeAll(first.sess.EndBefore(m.Boot), "the neighbour was restarted")
	if !first.sess.Has(first.via) || !first.good(now) {
		for _, id := range first.sess.Conns() {
			first.sess.Closed(id)
			c.closeAll([]mesh.ConnID{id}, "the neighbour is reached by another address")
		}
		c.settleLink(now, first)
		return false
	}
	if t := c.target(l.remote); t != nil {
		t.same, t.who = first.label, l.neighbour
		t.backoff.Reset()
	}
	l.sess.Closed(cn.id)
	c.closeAll([]mesh.ConnID{cn.id}, "there is a link already, by another address")
	c.settleLink(now, l)
	return true
}

// metElsewhere reports whether a target's address leads to where a good link is, though not by that address.
func (c *Control) metElsewhere(now time.Time, t *target) bool {
	if t.same == 0 {
		return false
	}
	if c.linkBy(func(l *neighbourLink) bool { return l.label == t.same && l.neighbour == t.who && l.good(now) }) == nil {
		t.same = 0
		return false
	}
	return true
}
