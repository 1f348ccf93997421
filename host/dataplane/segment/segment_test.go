package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// large makes what a TUN with offload would give: a virtio header and a packet of n bytes of payload to be cut at size.
func large(proto byte, options, n, size int, flags byte) []byte {
	front := ipv6Header + udpHeader
	h := header{flags: flagNeedsChecksum, gso: gsoUDP, size: uint16(size), sumStart: ipv6Header, checksumOffset: udpChecksum}
	if proto == protoTCP {
		front = ipv6Header + tcpHeader + options
		h.gso, h.checksumOffset = gsoTCPv6, tcpChecksum
		if flags&flagCWR != 0 {
			h.gso |= gsoECN
		}
	}
	h.headerLen = uint16(front)
	b := make([]byte, HeaderLen+front+n)
	h.put(b)
	p := b[HeaderLen:]
	p[0], p[1], p[6], p[7] = 0x60, 0x02, proto, 64
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ipv6Header))
	for i := range 32 {
		p[8+i] = byte(i * 7)
	}
	l4 := p[ipv6Header:]
	binary.BigEndian.PutUint16(l4, 4711)
	binary.BigEndian.PutUint16(l4[2:], 80)
	if proto == protoTCP {
		binary.BigEndian.PutUint32(l4[tcpSeq:], 0xfffff000) // wraps
		binary.BigEndian.PutUint32(l4[tcpAck:], 77)
		l4[tcpFlagWord] = byte((tcpHeader + options) / 4 << 4)
		l4[tcpFlagWord+1] = flags
		l4[tcpFlagWord+3] = 99
		for i := range options {
			l4[tcpHeader+i] = byte(i)
		}
		binary.BigEndian.PutUint16(l4[tcpChecksum:], pseudo(p, proto, len(l4)))
	} else {
		binary.BigEndian.PutUint16(l4[udpLength:], uint16(len(l4)))
		binary.BigEndian.PutUint16(l4[udpChecksum:], pseudo(p, proto, len(l4)))
	}
	for i := range p[front:] {
		p[front+i] = byte(i ^ i>>8)
	}
	return b
}

// cutAll returns copies of all packets of b.
func cutAll(t testing.TB, b []byte) (pkts [][]byte, partial bool) {
	t.Helper()
	var c Cutter
	partial, err := c.Cut(slices.Clone(b), false)
	if err != nil {
		t.Fatal(err)
	}
	n, longest := c.Count()
	for pkt, ok := c.Next(0); ok; pkt, ok = c.Next(0) {
		if len(pkt) > longest {
			t.Fatalf("a packet of %d bytes, at most %d were promised", len(pkt), longest)
		}
		pkts = append(pkts, slices.Clone(pkt))
	}
	if n != len(pkts) {
		t.Fatalf("%d packets, %d were promised", len(pkts), n)
	}
	return pkts, partial
}

// joinAll returns copies of what a Joiner writes.
func joinAll(j *Joiner, pkts [][]byte, partial bool) (out [][]byte) {
	write := func(bufs [][]byte) error {
		out = append(out, slices.Concat(bufs...))
		return nil
	}
	for _, p := range pkts {
		if !j.Add(slices.Clone(p), partial) {
			j.Flush(write)
		}
	}
	j.Flush(write)
	return out
}

func TestWhatIsCutIsJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		proto := rapid.SampledFrom([]byte{protoTCP, protoUDP}).Draw(t, "protocol")
		size := rapid.IntRange(1, 1400).Draw(t, "size")
		n := rapid.IntRange(1, min(64*size, 64000)).Draw(t, "payload")
		flags := rapid.SampledFrom([]byte{0x10, 0x18, 0x11, 0x90, 0x99}).Draw(t, "flags")
		options := 4 * rapid.IntRange(0, 10).Draw(t, "options")
		in := large(proto, options, n, size, flags)
		var c Cutter
		partial, err := c.Cut(slices.Clone(in), false)
		if err != nil || !partial {
			t.Fatalf("partial %v, %v", partial, err)
		}
		var pkts [][]byte
		for pkt, ok := c.Next(0); ok; pkt, ok = c.Next(0) {
			pkts = append(pkts, slices.Clone(pkt))
		}
		var j Joiner
		out := joinAll(&j, pkts, true)
		if len(out) != 1 {
			t.Fatalf("%d packets came out of %d that were one", len(out), len(pkts))
		}
		if len(pkts) == 1 { // nothing to cut: the header says so, the packet is the same
			out[0], in = out[0][HeaderLen:], in[HeaderLen:]
		}
		if !bytes.Equal(out[0], in) {
			t.Fatalf("joined:\n%x\nwas:\n%x", out[0][:120], in[:120])
		}
	})
}

// What is skipped is missing, whichever it is, and the others are what they are without.
func TestSkip(t *testing.T) {
	for name, in := range map[string][]byte{
		"TCP":         large(protoTCP, 12, 4100, 1000, 0x99), // CWR, PSH
		"UDP":         large(protoUDP, 0, 4100, 1000, 0),
		"small steps": large(protoTCP, 0, 35, 8, 0x10), // the next header lies over the one before
		"one":         large(protoTCP, 0, 900, 1000, 0x10),
		"not cut":     append(make([]byte, HeaderLen), bytes.Repeat([]byte{0x60}, 200)...),
	} {
		want, _ := cutAll(t, in)
		for skipped := range want {
			var c Cutter
			if _, err := c.Cut(slices.Clone(in), false); err != nil {
				t.Fatal(err)
			}
			for i, pkt := range want {
				if i == skipped {
					if left := c.Skip(); left != (i < len(want)-1) {
						t.Errorf("%s: Skip of %d says %v", name, i, left)
					}
				} else if got, ok := c.Next(0); !ok || !bytes.Equal(got, pkt) {
					t.Errorf("%s: packet %d behind a skipped %d:\n%x\nwant\n%x", name, i, skipped, got, pkt)
				}
			}
			if n, _ := c.Count(); n != 0 || c.Skip() {
				t.Errorf("%s: %d are left behind the last", name, n)
			}
		}
	}
}

func TestWhatIsNoContinuationStaysAlone(t *testing.T) {
	pkts, _ := cutAll(t, large(protoTCP, 12, 3000, 1000, 0x10))
	tcp := func(at int, x byte) func([]byte) { return func(p []byte) { p[ipv6Header+at] ^= x } }
	for name, change := range map[string]func([]byte){
		"sequence":         tcp(tcpSeq+3, 1),
		"acknowledgement":  tcp(tcpAck, 1),
		"window":           tcp(tcpFlagWord+2, 1),
		"option":           tcp(tcpHeader+5, 1),
		"urgent pointer":   tcp(tcpHeader-1, 1),
		"ECE":              tcp(tcpFlagWord+1, 0x40),
		"CWR":              tcp(tcpFlagWord+1, flagCWR),
		"SYN":              tcp(tcpFlagWord+1, flagSYN),
		"RST":              tcp(tcpFlagWord+1, flagRST),
		"URG":              tcp(tcpFlagWord+1, flagURG),
		"port":             tcp(1, 1),
		"source":           func(p []byte) { p[20] ^= 1 },
		"destination":      func(p []byte) { p[39] ^= 1 },
		"traffic class":    func(p []byte) { p[1] ^= 0x10 },
		"flow label":       func(p []byte) { p[3] ^= 1 },
		"hop limit":        func(p []byte) { p[7]-- },
		"protocol":         func(p []byte) { p[6] = 58 },
		"length of packet": func(p []byte) { p[5]-- },
		"data offset":      tcp(tcpFlagWord, 0x10),
	} {
		t.Run(name, func(t *testing.T) {
			other := [][]byte{pkts[0], slices.Clone(pkts[1])}
			change(other[1])
			var j Joiner
			if out := joinAll(&j, other, true); len(out) != 2 {
				t.Fatalf("%d packets came out of two that do not belong together", len(out))
			}
			if out := joinAll(&j, pkts[:2], true); len(out) != 1 {
				t.Fatalf("without the change %d came out of two that do", len(out))
			}
		})
	}
	t.Run("a checksum of its own", func(t *testing.T) {
		var j Joiner
		out := joinAll(&j, pkts[:2], false)
		if len(out) != 2 || out[0][0] != 0 || !bytes.Equal(out[0][HeaderLen:], pkts[0]) {
			t.Fatalf("%d packets, %x", len(out), out[0][:HeaderLen])
		}
	})
}

func TestFlowsKeepTheirOrder(t *testing.T) {
	a, _ := cutAll(t, large(protoTCP, 0, 4000, 1000, 0x10))
	b := make([][]byte, len(a))
	for i := range a {
		b[i] = slices.Clone(a[i])
		b[i][ipv6Header] ^= 1 // another port
	}
	ack := slices.Clone(a[2])[:ipv6Header+tcpHeader]
	binary.BigEndian.PutUint16(ack[4:], tcpHeader)
	var j Joiner
	out := joinAll(&j, [][]byte{a[0], b[0], a[1], b[1], ack, a[2], b[2], a[3]}, true)
	var got []int
	for _, p := range out {
		got = append(got, len(p)-HeaderLen-ipv6Header-tcpHeader)
	}
	if want := []int{2000, 3000, 0, 2000}; !slices.Equal(got, want) {
		t.Fatalf("payloads %d, want %d: the flow with an acknowledgement in between in three, the other one in one", got, want)
	}
}

func TestJoinerIsBounded(t *testing.T) {
	pkts, _ := cutAll(t, large(protoUDP, 0, 64000, 1000, 0))
	var j Joiner
	many := slices.Concat(pkts, pkts, pkts)
	for i, out := range joinAll(&j, many, true) {
		if len(out) != HeaderLen+ipv6Header+udpHeader+64000 {
			t.Fatalf("packet %d has %d bytes", i, len(out))
		}
	}
	for i := range 100 { // of a flow each
		p := slices.Clone(pkts[0])
		p[ipv6Header] = byte(i)
		if room := j.Add(p, true); room != (i%maxRuns < maxRuns-1) {
			t.Fatalf("room for packet %d: %v", i+1, room)
		} else if !room && j.Flush(func([][]byte) error { return errors.New("no") }) != maxRuns {
			t.Fatal("not all were refused")
		}
	}
	j = Joiner{KeepUDP: true}
	if out := joinAll(&j, pkts[:5], true); len(out) != 5 {
		t.Fatalf("%d of 5 UDP packets kept alone", len(out))
	}
}

// What the kernel of another machine checks is what it would have found had this one cut the packet by itself.
func TestWholePacketsHaveTheirChecksum(t *testing.T) {
	for _, proto := range []byte{protoTCP, protoUDP} {
		for _, n := range []int{900, 2501} {
			var c Cutter
			if partial, err := c.Cut(large(proto, 0, n, 1000, 0x18), true); partial || err != nil {
				t.Fatal(partial, err)
			}
			for pkt, ok := c.Next(0); ok; pkt, ok = c.Next(0) {
				l4 := pkt[ipv6Header:]
				if got := fold(sum(l4, uint64(pseudo(pkt, proto, len(l4))))); got != 0xffff {
					t.Errorf("protocol %d, %d of %d bytes: the sum with the checksum is %x", proto, len(l4), n, got)
				}
			}
		}
	}
}

func TestBadHeaders(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"short":               func(b []byte) []byte { return b[:9] },
		"type":                func(b []byte) []byte { b[1] = 3; return b },
		"no checksum":         func(b []byte) []byte { b[0] = 0; return b },
		"checksum outside":    func(b []byte) []byte { header{flags: 1, gso: 4, size: 9, sumStart: 60000}.put(b); return b },
		"checksum in IPv6":    func(b []byte) []byte { header{flags: 1, gso: 4, size: 9, sumStart: 8}.put(b); return b },
		"size 0":              func(b []byte) []byte { header{flags: 1, gso: 4, sumStart: 40, checksumOffset: 16}.put(b); return b },
		"data offset":         func(b []byte) []byte { b[HeaderLen+52] = 0x40; return b },
		"header only":         func(b []byte) []byte { return b[:HeaderLen+60] },
		"TCP beyond the end":  func(b []byte) []byte { return b[:HeaderLen+59] },
		"data offset too far": func(b []byte) []byte { b[HeaderLen+52] = 0xf0; return b[:HeaderLen+80] },
	} {
		t.Run(name, func(t *testing.T) {
			var c Cutter
			if _, err := c.Cut(change(large(protoTCP, 0, 3000, 1000, 0x10)), false); !errors.Is(err, ErrHeader) {
				t.Fatalf("error %v", err)
			}
			if _, ok := c.Next(0); ok {
				t.Fatal("a packet came out all the same")
			}
			if _, err := c.Cut(large(protoTCP, 0, 3000, 1000, 0x10), false); err != nil {
				t.Fatalf("without the change: %v", err)
			}
		})
	}
}

func FuzzCut(f *testing.F) {
	f.Add(large(protoTCP, 12, 3000, 1000, 0x18))
	f.Add(large(protoUDP, 0, 3000, 1000, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Cutter
		var j Joiner
		partial, err := c.Cut(b, false)
		if err != nil {
			return
		}
		n, longest := c.Count()
		for pkt, ok := c.Next(0); ok; pkt, ok = c.Next(0) {
			if n--; n < 0 || len(pkt) > longest {
				t.Fatal("more than was promised")
			}
			if !j.Add(slices.Clone(pkt), partial) {
				j.Flush(func([][]byte) error { return nil })
			}
		}
	})
}

// FuzzJoin looks whether what is handed to the kernel agrees with itself, whatever a peer sent.
func FuzzJoin(f *testing.F) {
	pkts, _ := cutAll(f, large(protoTCP, 12, 3000, 1000, 0x18))
	f.Add(pkts[0], pkts[1], true)
	pkts, _ = cutAll(f, large(protoUDP, 0, 3000, 1000, 0))
	f.Add(pkts[0], pkts[1], true)
	f.Fuzz(func(t *testing.T, a, b []byte, partial bool) {
		var j Joiner
		j.Add(a, partial)
		j.Add(b, partial)
		j.Flush(func(bufs [][]byte) error {
			h, all := parseHeader(bufs[0]), slices.Concat(bufs[1:]...)
			if h.flags != 0 && int(h.sumStart)+int(h.checksumOffset)+2 > len(all) {
				t.Fatalf("checksum at %d+%d of %d bytes", h.sumStart, h.checksumOffset, len(all))
			}
			if h.gso != 0 && (int(h.headerLen) >= len(all) || h.size == 0 || int(binary.BigEndian.Uint16(all[4:]))+ipv6Header != len(all)) {
				t.Fatalf("headers of %d of %d bytes, cut at %d", h.headerLen, len(all), h.size)
			}
			return nil
		})
	})
}

func BenchmarkCutAndJoin(b *testing.B) {
	in := large(protoTCP, 12, 64*1000, 1000, 0x10)
	work, room := slices.Clone(in), make([][]byte, 64)
	for i := range room {
		room[i] = make([]byte, 2048)
	}
	var c Cutter
	var j Joiner
	write := func([][]byte) error { return nil }
	b.SetBytes(64000)
	b.ReportAllocs()
	for b.Loop() {
		copy(work, in[:HeaderLen+1000])
		partial, _ := c.Cut(work, false)
		i := 0
		for pkt, ok := c.Next(0); ok; pkt, ok = c.Next(0) {
			p := room[i][:copy(room[i], pkt)]
			i++
			j.Add(p, partial)
		}
		j.Flush(write)
	}
}
