package node

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/session"
	"x0tta6bl4/mesh"
)

// targetKind says why an address is dialled.
type targetKind uint8

const (
	configured targetKind = iota // by the operator: tried for ever, told of while no link leads there
	joined                       // told at the join: tried for ever, waited for only without any link
	recalled                     // of a link that was lost, in this life or the one before: tried recallTries times
	hinted                       // of a hint: tried hintTries times, kept only if it leads somewhere new
)

func (k targetKind) lasting() bool { return k == configured || k == joined }

// target is an address that the node wants a link to.
type target struct {
	addr     netip.AddrPort
	kind     targetKind
	want     mesh.NodeID // zero: any member
	who      mesh.NodeID // who was met there last; zero: nobody yet
	name     string      // the configured host name that it is an address of
	via      string      // where the hint came from
	tries    int         // attempts that one which does not last has left
	fails    int         // in a row
	self     bool        // it leads to this very node
	met      bool        // a link to it exists
	same     mesh.Label  // of a link, by another address, that is all it would lead to; 0 = none
	dialling bool
	dialled  time.Time // when the last attempt began
	next     time.Time
	backoff  session.Backoff
}

func (t *target) idle() bool {
	return !t.self && !t.met && !t.dialling && (t.kind.lasting() || t.tries > 0)
}

// spent reports whether nothing is left to be done about a target that does not last.
func (t *target) spent() bool {
	return !t.kind.lasting() && !t.dialling && (t.met || t.self || t.tries <= 0)
}

func (t *target) fail(now time.Time, r *rand.Rand) {
	t.dialling = false
	t.tries--
	t.fails++
	t.next = now.Add(t.backoff.Next(r))
}

// again lets a target be dialled soon, as if it had never failed.
func (t *target) again(now time.Time, r *rand.Rand) {
	t.backoff.Reset()
	t.next = now.Add(jitter(r, soon))
}

// soon is the span over which dials are spread that one event causes.
const soon = 20 * time.Millisecond

func (c *Control) target(a netip.AddrPort) *target {
	if i := slices.IndexFunc(c.targets, func(t *target) bool { return t.addr == a }); i >= 0 {
		return c.targets[i]
	}
	return nil
}

// addTarget returns the new target for an address, nil if there is one already.
func (c *Control) addTarget(a netip.AddrPort, k targetKind, now time.Time) *target {
	if c.target(a) != nil {
		return nil
	}
	t := &target{addr: a, kind: k, next: now.Add(jitter(c.cfg.Rand, c.cfg.RetryFirst/4)), backoff: c.backoff()}
	c.targets = append(c.targets, t)
	return t
}

// dropTarget forgets a target; an attempt that is under way is given up.
func (c *Control) dropTarget(t *target) {
	c.targets = slices.DeleteFunc(c.targets, func(o *target) bool { return o == t })
	c.giveUp(func(d dialFor) bool { return d.target == t })
}

// How many of the links of an earlier life are tried again, and how often each.
const (
	recallLinks = 32
	recallTries = 3
)

// recall dials the neighbours of the life before: they still hold connections to that, and those that have our address
// configured notice only when they time out. What is configured is known by name, too, if it was a link once.
func (c *Control) recall(now time.Time) {
	bs := c.labels.bindings
	for _, b := range bs[max(0, len(bs)-recallLinks):] {
		if t := c.addTarget(b.Remote, recalled, now); t != nil {
			t.want, t.tries = b.Neighbour, recallTries
		}
		c.target(b.Remote).who = b.Neighbour
	}
}

// missed dials a neighbour whose link ended without a word: at its old address, and at those that it announces now. It
// may have lost the connection only, as one that was frozen does, and may not have us configured.
func (c *Control) missed(now time.Time, l *neighbourLink) {
	if t := c.target(l.remote); t == nil && c.recalls(l.neighbour) >= maxParallel {
		return // one that comes from ever new addresses and goes without a word
	}
	t := c.addTarget(l.remote, recalled, now)
	if t != nil {
		t.want, t.who, t.tries = l.neighbour, l.neighbour, recallTries
	} else {
		t = c.target(l.remote)
	}
	if t.idle() && now.Sub(t.dialled) > c.cfg.RetryFirst {
		t.again(now, c.cfg.Rand)
	}
	c.elsewhere(now, l.neighbour)
}

// recalls returns how many addresses are dialled because links to a neighbour were lost there.
func (c *Control) recalls(n mesh.NodeID) (k int) {
	for _, t := range c.targets {
		k += btoi(t.kind == recalled && t.want == n)
	}
	return k
}

func (c *Control) backoff() session.Backoff {
	return session.Backoff{First: c.cfg.RetryFirst, Max: c.cfg.RetryMax}
}

func (c *Control) settleTargets(now time.Time) {
	for _, t := range c.targets {
		i := slices.IndexFunc(c.links, func(l *neighbourLink) bool { return l.remote == t.addr && !l.sess.Empty() })
		if t.met = i >= 0; t.met {
			t.dialling, t.fails, t.who, t.same = false, 0, c.links[i].neighbour, 0
		} else if c.metElsewhere(now, t) {
			t.met, t.dialling, t.fails = true, false, 0
		}
		if t.idle() && !now.Before(t.next) {
			t.dialling, t.dialled = true, now
			t.next = now.Add(c.cfg.RetryFirst) // a connection that ends at once is not dialled again at once
			c.nextDial++
			c.dials[c.nextDial] = dialFor{target: t}
			c.out.Dial = append(c.out.Dial, Dial{ID: c.nextDial, Addr: t.addr, Want: t.want})
		}
	}
	c.targets = slices.DeleteFunc(c.targets, (*target).spent)
}

// targetFailed notes an attempt that came to nothing. A neighbour that is known, but not there any more, is looked for
// where it says that it is.
func (c *Control) targetFailed(now time.Time, t *target) {
	t.fail(now, c.cfg.Rand)
	if who := t.known(); !who.IsZero() && t.kind != hinted && t.fails%8 == 1 {
		c.elsewhere(now, who)
	}
}

// known returns who is expected behind a target, zero if that is not known.
func (t *target) known() mesh.NodeID {
	if !t.who.IsZero() {
		return t.who
	}
	return t.want
}

// failTargets backs off from an address whose connection ended before it was of any use, such as one that
// refused our SVID: with TLS 1.3 the dialler learns of that only after its own handshake is complete.
func (c *Control) failTargets(now time.Time, a netip.AddrPort) {
	if t := c.target(a); t != nil {
		t.fail(now, c.cfg.Rand)
	}
}

// maxResolved bounds the addresses that one host name may stand for.
const maxResolved = 16

// resolved makes the addresses of a host name those that are dialled for it.
func (c *Control) resolved(now time.Time, ev Resolved) {
	as := ev.Addresses[:min(len(ev.Addresses), maxResolved)]
	for _, t := range slices.Clone(c.targets) {
		switch {
		case t.name != ev.Name || slices.Contains(as, t.addr):
		case t.met:
			t.name, t.kind, t.tries = "", recalled, recallTries // the link is good while it lasts
		default:
			c.dropTarget(t)
		}
	}
	for _, a := range as {
		t := c.target(a)
		if t == nil {
			t = c.addTarget(a, configured, now)
			t.name = ev.Name
		} else if t.kind != configured {
			t.kind, t.name, t.want = configured, ev.Name, mesh.NodeID{}
		}
	}
}

// alternate reports whether the node behind a target without a link is met all the same, by another of its addresses.
func (c *Control) alternate(t *target) bool {
	if t.kind == joined && c.linkBy((*neighbourLink).usable) != nil {
		return true // it was told as a way in
	}
	if t.name != "" && c.NameMet(t.name) {
		return true
	}
	for _, l := range c.links {
		if !l.usable() {
			continue
		}
		if l.neighbour == t.who {
			return true
		}
		if n, ok := c.db.Node(l.neighbour); ok && slices.Contains(n.Addresses, t.addr.String()) {
			return true
		}
	}
	return false
}
