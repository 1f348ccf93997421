package quicconn

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// proven is a caller from networks that it proved to be in.
func proven(networks ...string) caller {
	c := caller{proven: true}
	for _, n := range networks {
		c.networks = append(c.networks, netip.MustParsePrefix(n))
	}
	return c
}

func claimed(networks ...string) caller {
	c := proven(networks...)
	c.proven = false
	return c
}

func TestGate(t *testing.T) {
	g := gate{rate: 2, maxHalfOpen: 2, maxConns: 3, perNetwork: 100}
	anywhere := caller{}
	now := time.Unix(0, 0)
	for i, want := range []bool{true, true, false} {
		if got := g.allow(now); got != want {
			t.Errorf("handshake %d allowed: %t", i, got)
		}
	}
	if !g.allow(now.Add(500*time.Millisecond)) || g.allow(now.Add(500*time.Millisecond)) {
		t.Error("half a second is one more")
	}
	for i, want := range []bool{true, true, false} {
		if got := g.enter(anywhere, now); got != want {
			t.Errorf("half-open %d admitted: %t", i, got)
		}
	}
	g.promote(anywhere)
	g.promote(anywhere)
	if !g.enter(anywhere, now) || g.enter(anywhere, now) {
		t.Error("two connections leave room for one handshake")
	}
	g.leave()
	if !g.enter(anywhere, now) {
		t.Error("no room after a connection ended")
	}
	g.abandon(anywhere)
	if !g.enter(anywhere, now) {
		t.Error("no room after a handshake was given up")
	}
}

// Sources that begin handshakes and leave them, forged or not, must not keep others out.
func TestGateKeepsRoomForOthers(t *testing.T) {
	g := gate{rate: 1000, maxHalfOpen: 8, maxConns: 100, perNetwork: 100}
	now := time.Unix(0, 0)
	far, near := proven("198.51.100.0/24"), proven("2001:db8::/64")
	for i, want := range []bool{true, true, false} {
		if must := !g.allow(now); must == want {
			t.Errorf("handshake %d must prove its source: %t", i, must)
		}
		if got := g.enter(far, now); got != want {
			t.Errorf("handshake %d of one network admitted: %t", i, got)
		}
	}
	if !g.enter(near, now) {
		t.Error("another network was kept out")
	}
	g.abandon(near)
	g.promote(far)
	if !g.enter(far, now) || g.enter(far, now) {
		t.Error("a handshake that became a connection still counts as half-open, or the others no more")
	}
	g.abandon(far)
	g.abandon(far)
	if n := g.from[far.networks[0]]; n.halfOpen != 0 || g.halfOpen != 0 || !g.allow(now) {
		t.Errorf("%+v, %d half-open after all ended", n, g.halfOpen)
	}
}

// Whoever forges the addresses of a network does not use up its share.
func TestForgedSourcesTakeNobodysShare(t *testing.T) {
	g := gate{rate: 1000, maxHalfOpen: 64, maxConns: 100, perNetwork: 100}
	now := time.Unix(0, 0)
	victim := "192.0.2.0/24"
	n := 0
	for ; g.allow(now) && g.enter(claimed(victim, "192.0.0.0/16"), now); n++ {
	}
	if n != g.share(0) || g.allow(now) {
		t.Errorf("%d forged handshakes are half-open, want %d; then sources must be proved", n, g.share(0))
	}
	for i := range g.share(0) {
		if !g.enter(proven(victim, "192.0.0.0/16"), now) {
			t.Fatalf("a host that is there was kept out after %d", i)
		}
	}
	if g.enter(proven(victim, "192.0.0.0/16"), now) {
		t.Error("it has no bound")
	}
}

// Who holds a whole /32 of IPv6, or a /16 of IPv4, takes half of the places at most; who holds all that strangers may
// have leaves those of the networks that members are in.
func TestManyNetworksAreOneStranger(t *testing.T) {
	for _, tt := range []struct {
		name   string
		caller func(i int) *net.UDPAddr
		want   int
	}{
		{"a /64", func(i int) *net.UDPAddr { return &net.UDPAddr{IP: net.IP{0: 0x20, 1: 1, 15: byte(i)}, Port: i} }, 16},
		{"a /48", func(i int) *net.UDPAddr { return &net.UDPAddr{IP: net.IP{0: 0x20, 1: 1, 7: byte(i), 15: 0}} }, 24},
		{"a /32", func(i int) *net.UDPAddr { return &net.UDPAddr{IP: net.IP{0: 0x20, 1: 1, 5: byte(i), 15: 0}} }, 32},
		{"a /24", func(i int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(198, 51, 100, byte(i))} }, 16},
		{"a /16", func(i int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(198, 51, byte(i), 1)} }, 24},
		{"all the world", func(i int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(byte(i), 1, 1, 1)} }, 48},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := gate{rate: 1000, maxHalfOpen: 64, maxConns: 1000, perNetwork: 1000}
			now := time.Unix(0, 0)
			member := caller{proven: true, networks: underlayNetworks(&net.UDPAddr{IP: net.IPv4(203, 0, 113, 9)})}
			g.linked(member.networks, 1, now)
			in := 0
			for i := range 200 {
				if g.enter(caller{proven: true, networks: underlayNetworks(tt.caller(i))}, now) {
					in++
				}
			}
			if in != tt.want {
				t.Errorf("%d of 200 handshakes are half-open, want %d", in, tt.want)
			}
			if !g.enter(member, now) {
				t.Error("a member is kept out")
			}
			g.linked(member.networks, -1, now)
			other := caller{proven: true, networks: underlayNetworks(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 9)})}
			if got, want := g.enter(other, now), tt.want < 48; got != want {
				t.Errorf("a newcomer from elsewhere gets in: %t, want %t", got, want)
			}
		})
	}
}

// A source that proved its address makes handshakes at a bounded rate, and again after a pause.
func TestHandshakesPerNetworkAreBounded(t *testing.T) {
	g := gate{rate: 50, maxHalfOpen: 64, maxConns: 1000, perNetwork: 16}
	now, done := time.Unix(0, 0), 0
	far, near := proven("2001:db8::/64", "2001:db8::/48"), proven("2001:db8:0:1::/64", "2001:db8::/48")
	try := func(c caller) bool {
		if !g.enter(c, now) {
			return false
		}
		g.abandon(c)
		return true
	}
	for range 10_000 {
		if try(far) {
			done++
		}
	}
	if done != networkSeconds*16 {
		t.Errorf("%d handshakes at once, want %d", done, networkSeconds*16)
	}
	if !try(near) || !try(proven("198.51.100.0/24")) {
		t.Error("another network was kept out")
	}
	if now = now.Add(time.Second); !try(far) {
		t.Error("never again")
	}
	done = 0
	for i := range 100 {
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 9, 0, byte(i)}), 64)
		for range 1000 {
			if try(caller{proven: true, networks: []netip.Prefix{p, netip.MustParsePrefix("2001:db8:9::/48")}}) {
				done++
			}
		}
	}
	if done != networkSeconds*32 {
		t.Errorf("%d handshakes at once from a hundred networks of one /48, want %d", done, networkSeconds*32)
	}
}

// What the gate remembers is bounded, and forgotten.
func TestGateForgetsNetworks(t *testing.T) {
	g := gate{rate: 50, maxHalfOpen: 64, maxConns: 1000, perNetwork: 16}
	now := time.Unix(0, 0)
	at := func(i int) caller {
		return caller{proven: true, networks: underlayNetworks(&net.UDPAddr{IP: net.IPv4(10, byte(i>>8), byte(i), 1)})[:1]}
	}
	in := 0
	for i := range 2 * maxNetworks {
		if g.enter(at(i), now) {
			in++
			g.abandon(at(i))
		}
	}
	if len(g.from) != maxNetworks || in != maxNetworks {
		t.Errorf("%d networks, %d let in", len(g.from), in)
	}
	if now = now.Add(time.Minute); !g.enter(at(2*maxNetworks), now) || len(g.from) != 1 {
		t.Errorf("%d networks a minute later", len(g.from))
	}
}

func TestUnderlayNetworks(t *testing.T) {
	for a, want := range map[string]string{
		"198.51.100.77:1": "198.51.100.0/24", "[::ffff:198.51.100.77]:1": "198.51.100.0/24",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64",
	} {
		if got := underlayNetworks(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(a))); got[0].String() != want {
			t.Errorf("%s is of %s, want %s", a, got, want)
		}
	}
	if underlayNetworks(memAddr("a")) != nil {
		t.Error("counted what is no underlay address")
	}
}
