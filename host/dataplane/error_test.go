package dataplane

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

func TestLinkDownReachesSource(t *testing.T) {
	n := line(t)
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	c.usable(32, false)
	a.sendTo(d, 500)
	d.wantDelivered()
	c.wantCount("relay_link_down", 1)
	c.wantCount("error_sent", 1)
	b.wantCount("relay_forwarded", 2)
	a.wantCount("error_received", 1)
	if len(a.matches) != 1 {
		t.Fatalf("%d errors", len(a.matches))
	}
	e, m := a.errors[0], a.matches[0]
	if e.Code != wire.ErrorLinkDown || e.Label != 32 || e.Hop != 1 {
		t.Errorf("error %+v", e)
	}
	if m.Node != d.id || m.Reporter != 2 || m.Path.Nodes[m.Reporter] != c.id || !m.Path.Same(a.table.Peers[0].Ways[0].Path) || m.Handshake {
		t.Errorf("match %+v", m)
	}
	c.usable(32, true)
	d.wantDelivered(a.sendTo(d, 500))
	if len(a.matches) != 1 {
		t.Error("an error about a packet that arrived")
	}
}

func TestErrorCauses(t *testing.T) {
	for _, c := range []struct {
		name    string
		cut     func(n *testNet)
		code    wire.ErrorCode
		label   mesh.Label
		hop     uint8
		at      string
		counter string
	}{
		{"relay has no such link", func(n *testNet) {
			b := n.nodes["b"]
			b.table.Links = b.table.Links[:1]
			b.publish()
		}, wire.ErrorNoLabel, 22, 0, "b", "relay_no_label"},
		{"relay has no session", func(n *testNet) {
			b := n.nodes["b"]
			b.plane.RemoveLink(b.table.Links[1].Session)
		}, wire.ErrorLinkDown, 22, 0, "b", "relay_link_down"},
		{"destination has no session", func(n *testNet) {
			d := n.nodes["d"]
			d.plane.RemovePeer(d.table.Peers[0].Session)
		}, wire.ErrorNoSession, 0, 2, "d", "peer_unknown_session"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := line(t)
			a, d := n.nodes["a"], n.nodes["d"]
			d.wantDelivered(a.sendTo(d, 300))
			c.cut(n)
			a.sendTo(d, 300)
			d.wantDelivered()
			n.nodes[c.at].wantCount(c.counter, 1)
			if len(a.errors) != 1 {
				t.Fatalf("%d errors", len(a.errors))
			}
			e, m := a.errors[0], a.matches[0]
			if e.Code != c.code || e.Label != c.label || e.Hop != c.hop || m.Path.Nodes[m.Reporter] != n.nodes[c.at].id {
				t.Errorf("error %+v, match %+v", e, m)
			}
		})
	}
}

func TestUTurn(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	out := a.plane.view.Load().links[12]
	data := func(labels ...mesh.Label) []byte {
		return wire.AppendFrame(nil, wire.TypeData, 0, labels, make([]byte, 40))
	}
	a.plane.emit(out, data(21, 12))
	b.wantCount("relay_u_turn", 1)
	b.wantCount("relay_forwarded", 0)
	// An error may, where its next hop is its destination, and only there.
	errorFrame := func(labels ...mesh.Label) []byte {
		return wire.AppendFrame(nil, wire.TypeError, 0, labels, wire.ErrorFrame{Code: wire.ErrorLinkDown}.Append(nil))
	}
	a.plane.emit(out, errorFrame(21))
	b.wantCount("relay_forwarded", 1)
	a.wantCount("error_unmatched", 1)
	a.plane.emit(out, errorFrame(21, 12))
	b.wantCount("relay_u_turn", 2)
	// Without the turn the same frame goes on.
	a.plane.emit(out, data(22, 32))
	d.wantCount("peer_unknown_session", 1)
	b.wantCount("relay_forwarded", 3) // and the error of d about it
}

func TestErrorsAboutErrors(t *testing.T) {
	n := line(t)
	a, b := n.nodes["a"], n.nodes["b"]
	out := a.plane.view.Load().links[12]
	e := wire.ErrorFrame{Code: wire.ErrorLinkDown}.Append(nil)
	a.plane.emit(out, wire.AppendFrame(nil, wire.TypeError, 0, []mesh.Label{99}, e))
	b.wantCount("relay_no_label", 1)
	b.wantCount("error_sent", 0)
	b.wantCount("error_none", 1)
	// The same labels on data are answered, unless the answer were longer than its cause.
	a.plane.emit(out, wire.AppendFrame(nil, wire.TypeHandshake, 0, []mesh.Label{99}, make([]byte, 19)))
	b.wantCount("error_none", 2)
	a.plane.emit(out, wire.AppendFrame(nil, wire.TypeHandshake, 0, []mesh.Label{99}, make([]byte, 20)))
	b.wantCount("error_sent", 1)
	a.wantCount("error_unmatched", 1)
}

func TestErrorRate(t *testing.T) {
	n := line(t)
	a, c, d := n.nodes["a"], n.nodes["c"], n.nodes["d"]
	c.usable(32, false)
	for range 100 {
		a.sendTo(d, 100)
	}
	c.wantCount("error_sent", errorBurst)
	c.wantCount("error_limited", 100-errorBurst)
	a.wantCount("error_received", errorBurst)
	n.now = n.now.Add(3 * errorInterval)
	for range 10 {
		a.sendTo(d, 100)
	}
	c.wantCount("error_sent", errorBurst+3)
	n.now = n.now.Add(time.Hour)
	a.sendTo(d, 100)
	c.wantCount("error_sent", errorBurst+4)
}

// headBits are those of a quote that tell what may be sent by a path from what may not: not whether it is a packet or a
// probe, nor a packet's code point and class, nor whether it has a checksum.
var headBits = [4]byte{0xfe, 0xf8, 0xff, 0xfe}

// TestForgedErrors: an error counts only if it quotes something sent, came back by the link that went out by, and names
// a place on that path; and only once.
func TestForgedErrors(t *testing.T) {
	n := line(t)
	n.numbered(7)
	n.link("a", "c", 13, 33, 1452)
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	var quote [wire.QuoteLen]byte
	n.tap = func(from, _ *testNode, f []byte) int {
		if p, _ := wire.ParseFrame(f); from == a && p.Type == wire.TypeData {
			quote = wire.QuoteOf(p.Payload)
		}
		return 1
	}
	d.wantDelivered(a.sendTo(d, 100))
	good := wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 32, Hop: 1, Quote: quote}
	type forged struct {
		name string
		from *testNode
		by   mesh.Label
		e    wire.ErrorFrame
	}
	all := []forged{
		{"comes by another link", c, 33, good},
		{"names a label not on the path", b, 21, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 33, Hop: 1, Quote: quote}},
		{"names the label of another hop", b, 21, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 32, Hop: 0, Quote: quote}},
		{"names a hop beyond the path", b, 21, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 32, Hop: 3, Quote: quote}},
		{"destination speaks of a link", b, 21, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 2, Quote: quote}},
		{"relay speaks of a session", b, 21, wire.ErrorFrame{Code: wire.ErrorNoSession, Hop: 1, Quote: quote}},
	}
	for bit := range 8 * wire.QuoteLen {
		if at := bit/8 - 12; at >= 0 && headBits[at]>>(bit%8)&1 == 0 {
			continue
		}
		other := good
		other.Quote[bit/8] ^= 1 << (bit % 8)
		all = append(all, forged{fmt.Sprintf("bit %d of byte %d is not what was sent", bit%8, bit/8), b, 21, other})
	}
	for _, f := range all {
		before := a.plane.Counters()["error_unmatched"]
		f.from.plane.emit(f.from.plane.view.Load().links[f.by], wire.AppendFrame(nil, wire.TypeError, 0, nil, f.e.Append(nil)))
		if got := a.plane.Counters()["error_unmatched"]; got != before+1 || len(a.errors) != 0 {
			t.Errorf("%s: unmatched went from %d to %d, %d believed", f.name, before, got, len(a.errors))
		}
	}
	frame := wire.AppendFrame(nil, wire.TypeError, 0, nil, good.Append(nil))
	b.plane.emit(b.plane.view.Load().links[21], bytes.Clone(frame))
	a.wantCount("error_received", 1)
	b.plane.emit(b.plane.view.Load().links[21], bytes.Clone(frame))
	a.wantCount("error_received", 1)
}

// TestRingForgets: only the last handshake frames can be quoted.
func TestRingForgets(t *testing.T) {
	r := newRing(handshakeSends)
	path := &mesh.Path{Labels: []mesh.Label{1, 2}}
	quote := func(i int) [wire.QuoteLen]byte { return wire.QuoteOf([]byte{1: byte(i >> 8), 2: byte(i), 15: 1}) }
	for i := range handshakeSends + 1 {
		q := quote(i)
		r.add(q[:], path)
	}
	r.add(make([]byte, 15), path)
	for i, want := range map[int]bool{0: false, 1: true, handshakeSends: true} {
		e := wire.ErrorFrame{Code: wire.ErrorNoLabel, Label: 2, Quote: quote(i)}
		if _, ok := r.match(&e, 1); ok != want {
			t.Errorf("send %d: matched %v", i, ok)
		}
	}
}
