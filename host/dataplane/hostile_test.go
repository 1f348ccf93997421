package dataplane

import (
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// star is c with the neighbours a (label 31 at c) and b (32), and sessions of both with c.
func star(t *testing.T) *testNet {
	n := newNet(t, "a", "b", "c")
	n.link("a", "c", 13, 31, 1452)
	n.link("b", "c", 23, 32, 1452)
	for _, x := range []string{"a", "b"} {
		n.session(x, "c")
		n.route(x, map[string]int{"a": 13, "b": 23}[x], "c")
		n.route("c", map[string]int{"a": 31, "b": 32}[x], x)
	}
	return n
}

// What one neighbour has the loops told of is bounded, counted, and nothing of the next neighbour's; a second later it
// is heard again.
func TestOneNeighboursFloodIsItsOwn(t *testing.T) {
	const flood = 20_000
	for _, tt := range []struct {
		name, counter string
		send          func(t *testing.T, n *testNet, from string, label mesh.Label)
		told          func(c *testNode) int
		burst         int
	}{
		{"hellos", "hello_limited", func(_ *testing.T, n *testNet, from string, l mesh.Label) {
			n.nodes[from].plane.SendHello(l, wire.Hello{Interval: 50_000, Probe: true}, 0)
		}, func(c *testNode) int { return len(c.hellos) }, toldBurst},
		{"replies to challenges", "challenge_limited", func(t *testing.T, n *testNet, from string, l mesh.Label) {
			if err := n.nodes[from].plane.SendChallenge(l, netip.AddrPort{}, true, wire.Challenge{1}); err != nil {
				t.Fatal(err)
			}
		}, func(c *testNode) int { return len(c.challenges) }, toldBurst},
		{"handshakes", "handshake_limited", func(t *testing.T, n *testNet, from string, l mesh.Label) {
			h := wire.Handshake{FromInitiator: true, Conversation: 9, Datagram: []byte{1}}
			if err := n.nodes[from].plane.SendHandshake(l, nil, h); err != nil {
				t.Fatal(err)
			}
		}, func(c *testNode) int { return len(c.shakes) }, shakeBurst},
		{"probes' answers", "peer_probe_limited", func(t *testing.T, n *testNet, from string, _ mesh.Label) {
			d := n.nodes[from]
			s := new(sealer)
			p := wire.Probe{ID: 1}
			k := len(p.Append(s.packet()[:0]))
			o := d.plane.view.Load().byNode[n.nodes["c"].id]
			d.plane.sealAndSend(s, o.session, wire.Inner{Kind: wire.InnerProbeReply}, k, wire.FlagProbe, o.ways[0].paths)
		}, func(c *testNode) int { return len(c.replies) }, toldBurst},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := star(t)
			c := n.nodes["c"]
			for range flood {
				tt.send(t, n, "a", 13)
			}
			if got := tt.told(c); got != tt.burst {
				t.Errorf("%d told of, want %d", got, tt.burst)
			}
			c.wantCount(tt.counter, uint64(flood-tt.burst))
			tt.send(t, n, "b", 23)
			if got := tt.told(c); got != tt.burst+1 {
				t.Error("the other neighbour is not heard")
			}
			n.now = n.now.Add(time.Second)
			tt.send(t, n, "a", 13)
			if got := tt.told(c); got != tt.burst+2 {
				t.Error("it is not heard again")
			}
		})
	}
}

// A relay that answers every packet with an error is believed so often, and no more.
func TestFloodOfErrors(t *testing.T) {
	n := line(t)
	a, c, d := n.nodes["a"], n.nodes["c"], n.nodes["d"]
	c.usable(32, false)
	for range 2000 {
		a.sendTo(d, 100)
		for i := range c.plane.view.Load().linkStates {
			c.plane.view.Load().linkStates[i].errors = buckets{} // it keeps no rate
		}
	}
	a.wantCount("error_received", toldBurst)
	a.wantCount("error_flood", 2000-toldBurst)
	if len(a.errors) != toldBurst {
		t.Errorf("%d errors told of", len(a.errors))
	}
}

// Handshakes that came to an honest neighbour by one of its links leave room for those that came to it by another.
func TestHandshakeFloodBehindARelay(t *testing.T) {
	n := newNet(t, "m", "e", "b", "c")
	n.link("m", "b", 11, 21, 1452)
	n.link("e", "b", 12, 22, 1452)
	n.link("b", "c", 23, 32, 1452)
	c := n.nodes["c"]
	h := wire.Handshake{FromInitiator: true, Conversation: 9, Datagram: []byte{1}}
	for range 5000 {
		if err := n.nodes["m"].plane.SendHandshake(11, []mesh.Label{23}, h); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.shakes) != shakeBurst {
		t.Errorf("%d handshakes of the flood are handed up, want %d", len(c.shakes), shakeBurst)
	}
	c.wantCount("handshake_limited", 5000-shakeBurst)
	if err := n.nodes["e"].plane.SendHandshake(12, []mesh.Label{23}, h); err != nil {
		t.Fatal(err)
	}
	if len(c.shakes) != shakeBurst+1 {
		t.Error("another's handshake through the same relay is dropped")
	}
}

// Every kind of frame is taken once: the same bytes again are a replay, whatever they say, from wherever they come.
func TestReplayOfEveryKind(t *testing.T) {
	for _, tt := range []struct {
		name string
		send func(n *testNet)
		told func(c *testNode) int
	}{
		{"hello", func(n *testNet) { n.nodes["a"].plane.SendHello(13, wire.Hello{Interval: 50_000}, 0) },
			func(c *testNode) int { return len(c.hellos) }},
		{"challenge", func(n *testNet) {
			_ = n.nodes["a"].plane.SendChallenge(13, netip.AddrPort{}, false, wire.Challenge{1})
		}, func(c *testNode) int { return len(c.challenges) }},
		{"challenge's reply", func(n *testNet) {
			_ = n.nodes["a"].plane.SendChallenge(13, netip.AddrPort{}, true, wire.Challenge{1})
		}, func(c *testNode) int { return len(c.challenges) }},
		{"handshake", func(n *testNet) {
			_ = n.nodes["a"].plane.SendHandshake(13, nil, wire.Handshake{FromInitiator: true, Conversation: 1, Datagram: []byte{1}})
		}, func(c *testNode) int { return len(c.shakes) }},
		{"data", func(n *testNet) { n.nodes["a"].sendTo(n.nodes["c"], 100) }, func(c *testNode) int {
			return int(c.plane.Counters()["delivered"]) // #nosec G115 -- a few
		}},
		{"probe", func(n *testNet) {
			_ = n.nodes["a"].plane.SendProbe(n.nodes["c"].id, n.nodes["a"].table.Peers[0].Ways[0].Path, wire.Probe{ID: 1}, false)
		}, func(c *testNode) int { return int(c.plane.LinkCounters()[31].TxFrames) }}, // #nosec G115 -- a few
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := star(t)
			c := n.nodes["c"]
			var frame []byte
			n.tap = func(_, to *testNode, b []byte) int {
				if to == c && frame == nil {
					frame = append([]byte(nil), b...)
				}
				return 1
			}
			tt.send(n)
			told := tt.told(c)
			if told != 1 || frame == nil {
				t.Fatalf("told of %d, want one", told)
			}
			for i := range 100 {
				from := n.nodes["a"].under
				if i%2 == 1 {
					from = netip.MustParseAddrPort("203.0.113.1:9")
				}
				c.plane.handleFrame(from, append([]byte(nil), frame...))
			}
			c.wantCount("link_replay", 100)
			if got := tt.told(c); got != told || len(c.moved) != 0 {
				t.Errorf("told of %d more, moved %v", got-told, c.moved)
			}
			n.now = n.now.Add(time.Second)
			if tt.send(n); tt.told(c) != 2 {
				t.Error("a new one is not heard")
			}
		})
	}
}

// A neighbour writes what labels it likes: its own are nothing here, zero is nothing, and a list that goes round a ring
// of relays costs each of them its turns and ends with the labels.
func TestLabelGames(t *testing.T) {
	ring := func() *testNet {
		n := newNet(t, "m", "a", "b", "c")
		n.link("m", "a", 1, 11, 1452)
		n.link("a", "b", 12, 21, 1452)
		n.link("b", "c", 22, 31, 1452)
		n.link("c", "a", 32, 13, 1452)
		return n
	}
	shake := wire.Handshake{FromInitiator: true, Conversation: 1, Datagram: make([]byte, 100)}
	send := func(n *testNet, labels ...mesh.Label) {
		if err := n.nodes["m"].plane.SendHandshake(1, labels, shake); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("labels of others", func(t *testing.T) {
		n := ring()
		for _, l := range []mesh.Label{1, 21, 22, 32, 65535} {
			send(n, l)
		}
		n.nodes["a"].wantCount("relay_no_label", 5)
		n.nodes["a"].wantCount("relay_forwarded", 0)
		send(n, 12)
		n.nodes["a"].wantCount("relay_forwarded", 1)
	})
	t.Run("label zero", func(t *testing.T) {
		n := ring()
		send(n, 0)
		n.nodes["a"].wantCount("relay_no_label", 1)
	})
	t.Run("back by the same link", func(t *testing.T) {
		n := ring()
		send(n, 11)
		n.nodes["a"].wantCount("relay_u_turn", 1)
	})
	t.Run("round and round", func(t *testing.T) {
		n := ring()
		var labels []mesh.Label
		for len(labels) < wire.MaxLabels {
			labels = append(labels, []mesh.Label{12, 22, 32}[len(labels)%3])
		}
		send(n, labels...)
		total := uint64(0)
		for _, x := range []string{"a", "b", "c"} {
			total += n.nodes[x].plane.Counters()["relay_forwarded"]
		}
		if total != wire.MaxLabels || n.nodes["a"].plane.Counters()["relay_forwarded"] > wire.MaxLabels/3+1 {
			t.Errorf("forwarded %d times in all, want %d, and a third by each", total, wire.MaxLabels)
		}
		if got := len(n.nodes["c"].shakes); got != 1 {
			t.Errorf("arrived %d times", got)
		}
		if u := n.nodes["a"].plane.LinkCounters()[11]; u.ForwardedFrames != 1 {
			t.Errorf("the neighbour that sent it is charged with %d frames", u.ForwardedFrames)
		}
	})
}
