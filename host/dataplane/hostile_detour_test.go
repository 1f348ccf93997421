package dataplane

import (
	"bytes"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A member that floods a relay with what is no data, to be sent on, is cut down to its share like any other.
func TestFloodOfOtherFramesIsShared(t *testing.T) {
	n := rivals(t)
	b := n.nodes["b"]
	w := n.hold("b", 0)
	shake := wire.Handshake{FromInitiator: true, Conversation: 9, Datagram: make([]byte, 1200)}
	for range 1000 {
		for range 100 {
			if err := n.nodes["f"].plane.SendHandshake(13, []mesh.Label{24}, shake); err != nil {
				t.Fatal(err)
			}
		}
		n.nodes["a"].sendTo(n.nodes["d"], 100)
		for i, f := range w.queue {
			w.r.Came(n.now.Add(-30*time.Millisecond), false, false)
			w.r.HandleFrame(f.from.under, f.b)
			n.now = n.now.Add(time.Duration(i&1) * 20 * time.Microsecond)
		}
		w.r.Flush()
		w.queue = w.queue[:0]
	}
	if b.plane.Counters()["over_share"] == 0 {
		t.Error("no frame is over its share")
	}
	if got := len(n.nodes["d"].tun.take()); got != 1000 {
		t.Errorf("%d packets of 1000 came of the one who sends little", got)
	}
}

// A frame of a dead link that is no frame of ours is refused as if the link were well: nothing takes a detour unproved.
func TestDetourTakesNothingUnproved(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(b []byte) int // how often it arrives
		counter string
	}{
		"a changed label":    {func(b []byte) int { b[wire.HeaderLen+1] ^= 1; return 1 }, "link_bad_mac"},
		"a changed flag":     {func(b []byte) int { b[3] ^= byte(wire.FlagProtected); return 1 }, "link_bad_mac"},
		"a changed mark":     {func(b []byte) int { b[3] ^= 0x30; return 1 }, "link_bad_mac"},
		"another session":    {func(b []byte) int { b[4] ^= 1; return 1 }, "link_unknown_session"},
		"a replay":           {func([]byte) int { return 2 }, "link_replay"},
		"a hop index beyond": {func(b []byte) int { b[1] = b[2] + 1; return 1 }, "frame_malformed"},
		"too many labels":    {func(b []byte) int { b[2] = wire.MaxLabels + 1; return 1 }, "frame_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			n := bypass(t)
			a, b := n.nodes["a"], n.nodes["b"]
			b.usable(22, false)
			n.tap = func(_, to *testNode, f []byte) int {
				if to == b {
					return tt.change(f)
				}
				return 1
			}
			a.sendTo(n.nodes["d"], 200)
			b.wantCount(tt.counter, 1)
			repaired := uint64(0)
			if name == "a replay" {
				repaired = 1 // the first
			}
			b.wantCount("relay_repaired", repaired)
			b.wantCount("error_sent", repaired)
		})
	}
}

// FuzzRepair: whatever a member writes into a frame, whatever links are down or in doubt, nothing is delivered, every frame that
// leaves a relay is a frame, what took a detour takes no second, and the frames come to an end.
func FuzzRepair(f *testing.F) {
	n := bypass(f)
	a, b, e := n.nodes["a"], n.nodes["b"], n.nodes["e"]
	e.around(52, mesh.Detour{Labels: []mesh.Label{53, 41}}, mesh.Detour{Behind: 31, Labels: []mesh.Label{51}})
	e.around(53, mesh.Detour{Labels: []mesh.Label{52, 32}})
	payload := make([]byte, 60)
	for _, fl := range []wire.Flags{0, wire.FlagRepaired, wire.FlagSuspect, wire.FlagProtected.WithECN(ce)} {
		f.Add(uint8(0x0f), wire.AppendFrame(nil, wire.TypeData, fl, []mesh.Label{22, 32}, payload))
		f.Add(uint8(0xf0), wire.AppendFrame(nil, wire.TypeHandshake, fl, []mesh.Label{22, 35, 51, 22, 35, 51}, payload))
		f.Add(uint8(0x3c), wire.AppendFrame(nil, wire.TypeError, fl, []mesh.Label{25, 52, 32}, payload))
		f.Add(uint8(0x11), wire.AppendFrame(nil, wire.TypeData, fl, manyLabels(wire.MaxLabels), make([]byte, 1300)))
	}
	f.Fuzz(func(t *testing.T, state uint8, frame []byte) {
		if len(frame) < wire.HeaderLen || len(frame) > wire.MaxFrame {
			return
		}
		for i, l := range []struct {
			node  *testNode
			label mesh.Label
		}{{b, 22}, {b, 25}, {e, 52}, {e, 53}} {
			l.node.link(l.label).Usable, l.node.link(l.label).Suspect = state>>i&1 == 0, state>>(i+4)&1 != 0
		}
		b.publish()
		e.publish()
		sent, repaired := 0, b.plane.Counters()["relay_repaired"]+e.plane.Counters()["relay_repaired"]
		n.tap = func(from, _ *testNode, x []byte) int {
			if from == a {
				return 1
			}
			if _, err := wire.ParseFrame(x); err != nil {
				t.Fatalf("%v sends %x: %v", from.id, x, err)
			}
			sent++
			return 1
		}
		n.now = n.now.Add(time.Second)
		a.plane.emit(a.plane.view.Load().links[12], bytes.Clone(frame))
		// Itself, a copy made at each relay on its way, and what these are answered with; each lives for a list of labels.
		if most := 3 * wire.MaxLabels * (wire.MaxLabels + 1); sent > most {
			t.Errorf("%d frames for one, at most %d", sent, most)
		}
		if got := b.plane.Counters()["relay_repaired"] + e.plane.Counters()["relay_repaired"] - repaired; got > 1+errorBurst {
			t.Errorf("%d repairs for one frame and the errors about it", got)
		}
		for _, x := range n.nodes {
			if got := x.tun.take(); len(got) != 0 {
				t.Fatalf("%v delivered %x", x.id, got)
			}
			x.errors, x.matches, x.shakes = nil, nil, nil
		}
	})
}
