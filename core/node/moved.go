package node

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/wire"
)

// A neighbour's address changes under a link: its NAT forgot a mapping, or its network gave it another address. The
// newest authentic frame from elsewhere is but a sign of it, since whoever sees frames can copy them and be faster. It is
// believed when a challenge, sent to that address, comes back from there under the link's keys, while one that was sent to
// the link's address does not: a neighbour that still answers there has not moved, and what comes from elsewhere is a copy
// (RFC 9000 §9.3.3 has the same attacker).
const (
	challengeLife  = 3 * time.Second
	challengeAgain = 90 * time.Millisecond // a repeated sign within this needs no repeated challenge
	maxChallenges  = 4                     // addresses under test at once for one link; the oldest gives way
	moveBurst      = 6                     // moves of one link that need not wait
	moveEvery      = 10 * time.Second      // and then one for each of these: a link that goes to and fro is dear

	stayReaction = 30 * time.Millisecond  // what the neighbour may take to answer at the link's address, beyond the way
	stayMost     = time.Second            // no move waits longer for that
	stayDoubt    = 500 * time.Millisecond // but by so much, if it answered there lately: somebody copies frames
	stayMemory   = 10 * time.Second       // which is remembered for this
)

// challenge is one address under test.
type challenge struct {
	from   netip.AddrPort
	bytes  wire.Challenge
	began  time.Time
	last   time.Time // when it was sent last
	proven bool      // it came back
}

func (t *challenge) over(now time.Time) bool { return now.Sub(t.began) > challengeLife }

// movement is what a link knows of its neighbour's moving.
type movement struct {
	tests []challenge
	home  challenge // of the link's own address, while others are under test
	stays time.Time // when the neighbour last answered there
	owed  time.Time // the moves so far are made up for then
}

// moved takes the sign that a neighbour sends from another address.
func (c *Control) moved(now time.Time, ev Moved) {
	l := c.linkBy(func(l *neighbourLink) bool { return l.label == ev.Label })
	if l == nil || l.via == 0 || l.via != ev.Conn || samePlace(l.remote, ev.From) || !ev.From.IsValid() {
		return
	}
	to := zoned(ev.From, l.remote)
	if c.elsewhereLinked(l, to) {
		c.tally.movesKnown++ // frames of one link by the way of another: that one is there already
		return
	}
	m := &l.move
	if m.owed.Sub(now) > (moveBurst-1)*moveEvery {
		return // told again while frames come from there
	}
	m.tests = slices.DeleteFunc(m.tests, func(t challenge) bool { return t.over(now) })
	if len(m.tests) == 0 || m.home.over(now) {
		m.home = challenge{from: l.remote, bytes: c.newChallenge(), began: now}
	}
	i := slices.IndexFunc(m.tests, func(t challenge) bool { return t.from == to })
	if i < 0 {
		m.tests = append(m.tests, challenge{from: to, bytes: c.newChallenge(), began: now})
		if len(m.tests) > maxChallenges {
			m.tests = slices.Delete(m.tests, 0, 1)
		}
		i = len(m.tests) - 1
	}
	c.challenge(now, l, &m.home)
	c.challenge(now, l, &m.tests[i])
}

// challenge sends a test's challenge, unless it was sent just now.
func (c *Control) challenge(now time.Time, l *neighbourLink, t *challenge) {
	if now.Sub(t.last) < challengeAgain {
		return
	}
	t.last = now
	c.tally.challenges++
	c.out.Challenge = append(c.out.Challenge, SendChallenge{Label: l.label, To: t.from, Challenge: t.bytes})
}

func (c *Control) newChallenge() (b wire.Challenge) {
	binary.BigEndian.PutUint64(b[:8], c.cfg.Rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], c.cfg.Rand.Uint64())
	return b
}

// elsewhereLinked reports whether another link leads to l's neighbour at an address.
func (c *Control) elsewhereLinked(l *neighbourLink, a netip.AddrPort) bool {
	return c.linkBy(func(o *neighbourLink) bool { return o != l && o.neighbour == l.neighbour && o.remote == a }) != nil
}

// echoed takes the reply to a challenge. Whatever does not match one that is recent is counted and changes nothing.
func (c *Control) echoed(now time.Time, ev Echoed) {
	l := c.linkBy(func(l *neighbourLink) bool { return l.label == ev.Label && l.via != 0 })
	if l == nil {
		c.tally.echoesRefused++
		return
	}
	m := &l.move
	if len(m.tests) > 0 && m.home.bytes == ev.Challenge && !m.home.over(now) {
		if samePlace(l.remote, ev.From) { // from elsewhere it is no more than the neighbour's new address answering
			c.tally.stays++
			m.tests, m.stays = nil, now
		}
		return
	}
	i := slices.IndexFunc(m.tests, func(t challenge) bool {
		return samePlace(t.from, ev.From) && t.bytes == ev.Challenge && !t.over(now)
	})
	if i < 0 {
		c.tally.echoesRefused++
		return
	}
	m.tests[i].proven = true
}

// dueMove returns the first address that proved to be the neighbour's, and when the link moves there unless the
// neighbour answers at the link's own address before.
func (l *neighbourLink) dueMove() (to netip.AddrPort, at time.Time) {
	i := slices.IndexFunc(l.move.tests, func(t challenge) bool { return t.proven })
	if i < 0 || l.via == 0 {
		return netip.AddrPort{}, time.Time{}
	}
	t := l.move.tests[i]
	wait := min(l.status.RTT+4*l.status.Jitter+stayReaction, stayMost)
	if t.began.Sub(l.move.stays) < stayMemory {
		wait += stayDoubt
	}
	return t.from, t.began.Add(wait)
}

func (c *Control) settleMove(now time.Time, l *neighbourLink) {
	to, at := l.dueMove()
	switch {
	case at.IsZero() || now.Before(at):
	case c.elsewhereLinked(l, to): // made while we waited
		c.tally.movesKnown++
		l.move.tests = nil
	default:
		c.move(now, l, to)
	}
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
