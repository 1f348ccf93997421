package dataplane

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/wire"
)

// largeTCP is a packet of n bytes of payload as a TUN with offload gives it, to be cut at size. Its header is that of RFC 9293
// without options, its checksum the sum of the pseudo header (virtio 1.2 §5.1.6.2.1).
func largeTCP(from, to *testNode, n, size int) []byte {
	const virtio, tcp = 10, 20
	b := make([]byte, virtio+ipv6Header+tcp+n)
	b[0], b[1] = 1, 4 // checksum wanted, TCP over IPv6
	binary.NativeEndian.PutUint16(b[2:], ipv6Header+tcp)
	binary.NativeEndian.PutUint16(b[4:], uint16(size))
	binary.NativeEndian.PutUint16(b[6:], ipv6Header)
	binary.NativeEndian.PutUint16(b[8:], 16)
	p := b[virtio:]
	copy(p, packet(from.addr, to.addr, ipv6Header, 0))
	binary.BigEndian.PutUint16(p[4:], uint16(tcp+n))
	p[6] = 6
	t := p[ipv6Header:]
	binary.BigEndian.PutUint32(t, 0x1f900050)     // ports
	binary.BigEndian.PutUint32(t[4:], 0xfffffc00) // the sequence number wraps in it
	binary.BigEndian.PutUint32(t[8:], 77)
	t[12], t[13] = 5<<4, 0x18 // PSH, ACK
	for i := range n {
		t[tcp+i] = byte(i * 7)
	}
	sum := uint32(6 + tcp + n)
	for i := 8; i < 40; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(t[16:], uint16(sum))
	return b
}

func (d *testNode) sendLarge(b []byte) {
	s := new(outbox)
	d.plane.handlePacket(s, append(make([]byte, 0, maxRead), b...), false)
	d.plane.flush(s)
}

// A large packet crosses the mesh in few calls and comes out as it went in.
func TestLargePacketCrossesAsOne(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	const size = 1300
	sent := largeTCP(a, d, 40*size+100, size)
	want := bytes.Clone(sent)
	a.sendLarge(sent)
	if len(d.tun.headers) != 1 || !bytes.Equal(d.tun.headers[0], want[:segment.HeaderLen]) {
		t.Fatalf("virtio headers %x, want one of %x", d.tun.headers, want[:segment.HeaderLen])
	}
	if got := d.tun.take(); len(got) != 1 || !bytes.Equal(got[0], want[segment.HeaderLen:]) {
		t.Fatalf("%d packets", len(got))
	}
	for _, name := range []string{"a", "b", "c"} {
		if got := n.nodes[name].runs; len(got) != 1 || got[0] != 41 {
			t.Errorf("%s sent runs of %v frames, want one of 41", name, got)
		}
	}
	if c := n.nodes["b"].plane.Counters(); c["relay_forwarded"] != 41 {
		t.Errorf("the relay counts %d", c["relay_forwarded"])
	}
	if c := d.plane.Counters(); c["delivered"] != 41 {
		t.Errorf("the end counts %d", c["delivered"])
	}
}

// A frame that is lost, or comes to be refused, costs what it carried and no more.
func TestLostFrameOfARunCostsOneSegment(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	const size, count = 1000, 20
	seen := 0
	n.tap = func(_, to *testNode, b []byte) int {
		if to.id != d.id {
			return 1
		}
		switch seen++; seen {
		case 5:
			return 0
		case 9:
			b[len(b)-1] ^= 1 // the seal
		case 13:
			b[20] ^= 1 // what the link's MAC covers
		}
		return 1
	}
	sent := largeTCP(a, d, count*size, size)
	payload := bytes.Clone(sent[segment.HeaderLen+60:])
	a.sendLarge(sent)
	got := 0
	for _, p := range d.tun.take() {
		seq := binary.BigEndian.Uint32(p[ipv6Header+4:]) - 0xfffffc00
		if !bytes.Equal(p[60:], payload[seq:int(seq)+len(p)-60]) {
			t.Errorf("bytes at %d are not those that were sent", seq)
		}
		got += len(p) - 60
	}
	if got != (count-3)*size {
		t.Errorf("%d bytes of %d came", got, count*size)
	}
	if c := d.plane.Counters(); c["peer_bad_seal"]+c["link_bad_mac"] != 2 {
		t.Errorf("counters %v", c)
	}
}

// What a relay sends together leaves by one link: frames for two destinations in one buffer part.
func TestRunsPartWhereFramesDo(t *testing.T) {
	n := newNet(t, "a", "b", "c", "d")
	n.link("a", "b", 1, 2, 1452)
	n.link("b", "c", 3, 4, 1452)
	n.link("b", "d", 5, 6, 1452)
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	n.session("a", "c")
	n.session("a", "d")
	n.route("a", 1, "b", 3, "c")
	n.route("a", 1, "b", 5, "d")
	var held []byte
	n.tap = func(_, to *testNode, f []byte) int {
		if to.id == b.id {
			held = append(held, f...)
			return 0
		}
		return 1
	}
	to := []*testNode{c, c, d, c, d, d, d}
	for _, x := range to {
		a.sendTo(x, 500)
	}
	n.tap = func(_, _ *testNode, _ []byte) int { return 1 }
	r, size := b.plane.NewReceiver(), len(held)/len(to)
	for at := 0; at < len(held); at += size {
		r.HandleFrame(a.under, held[at:at+size])
	}
	r.Flush()
	if got, want := len(c.tun.take()), 3; got != want {
		t.Errorf("c got %d packets of %d", got, want)
	}
	if got, want := len(d.tun.take()), 4; got != want {
		t.Errorf("d got %d packets of %d", got, want)
	}
	if got := b.runs; len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("runs of %v, want 2 and 3: single frames go alone", got)
	}
}

// Frames that do not lie one behind the other, as those of different datagrams, are not taken for a run.
func TestFramesOfDifferentBuffersAreNoRun(t *testing.T) {
	l := &outLink{}
	s := &linkState{}
	buf := make([]byte, 400)
	r := relayRun{l, s, buf[:100], 100}
	for name, tt := range map[string]struct {
		b    []byte
		want bool
	}{
		"behind it":    {buf[100:200], true},
		"shorter":      {buf[100:150], true},
		"longer":       {buf[100:201], false},
		"with a gap":   {buf[101:200], false},
		"elsewhere":    {make([]byte, 100), false},
		"another link": {nil, false},
	} {
		out := l
		if name == "another link" {
			out, tt.b = &outLink{}, buf[100:200]
		}
		if got := r.follows(out, s, tt.b); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	r.b = buf[:150] // the last was shorter
	if r.follows(l, s, buf[150:200]) {
		t.Error("a run went on behind its shorter end")
	}
	if r.b = buf[:100:100]; r.follows(l, s, buf[100:200]) {
		t.Error("a run went beyond its buffer")
	}
}

// A virtio header that contradicts its packet, which no kernel writes, is counted and goes nowhere.
func TestMalformedLargePacketIsRefused(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	b := largeTCP(a, d, 5000, 1300)
	binary.NativeEndian.PutUint16(b[4:], 0) // to be cut at nothing
	a.sendLarge(b)
	if c := a.plane.Counters(); c["tun_malformed"] != 1 || len(a.runs) != 0 {
		t.Errorf("tun_malformed %d, runs %v", c["tun_malformed"], a.runs)
	}
	d.wantDelivered()
}

// Packets that are there together leave together, if they go to one peer by one way: none waits for another that is not there.
func TestPacketsThatAreThereLeaveTogether(t *testing.T) {
	n := line(t)
	n.session("a", "c")
	n.route("a", 12, "b", 22, "c")
	a, d, c := n.nodes["a"], n.nodes["d"], n.nodes["c"]
	marked := packet(a.addr, d.addr, 500, 4)
	marked[1] |= ect1 << 4
	sent := [][]byte{
		packet(a.addr, d.addr, 500, 1), packet(a.addr, d.addr, 500, 2), packet(a.addr, d.addr, 80, 3), // shorter: the last
		marked,                                                         // the kernel takes one code point at a time
		packet(a.addr, d.addr, 500, 5), packet(a.addr, d.addr, 501, 6), // longer: not behind it
		packet(a.addr, c.addr, 501, 7), packet(a.addr, c.addr, 501, 8), // another peer
		{1, 2, 3}, packet(a.addr, c.addr, 501, 9), // one that is dropped ends the wait of those before it
	}
	for _, pkt := range sent {
		a.tun.in <- pkt
	}
	close(a.tun.in)
	if err := a.plane.RunTUN(t.Context()); err == nil {
		t.Error("a closed TUN is no error")
	}
	if want := []int{3, 2}; !slices.Equal(a.runs, want) {
		t.Errorf("runs of %v datagrams, want %v", a.runs, want)
	}
	d.wantDelivered(sent[:6]...)
	c.wantDelivered(sent[6], sent[7], sent[9])
	a.wantCount("tun_read", uint64(len(sent)))
	a.wantCount("tun_sent", uint64(len(sent)-1))
	a.wantCount("tun_not_ipv6", 1)
}

// What waits for more goes the way of the table that it was sealed by, and before what follows.
func TestPacketsOfTwoTablesLeaveApart(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	s := new(outbox)
	first, second := packet(a.addr, d.addr, 500, 1), packet(a.addr, d.addr, 500, 2)
	a.plane.handlePacket(s, read(first), false)
	a.publish()
	if len(d.tun.take()) != 0 {
		t.Fatal("a packet left before it was asked to")
	}
	a.plane.handlePacket(s, read(second), false)
	d.wantDelivered(first)
	a.plane.flush(s)
	d.wantDelivered(second)
	if s.peer != nil || s.way.paths != nil {
		t.Error("an empty outbox keeps a table alive")
	}
	a.wantCount("tun_sent", 2)
}

// A large packet of as many segments as the interface lets the kernel make leaves in one call, whatever the path (host/tun:
// largeSegments).
func TestLargePacketLeavesInOneCall(t *testing.T) {
	const mtu, segments, labels = 1360, 45, 16 // of the mesh; with more labels a packet of the MTU does not fit a frame
	longest := []outPath{{}, {labels: make([]byte, 2*labels)}}
	for _, first := range []int{0, 1} {
		var s outbox
		way := []outPath{longest[first], longest[1]}
		for i := range segments {
			if i > 0 && !s.fits(way, mtu+wire.InnerHeader) {
				t.Fatalf("%d of %d frames of %d bytes fit", i, segments, way[0].frameLen(mtu+wire.InnerHeader))
			}
			s.place(&way[0], mtu+wire.InnerHeader, 0)
		}
	}
}

// What leaves together is no more than one call takes by any of the paths that it goes, also where a copy has more labels.
func TestCopiesLeaveInOneCall(t *testing.T) {
	const plain = 960 // as many as one call takes are 62 KiB
	short, long := outPath{}, outPath{labels: make([]byte, 2*wire.MaxLabels)}
	for _, paths := range [][]outPath{{short}, {short, long}, {long, short}} {
		var s outbox
		s.place(&paths[0], plain, 0)
		for s.fits(paths, plain) {
			s.place(&paths[0], plain, 0)
		}
		for i := range paths {
			copied, size := s.out[:s.n], s.size
			if i > 0 {
				copied, size = s.relabel(&paths[0], &paths[i]), paths[i].frameLen(plain)
			}
			if len(copied) > maxRunBytes || len(copied) != s.frames*size {
				t.Errorf("%d frames of %d bytes by path %d", s.frames, size, i)
			}
		}
		if most := min(maxRun, maxRunBytes/max(paths[0].frameLen(plain), paths[len(paths)-1].frameLen(plain))); s.frames != most {
			t.Errorf("%d frames of %d", s.frames, most)
		}
	}
}
