package wire

import (
	"testing"

	"x0tta6bl4/mesh"
)

// relayFrame is a full-size data frame of a four-hop path at its first relay.
func relayFrame() []byte {
	b := AppendFrame(make([]byte, 0, MaxFrame), TypeData, 0, []mesh.Label{7, 8, 9}, make([]byte, 1400))
	Seal(b, &testKey, 1, 2)
	return b
}

// relay does to b what a relay does to a frame, and readies it for the next round.
func relay(b []byte, counter uint64) bool {
	if !Check(b, &testKey, counter) {
		return false
	}
	if _, err := SwapLabel(b, 5); err != nil {
		return false
	}
	Seal(b, &testKey, 77, counter+1)
	return true
}

func BenchmarkRelay(b *testing.B) {
	f := relayFrame()
	b.ReportAllocs()
	for b.Loop() {
		f[1] = 0 // its MAC is of the old hop index: the check below runs whole and says no
		Check(f, &testKey, 2)
		if _, err := SwapLabel(f, 5); err != nil {
			b.Fatal(err)
		}
		Seal(f, &testKey, 77, 2)
	}
}

func BenchmarkMAC(b *testing.B) {
	f := relayFrame()
	for b.Loop() {
		Check(f, &testKey, 2)
	}
}

func BenchmarkSealData(b *testing.B) {
	aead := testAEAD(b)
	buf := make([]byte, 1400+SealOverhead)
	b.ReportAllocs()
	b.SetBytes(1400)
	var counter uint64
	for b.Loop() {
		SealData(buf[:0], aead, 1, counter, buf[sealHeader:][:1400])
		counter++
	}
}

func BenchmarkWindow(b *testing.B) {
	w := NewWindow(0)
	var c uint64
	for b.Loop() {
		w.Accept(c)
		c++
	}
}

// The packet path allocates nothing, on success and on refusal.
func TestNoAllocations(t *testing.T) {
	aead := testAEAD(t)
	frame, labels := relayFrame(), []mesh.Label{7, 8, 9}
	buf, partA, partB := make([]byte, MaxFrame), make([]byte, MaxFrame), make([]byte, MaxFrame)
	plain, back := make([]byte, 1000), make([]mesh.Label, 0, MaxLabels)
	w, payload := NewWindow(0), make([]byte, 1000+SealOverhead)
	var j Joiner
	_, _, _ = j.Add(t0, make([]byte, partHeader))
	var counter uint64
	for name, f := range map[string]func(){
		"ParseFrame":   func() { _, _ = ParseFrame(frame) },
		"refuse frame": func() { _, _ = ParseFrame(frame[:10]) },
		"relay": func() {
			counter += 2
			frame[1] = 0
			Seal(frame, &testKey, 1, counter)
			if !relay(frame, counter) {
				t.Error("the relay refused it")
			}
		},
		"ReversedPrefix": func() { _ = ReversedPrefix(frame, back) },
		"AppendFrame":    func() { _ = AppendFrame(buf[:0], TypeData, 0, labels, plain) },
		"AppendParts": func() {
			a, b, err := AppendParts(partA[:0], partB[:0], frame, 1300, uint32(counter))
			if err != nil {
				t.Error(err)
			}
			_, _, _ = j.Add(t0, a[HeaderLen:])
			if _, ok, err := j.Add(t0, b[HeaderLen:]); !ok {
				t.Error(err)
			}
		},
		"SealData": func() { _ = SealData(buf[:0], aead, 1, counter, plain) },
		"OpenData": func() {
			payload = SealData(payload[:0], aead, 1, counter, plain)
			if _, _, err := OpenData(payload, aead); err != nil {
				t.Error(err)
			}
		},
		"refuse data": func() { _, _, _ = OpenData(payload, aead) },
		"Window":      func() { counter++; w.Accept(counter); w.Check(counter) },
		"hello":       func() { buf = testHello.Append(buf[:0]); _, _ = ParseHello(buf) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
