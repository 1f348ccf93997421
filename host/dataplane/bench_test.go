package dataplane

import (
	"bytes"
	"net/netip"
	"strconv"
	"testing"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

func sink(netip.AddrPort, []byte) error { return nil }

// sealedFrames returns n different frames as they come to node at.
func sealedFrames(n *testNet, at string, count int) [][]byte {
	a, d := n.nodes["a"], n.nodes["d"]
	var frames [][]byte
	n.tap = func(_, to *testNode, b []byte) int {
		if to.id.String() == at {
			frames = append(frames, bytes.Clone(b))
			return 0
		}
		return 1
	}
	for range count {
		a.sendTo(d, 1360)
	}
	return frames
}

func BenchmarkEncrypt(b *testing.B) {
	n := line(b)
	a, d := n.nodes["a"], n.nodes["d"]
	a.plane.send = sink
	s, buf := new(outbox), make([]byte, maxRead)
	saved := append(make([]byte, segment.HeaderLen), packet(a.addr, d.addr, 1360, 7)...)
	b.SetBytes(1360)
	b.ReportAllocs()
	for b.Loop() {
		a.plane.handlePacket(s, buf[:copy(buf, saved)], false)
		a.plane.flush(s)
	}
}

func BenchmarkRelay(b *testing.B) {
	n := line(b)
	frames := sealedFrames(n, "b", 1<<15)
	r := n.nodes["b"]
	r.plane.send = sink
	from := n.nodes["a"].under
	buf := make([]byte, 1500)
	b.SetBytes(int64(len(frames[0])))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(frames) {
			b.StopTimer()
			resetWindows(r.plane)
			i = 0
			b.StartTimer()
		}
		r.plane.handleFrame(from, buf[:copy(buf, frames[i])])
		i++
	}
	if c := r.plane.Counters(); c["relay_forwarded"] == 0 || c["link_replay"] != 0 {
		b.Fatalf("forwarded %d, replay %d", c["relay_forwarded"], c["link_replay"])
	}
}

type nullTUN struct{ memTUN }

func (*nullTUN) WritePacket([][]byte) error { return nil }

func BenchmarkDeliver(b *testing.B) {
	n := line(b)
	frames := sealedFrames(n, "d", 1<<13)
	d := n.nodes["d"]
	d.plane.tun = &nullTUN{}
	from := n.nodes["c"].under
	buf := make([]byte, 1500)
	b.SetBytes(1360)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(frames) {
			b.StopTimer()
			resetWindows(d.plane)
			i = 0
			b.StartTimer()
		}
		d.plane.handleFrame(from, buf[:copy(buf, frames[i])])
		i++
	}
	if c := d.plane.Counters(); c["delivered"] == 0 || c["link_replay"]+c["peer_replay"] != 0 {
		b.Fatal(c)
	}
}

// resetWindows lets the same frames in again.
func resetWindows(p *Plane) {
	v := p.view.Load()
	for _, s := range v.linkRx {
		s.window, s.seen = wire.NewWindow(windowSize), 0
	}
	for _, s := range v.peerRx {
		s.window = wire.NewWindow(windowSize)
	}
}

func BenchmarkPublish(b *testing.B) {
	n := newNet(b, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a := n.nodes["a"]
	f := &mesh.Forwarding{Links: a.table.Links}
	for i := range 1000 {
		id := mesh.MustNodeID("n" + strconv.Itoa(i))
		p := mesh.Path{Nodes: []mesh.NodeID{a.id, n.nodes["b"].id, id}, Labels: []mesh.Label{1, 7}}
		f.Peers = append(f.Peers, mesh.ForwardPeer{Node: id, Addr: mesh.Addr(testDomain, id), Ways: []mesh.Way{{Path: p}, {Path: p}}})
	}
	b.ReportAllocs()
	for b.Loop() {
		a.plane.Publish(f)
	}
}
