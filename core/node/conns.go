package node

import (
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

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
	case ev.Purpose == wire.PurposeLink && c.redundant(now, d.target, ev):
		c.out.Close = append(c.out.Close, Close{ev.Conn, ev.Purpose, "there is a link already"})
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

// connDown takes the end of a connection; bye says that the other end wanted it.
func (c *Control) connDown(now time.Time, ev ConnDown, bye bool) {
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
		} else if cn.link.sess.Empty() && !bye {
			c.missed(now, cn.link)
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
		c.targetFailed(now, d.target)
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
		c.connDown(now, ConnDown{cn.id, "closed by the peer: " + m.Reason}, true)
	default:
		if cn.link != nil && cn.opened {
			c.flooded(now, cn, ev.Message)
		}
	}
}

// giveUp forgets dials: a connection that still comes of one is closed.
func (c *Control) giveUp(which func(dialFor) bool) {
	for _, id := range slices.Sorted(maps.Keys(c.dials)) {
		if which(c.dials[id]) {
			delete(c.dials, id)
		}
	}
}
