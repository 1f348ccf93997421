package udp

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// How many datagrams of strangers are taken. Each may begin a handshake, which costs a hundred times what the datagram did.
const (
	newcomerRate   = 1000 // a second, from everybody together
	newcomersByNet = 200  // a second, from one /24 or /64; both may come two seconds' worth at once
	memberRate     = 50   // a second, from one address at which a member has been; not counted against the two above
	readStrangers  = 10000
	readExpected   = 5000
	readQUIC       = 200000 // a second: what is read of these classes at all, so that frames find a processor free
	networks       = 4096   // networks share their allowance with those of equal hash modulo this
	maxMembers     = 256    // addresses that are remembered, and as many allowances
)

// allowance is a token bucket that holds up to two seconds' worth.
type allowance struct {
	tokens float64
	filled time.Duration
}

// take takes n tokens if there is one, of a bucket that gains rate a second.
func (a *allowance) take(now time.Duration, rate, n float64) bool {
	if a.filled == 0 {
		a.tokens = 2 * rate
	} else {
		a.tokens = min(2*rate, a.tokens+(now-a.filled).Seconds()*rate)
	}
	a.filled = now
	if a.tokens < 1 {
		return false
	}
	a.tokens -= n
	return true
}

// newcomers limits datagrams of strangers, by the network that they come from and altogether. Its memory does not grow.
type newcomers struct {
	seed maphash.Seed
	mu   sync.Mutex // more than one goroutine meets strangers only while the rules change
	all  allowance
	nets [networks]allowance
	near [maxMembers]allowance // of addresses at which members have been
}

func newNewcomers() *newcomers { return &newcomers{seed: maphash.MakeSeed()} }

// allow reports whether one more datagram may come from there. now is since any fixed time and not 0.
func (n *newcomers) allow(from netip.Addr, now time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	// The network first: whoever uses up his own must not use up that of all.
	return n.nets[n.slot(from)].take(now, newcomersByNet, 1) && n.all.take(now, newcomerRate, 1)
}

// allowMember is allow for an address at which a member has been: nobody else's flood uses up what may come from there.
func (n *newcomers) allowMember(from netip.Addr, now time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.near[lastWord(from)%maxMembers].take(now, memberRate, 1)
}

func (n *newcomers) slot(from netip.Addr) uint64 {
	a := from.As16()
	network := a[:8]
	if from = from.Unmap(); from.Is4() {
		network = a[12:15]
	}
	return maphash.Bytes(n.seed, network) % networks
}
