package wire

import (
	"bytes"
	"reflect"
	"testing"
)

// seeds adds the golden vectors whose names begin with one of prefixes, and halves of them.
func seeds(f *testing.F, skip int, prefixes ...string) {
	f.Helper()
	for name, b := range golden(f) {
		for _, p := range prefixes {
			if len(name) >= len(p) && name[:len(p)] == p && len(b) >= skip {
				f.Add(b[skip:])
				f.Add(b[skip : skip+(len(b)-skip)/2])
			}
		}
	}
	f.Add([]byte{})
}

func FuzzFrame(f *testing.F) {
	seeds(f, 0, "frame-")
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := ParseFrame(b)
		if err != nil {
			_, _ = SwapLabel(b, 1)
			_ = ReversedPrefix(b, nil)
			_ = Check(b, &testKey, 0)
			return
		}
		if len(fr.Labels) > 2*MaxLabels || int(fr.Hop) > len(fr.Labels)/2 || HeaderLen+len(fr.Labels)+len(fr.Payload) != len(b) {
			t.Fatalf("bounds: %+v", fr)
		}
		b = bytes.Clone(b)
		hop := int(fr.Hop)
		before := ReversedPrefix(b, nil)
		if out, err := SwapLabel(b, 0x4242); err == nil {
			after := ReversedPrefix(b, nil)
			if out == 0 || LabelAt(b, hop) != 0x4242 || int(b[1]) != hop+1 || after[0] != 0x4242 || len(after) != len(before)+1 {
				t.Fatalf("swap: out %d, way back %v, then %v", out, before, after)
			}
		}
		Seal(b, &testKey, 7, 1<<40)
		if !Check(b, &testKey, 1<<40) || Check(b, &testKey, 1<<41) {
			t.Fatal("seal and check disagree")
		}
		p, q, err := SplitFrame(b, MinLinkMTU, 1)
		if err != nil {
			return
		}
		var j Joiner
		_, _, _ = j.Add(t0, partPayload(t, q))
		if whole, ok, err := j.Add(t0, partPayload(t, p)); !ok || err != nil || !bytes.Equal(whole[HeaderLen:], b[HeaderLen:]) {
			t.Fatalf("split and join disagree: %v, %v", ok, err)
		}
	})
}

// again checks that what a parser accepted is read back equal from its own encoding.
func again[T any](t *testing.T, v T, enc []byte, parse func([]byte) (T, error)) {
	t.Helper()
	if got, err := parse(enc); err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("%+v\nread back as %+v, %v", v, got, err)
	}
}

func FuzzHello(f *testing.F) {
	seeds(f, 0, "hello")
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHello(b); err == nil {
			again(t, h, h.Append(nil), ParseHello)
		}
		if c, err := ParseChallenge(b); err == nil {
			again(t, c, c.Append(nil), ParseChallenge)
		}
	})
}

func FuzzErrorFrame(f *testing.F) {
	seeds(f, 0, "error")
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseErrorFrame(b); err == nil {
			again(t, e, e.Append(nil), ParseErrorFrame)
		}
	})
}

func FuzzHandshake(f *testing.F) {
	seeds(f, 0, "handshake")
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHandshake(b); err == nil {
			again(t, h, h.Append(nil), ParseHandshake)
		}
	})
}

func FuzzInner(f *testing.F) {
	seeds(f, 0, "inner", "probe")
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, rest, err := ParseInner(b); err == nil {
			again(t, i, append(i.Append(nil), rest...), func(b []byte) (Inner, error) { i, _, err := ParseInner(b); return i, err })
		}
		if p, err := ParseProbe(b); err == nil {
			again(t, p, p.Append(nil), ParseProbe)
		}
	})
}

func FuzzOpenData(f *testing.F) {
	seeds(f, 0, "data")
	aead := testAEAD(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		payload := bytes.Clone(b)
		counter, plain, err := OpenData(payload, aead)
		if err != nil {
			return
		}
		index, _, _ := DataIndex(b)
		if got := SealData(nil, aead, index, counter, plain); !bytes.Equal(got, b) {
			t.Fatalf("%x opened, but sealed again is %x", b, got)
		}
	})
}

// Two payloads in a row: whatever comes, the joiner stays in its bounds and joins only what parses.
func FuzzJoiner(f *testing.F) {
	g := golden(f)
	p0, p1 := partPayload(f, g["frame-part-0"]), partPayload(f, g["frame-part-1"])
	f.Add(p0, p1)
	f.Add(p1, p0)
	f.Add(p0[:partHeader], p1[:partHeader])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var j Joiner
		if _, ok, _ := j.Add(t0, a); ok {
			t.Fatal("joined from one part")
		}
		if frame, ok, err := j.Add(t0, b); ok {
			fr, perr := ParseFrame(frame)
			if err != nil || perr != nil || !splittable(fr.Type) || len(frame)-HeaderLen != len(a)+len(b)-2*partHeader {
				t.Fatalf("joined %x: %v, %v", frame, err, perr)
			}
		}
	})
}

func FuzzMessage(f *testing.F) {
	seeds(f, MessageHeader, "msg-")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		enc, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%+v was read but cannot be written: %v", m, err)
		}
		if n, err := MessageLength(enc); err != nil || n != len(enc)-MessageHeader {
			t.Fatalf("length %d, %v", n, err)
		}
		if !opaque(m) {
			again(t, m, enc[MessageHeader:], ParseMessage)
		}
	})
}

func FuzzLSA(f *testing.F) {
	seeds(f, 0, "lsa")
	f.Fuzz(func(t *testing.T, b []byte) {
		l, signed, sig, err := ParseLSA(b)
		if err != nil {
			return
		}
		if len(sig) == 0 || len(signed)+2+len(sig) != len(b) || !bytes.HasPrefix(b, signed) {
			t.Fatalf("%d bytes, %d signed, signature of %d", len(b), len(signed), len(sig))
		}
		if err := l.Validate(); err != nil {
			t.Fatalf("%+v was read but is invalid: %v", l, err)
		}
		again(t, l, l.AppendSigned(nil, sig), func(b []byte) (LSA, error) { l, _, _, err := ParseLSA(b); return l, err })
	})
}

func FuzzRecord(f *testing.F) {
	seeds(f, 0, "record")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, signed, sig, err := ParseRecord(b)
		if err != nil {
			return
		}
		if len(sig) == 0 || len(signed)+2+len(sig) != len(b) || !bytes.HasPrefix(b, signed) {
			t.Fatalf("%d bytes, %d signed, signature of %d", len(b), len(signed), len(sig))
		}
		again(t, r, r.AppendSigned(nil, sig), func(b []byte) (Record, error) { r, _, _, err := ParseRecord(b); return r, err })
	})
}

// FuzzWindow feeds differences between counters.
func FuzzWindow(f *testing.F) {
	f.Add(uint64(0), []byte{1, 1, 0, 200, 255, 3})
	f.Fuzz(func(t *testing.T, base uint64, moves []byte) {
		w, ref := newWindow(64), &slowWindow{size: 64, seen: map[uint64]bool{}}
		for c := base; len(moves) > 0; moves = moves[1:] {
			c += uint64(int64(int8(moves[0])))
			if got, want := w.Accept(c), ref.accept(c); got != want {
				t.Fatalf("Accept(%d) = %v, want %v", c, got, want)
			}
			if e := ExtendCounter(uint32(c), w.Newest()); c <= w.Newest()+1<<30 && w.Newest() <= c+1<<30 && c+1<<31 > c && e != c {
				t.Fatalf("ExtendCounter of %#x at %#x gives %#x", c, w.Newest(), e)
			}
		}
	})
}
