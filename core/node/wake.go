package node

import (
	"slices"
	"time"

	"x0tta6bl4/wire"
)

// How a node comes back after it, or its network, was away.
const (
	recordPause = 5 * time.Second  // between two records because of addresses
	wakePause   = 10 * time.Second // redialling everything is too dear for a machine that is merely overloaded
	wakeRest    = 5 * time.Minute  // and at last, if it stays so, this long passes between two times
	sleptLong   = 20 * time.Second // others may have given up their connections and sessions, which are silent for 30 s at most
)

// woke takes the news that this process stood still. Neighbours noticed within a fraction of a second and may have
// forgotten its links; whatever waits for a time waits for one that was reckoned before. A short standstill leaves the
// connections whole, and comes again and again where the machine has too much to do: all that it causes then is hellos.
func (c *Control) woke(now time.Time, slept time.Duration) {
	c.tally.woke++
	since := now.Sub(c.wokeAt)
	if slept < sleptLong && since < c.wokePause {
		c.out.Reflex = append(c.out.Reflex, Nudge{})
		return
	}
	if since < 2*c.wokePause {
		c.wokePause = min(2*c.wokePause, wakeRest)
	} else {
		c.wokePause = wakePause
	}
	c.wokeAt = now
	c.nudge(now)
	for _, l := range c.links {
		c.redial(now, l)
	}
	c.renewPeers = c.renewPeers || slept >= sleptLong
}

// nudge has every link say hello and every address tried now.
func (c *Control) nudge(now time.Time) {
	c.out.Reflex = append(c.out.Reflex, Nudge{})
	for _, t := range c.targets {
		if t.idle() {
			t.again(now, c.cfg.Rand)
		}
	}
	for _, l := range c.links {
		l.backoff.Reset()
		l.next = now
	}
	if !c.alone.since.IsZero() {
		c.alone.backoff.Reset()
		c.alone.next = sooner(c.alone.next, now.Add(roundFirst/2+jitter(c.cfg.Rand, roundFirst/2)))
	}
}

// renewSessions replaces the end-to-end sessions once a link is there to do it by.
func (c *Control) renewSessions(now time.Time) {
	if !c.renewPeers {
		return
	}
	c.renewPeers = false
	for _, p := range c.peers {
		p.sess.RenewAt(now)
		p.backoff.Reset()
		p.next = now
	}
}

// localAddresses takes the addresses at which this node is reached now. Neighbours see a new source address by the
// hellos; nodes that look for this one see it in the record.
func (c *Control) localAddresses(now time.Time, as []string) {
	c.nudge(now)
	as = as[:min(len(as), wire.MaxAddresses)]
	if slices.Equal(as, c.cfg.Addresses) {
		return
	}
	c.cfg.Addresses = slices.Clone(as)
	if len(c.identity.Chain) > 0 {
		c.recordAt = later(now, c.recordMade.Add(recordPause))
	}
}

func (c *Control) settleRecord(now time.Time) {
	if !c.recordAt.IsZero() && !now.Before(c.recordAt) {
		c.signRecord(now)
	}
}

// carrierLost takes the news that nothing goes out by an interface: what went there is down, whatever it last said. If
// there is another way to the neighbour's address the hellos find it in a round trip.
func (c *Control) carrierLost(via string) {
	if via == "" {
		return
	}
	for _, l := range c.links {
		if l.via != 0 && l.iface == via {
			c.out.Reflex = append(c.out.Reflex, LinkCut{l.label})
		}
	}
}
