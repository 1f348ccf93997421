package node

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/wire"
)

// A neighbour's address changes under a link: its NAT forgot a mapping, or its network gave it another address. The
// newest authentic frame from elsewhere is but a sign of it, since whoever is on the way can copy frames. It is
// believed when a challenge, sent to that address, comes back from there under the link's keys.
const (
	challengeLife  = 3 * time.Second
	challengeAgain = 90 * time.Millisecond // a repeated sign within this needs no repeated challenge
	maxChallenges  = 4                     // addresses under test at once for one link; the oldest gives way
	moveBurst      = 6                     // moves of one link that need not wait
	moveEvery      = 10 * time.Second      // and then one for each of these: a link that goes to and fro is dear
)

// challenge is one address under test.
type challenge struct {
	from  netip.AddrPort
	bytes wire.Challenge
	began time.Time
	last  time.Time // when it was sent last
}

// movement is what a link knows of its neighbour's moving.
type movement struct {
	tests []challenge
	owed  time.Time // the moves so far are made up for then
}

// moved takes the sign that a neighbour sends from another address.
func (c *Control) moved(now time.Time, ev Moved) {
	l := c.linkBy(func(l *neighbourLink) bool { return l.label == ev.Label })
	if l == nil || l.via == 0 || l.via != ev.Conn || samePlace(l.remote, ev.From) || !ev.From.IsValid() {
		return
	}
	to := zoned(ev.From, l.remote)
	if c.linkBy(func(o *neighbourLink) bool { return o.neighbour == l.neighbour && o.remote == to }) != nil {
		c.tally.movesKnown++ // frames of one link by the way of another: that one is there already
		return
	}
	if l.move.owed.Sub(now) > (moveBurst-1)*moveEvery {
		return // told again while frames come from there
	}
	l.move.tests = slices.DeleteFunc(l.move.tests, func(t challenge) bool { return now.Sub(t.began) > challengeLife })
	i := slices.IndexFunc(l.move.tests, func(t challenge) bool { return t.from == to })
	if i < 0 {
		if len(l.move.tests) == maxChallenges {
			l.move.tests = slices.Delete(l.move.tests, 0, 1)
		}
		l.move.tests = append(l.move.tests, challenge{from: to, bytes: c.newChallenge(), began: now})
		i = len(l.move.tests) - 1
	} else if now.Sub(l.move.tests[i].last) < challengeAgain {
		return
	}
	t := &l.move.tests[i]
	t.last = now
	c.tally.challenges++
	c.out.Challenge = append(c.out.Challenge, SendChallenge{Label: l.label, To: to, Challenge: t.bytes})
}

func (c *Control) newChallenge() (b wire.Challenge) {
	binary.BigEndian.PutUint64(b[:8], c.cfg.Rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], c.cfg.Rand.Uint64())
	return b
}

// echoed takes the reply to a challenge. Whatever does not match one that is recent is counted and changes nothing.
func (c *Control) echoed(now time.Time, ev Echoed) {
	l := c.linkBy(func(l *neighbourLink) bool { return l.label == ev.Label && l.via != 0 })
	if l == nil {
		c.tally.echoesRefused++
		return
	}
	i := slices.IndexFunc(l.move.tests, func(t challenge) bool {
		return samePlace(t.from, ev.From) && t.bytes == ev.Challenge && now.Sub(t.began) <= challengeLife
	})
	if i < 0 {
		c.tally.echoesRefused++
		return
	}
	c.move(now, l, l.move.tests[i].from)
}

// move makes another address a link's. Its label, liveness and session stay; frames go to the new address from the
// next table on, and a new connection is made there while they do.
func (c *Control) move(now time.Time, l *neighbourLink, to netip.AddrPort) {
	c.tally.moves++
	l.move = movement{owed: later(l.move.owed, now).Add(moveEvery)}
	c.labels.rebind(l.label, to)
	l.remote = to
	c.tellLink(l)
	c.redial(now, l)
}

// redial has a link's connection replaced at once; an attempt that is under way may lead to where nobody is any more.
func (c *Control) redial(now time.Time, l *neighbourLink) {
	c.giveUp(func(d dialFor) bool { return d.link == l })
	l.dialling = false
	l.next = now
	l.backoff.Reset()
	l.sess.RenewAt(now)
}

// samePlace compares addresses; a zone counts only where both have one.
func samePlace(a, b netip.AddrPort) bool {
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	if a.Addr().Zone() == "" || b.Addr().Zone() == "" {
		x, y = x.WithZone(""), y.WithZone("")
	}
	return x == y && a.Port() == b.Port()
}

// zoned gives an address the zone of another, by which it is reached.
func zoned(a, like netip.AddrPort) netip.AddrPort {
	zone := like.Addr().Zone()
	if zone == "" || a.Addr().Zone() != "" {
		return a
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()).WithZone(zone), a.Port())
}
