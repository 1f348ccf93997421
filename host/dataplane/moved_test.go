package dataplane

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What an attacker can send from an address of his own is no sign that a neighbour has moved: neither a frame with a
// wrong MAC, nor one that was sent before, nor one that is older than the newest. All of it is counted.
func TestStrangersMoveNothing(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	var seen [][]byte
	copies := 0 // the first is on its way for longer than what follows
	n.tap = func(_, _ *testNode, f []byte) int {
		seen = append(seen, bytes.Clone(f))
		return copies
	}
	a.plane.SendHello(1, wire.Hello{Seq: 1}, 0)
	copies = 1
	a.plane.SendHello(1, wire.Hello{Seq: 2}, 0)
	a.plane.SendHello(1, wire.Hello{Seq: 3}, 0)
	late, newest := seen[0], seen[2]
	evil := netip.MustParseAddrPort("203.0.113.66:666")
	n.now = n.now.Add(time.Second)
	b.plane.handleFrame(evil, bytes.Clone(newest))
	b.wantCount("link_replay", 1)
	forged := bytes.Clone(newest)
	forged[len(forged)-1] ^= 1
	b.plane.handleFrame(evil, forged)
	b.wantCount("link_bad_mac", 1)
	b.plane.handleFrame(evil, bytes.Clone(late)) // authentic and fresh, but not the newest
	if len(b.hellos) != 3 || len(b.moved) != 0 {
		t.Errorf("%d hellos, moved %v", len(b.hellos), b.moved)
	}
}

// A neighbour gets few answers to its challenges, for it may claim to be anywhere, but two at once: it asks at the old
// address and at the new. Replies to ours all pass.
func TestChallengesAreLimited(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	send := func(reply bool) {
		if err := a.plane.SendChallenge(1, netip.AddrPort{}, reply, wire.Challenge{1}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		send(false)
	}
	if len(b.challenges) != 2 {
		t.Errorf("%d challenges handed up", len(b.challenges))
	}
	b.wantCount("challenge_limited", 18)
	for range 20 {
		send(true)
	}
	n.now = n.now.Add(needInterval)
	send(false)
	if len(b.challenges) != 23 {
		t.Errorf("%d challenges and replies handed up, want 23", len(b.challenges))
	}
}

// A challenge, and its reply, go where they are told and not where the link leads; the reply is no longer than its
// cause.
func TestChallengeGoesElsewhere(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a := n.nodes["a"]
	elsewhere := netip.MustParseAddrPort("203.0.113.9:9")
	n.at[elsewhere] = n.nodes["b"]
	delete(n.at, n.nodes["b"].under)
	var sizes []int
	n.tap = func(_, _ *testNode, f []byte) int {
		sizes = append(sizes, len(f))
		return 1
	}
	for _, reply := range []bool{false, true} {
		if err := a.plane.SendChallenge(mesh.Label(1), elsewhere, reply, wire.Challenge{1}); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.nodes["b"].challenges) != 2 || sizes[1] > sizes[0] {
		t.Errorf("%d arrived, of %v bytes", len(n.nodes["b"].challenges), sizes)
	}
}
