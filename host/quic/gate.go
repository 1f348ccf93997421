package quicconn

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// gate bounds what strangers can make this node do: handshakes per second without validated address, and per second
// from one network with it, handshakes at once, connections at once. Bounds that are kept by network count only who
// proved to be there, so nobody uses up what is another's by forging its addresses.
type gate struct {
	rate, maxHalfOpen, maxConns int
	perNetwork                  int // proven handshakes a second from the smallest network; twice as many from the next

	mu       sync.Mutex
	halfOpen int
	from     map[netip.Prefix]*origin
	conns    int
	tokens   float64 // of handshakes that prove nothing
	filled   time.Time
}

// origin is what is known of one network whose hosts proved to be there.
type origin struct {
	halfOpen int
	links    int // connections with members at the other end
	tokens   float64
	filled   time.Time
}

// caller is where a handshake comes from: its networks, the smallest first, and whether it proved that.
type caller struct {
	networks []netip.Prefix
	proven   bool
}

const (
	maxNetworks    = 4096
	networkSeconds = 8 // handshakes of so many seconds may come at once
)

// share is the part of the half-open handshakes that nobody's address need be proved for, and that one network may
// hold: whoever begins handshakes and leaves them must not keep out everybody else. A network around others may hold
// half as much again for each level.
func (g *gate) share(level int) int { return max(1, g.maxHalfOpen/4) + level*g.maxHalfOpen/8 }

// enter takes a handshake in, or reports that it must go. The last quarter of the places is for networks that members
// are in now: their links are renewed whatever strangers do.
func (g *gate) enter(c caller, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.halfOpen+g.conns >= g.maxConns || g.halfOpen >= g.maxHalfOpen {
		return false
	}
	if !c.proven || len(c.networks) == 0 {
		if len(c.networks) > 0 && g.halfOpen >= g.places(false) {
			return false
		}
		g.halfOpen++
		return true
	}
	member := g.from[c.networks[0]] != nil && g.from[c.networks[0]].links > 0
	if g.halfOpen >= g.places(member) {
		return false
	}
	ns := make([]*origin, len(c.networks))
	for i, p := range c.networks {
		if ns[i] = g.origin(p, i, now); ns[i] == nil || ns[i].halfOpen >= g.share(i) || ns[i].tokens < 1 {
			return false
		}
	}
	for _, n := range ns {
		n.halfOpen++
		n.tokens--
	}
	g.halfOpen++
	return true
}

// places returns how many handshakes may be half-open for strangers, or for networks that members are in.
func (g *gate) places(member bool) int {
	if member {
		return g.maxHalfOpen
	}
	return max(1, g.maxHalfOpen-g.maxHalfOpen/4)
}

// origin returns what is known of a network, with its tokens as of now; nil if there are too many. Under g.mu.
func (g *gate) origin(p netip.Prefix, level int, now time.Time) *origin {
	rate := float64(g.perNetwork << level)
	n := g.from[p]
	if n == nil {
		if len(g.from) >= maxNetworks {
			g.tidy(now)
		}
		if len(g.from) >= maxNetworks {
			return nil
		}
		if g.from == nil {
			g.from = map[netip.Prefix]*origin{}
		}
		n = &origin{tokens: networkSeconds * rate, filled: now}
		g.from[p] = n
	}
	n.tokens = min(networkSeconds*rate, n.tokens+max(0, now.Sub(n.filled).Seconds())*rate)
	n.filled = now
	return n
}

// tidy forgets networks that nothing is held of and whose tokens have come back. Under g.mu.
func (g *gate) tidy(now time.Time) {
	for p, n := range g.from {
		if n.halfOpen == 0 && n.links == 0 && now.Sub(n.filled) > networkSeconds*time.Second {
			delete(g.from, p)
		}
	}
}

// settle takes a handshake off the half-open ones. Under g.mu.
func (g *gate) settle(c caller) {
	g.halfOpen--
	if !c.proven {
		return
	}
	for _, p := range c.networks {
		if n := g.from[p]; n != nil {
			n.halfOpen = max(0, n.halfOpen-1)
		}
	}
}

// promote makes a half-open handshake a connection, abandon ends it.
func (g *gate) promote(c caller) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(c)
	g.conns++
}

func (g *gate) abandon(c caller) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(c)
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns--
}

// linked notes that a connection with a member in these networks began (1) or ended (-1), whoever dialled.
func (g *gate) linked(networks []netip.Prefix, by int, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(networks) == 0 {
		return
	}
	if n := g.origin(networks[0], 0, now); n != nil {
		n.links = max(0, n.links+by)
	}
}

// allow is a token bucket of rate per second that holds one second's worth. While many handshakes are half-open it is
// shut: forged sources, which answer nothing, hold them at a rate that the bucket alone would let pass.
func (g *gate) allow(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rate <= 0 || g.halfOpen >= g.share(0) {
		return false
	}
	limit := float64(g.rate)
	if g.filled.IsZero() {
		g.tokens = limit
	} else {
		g.tokens = min(limit, g.tokens+now.Sub(g.filled).Seconds()*limit)
	}
	g.filled = now
	if g.tokens < 1 {
		return false
	}
	g.tokens--
	return true
}

// underlayNetworks returns the networks of an underlay address as one stranger may hold them at will: an IPv6 /64, or
// with some effort the /48 and the /32 around it; an IPv4 /24 and /16.
func underlayNetworks(a net.Addr) []netip.Prefix {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return nil
	}
	ip, sizes := u.AddrPort().Addr().Unmap().WithZone(""), []int{64, 48, 32}
	if ip.Is4() {
		sizes = []int{24, 16}
	}
	ps := make([]netip.Prefix, len(sizes))
	for i, bits := range sizes {
		ps[i] = netip.PrefixFrom(ip, bits).Masked()
	}
	return ps
}
