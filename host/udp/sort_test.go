package udp

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// classVM runs the kernel's program in user space.
func classVM(t testing.TB, r *rules) func(b []byte) class {
	t.Helper()
	raw, err := r.program()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4096 {
		t.Fatalf("%d instructions, the kernel takes 4096", len(raw))
	}
	p, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program has instructions that nobody knows")
	}
	vm, err := bpf.NewVM(p)
	if err != nil {
		t.Fatal(err)
	}
	return func(b []byte) class {
		n, err := vm.Run(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		return class(n)
	}
}

var testMarker = &marker{k: [4]uint32{0x9e3779b9, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f}}

func frameOf(session uint32, size int) []byte {
	b := make([]byte, size)
	b[0] = 0x31
	binary.BigEndian.PutUint32(b[4:], session)
	return b
}

func longHeaderOf(first byte, version uint32, id []byte, size int) []byte {
	b := binary.BigEndian.AppendUint32([]byte{first}, version)
	b = append(append(b, byte(len(id))), id...)
	return append(b, make([]byte, max(0, size-len(b)))...)
}

func TestClasses(t *testing.T) {
	m := testMarker
	ours, theirs := m.id(), slices.Repeat([]byte{7}, ConnectionIDLen)
	short := func(id []byte) []byte { return append(append([]byte{0x40}, id...), make([]byte, 30)...) }
	r := &rules{sessions: []uint32{5, 77, 0x80000000, 0xffffffff}, only: true, mark: m, hellos: true}
	kernel := classVM(t, r)
	for _, tt := range []struct {
		what string
		b    []byte
		want class
	}{
		{"nothing", nil, refused},
		{"no known first byte", []byte{0x20, 1, 2}, refused},
		{"a frame of an admitted session", frameOf(77, 60), framed},
		{"a hello that asks for nothing", helloOf(77, false), calm},
		{"a longer one", append(helloOf(77, false), 1, 1, 1), calm},
		{"a hello that wants an answer", helloOf(77, true), framed},
		{"half a hello", helloOf(77, false)[:minHello-1], framed},
		{"data as long as a hello", append([]byte{0x30}, helloOf(77, false)[1:]...), framed},
		{"a hello of no admitted session", helloOf(78, false), refused},
		{"the least session", frameOf(5, 20), framed},
		{"a session with the high bit", frameOf(0x80000000, 20), framed},
		{"the greatest session", frameOf(0xffffffff, 20), framed},
		{"a frame of no admitted session", frameOf(78, 60), refused},
		{"an admitted session in half a header", frameOf(77, 19), refused},
		{"a frame without a session", []byte{0x30, 0, 0, 0, 0}, refused},
		{"QUIC for a connection of ours", short(ours), acquainted},
		{"QUIC for nobody", short(theirs), refused},
		{"half an ID of ours", short(ours)[:12], refused},
		{"a handshake packet for ours", longHeaderOf(0xe0, 1, ours, 100), acquainted},
		{"an Initial for ours, after Retry", longHeaderOf(0xc0, 1, ours, 1200), acquainted},
		{"a handshake packet for nobody", longHeaderOf(0xe0, 1, theirs, 1200), refused},
		{"a stranger's Initial", longHeaderOf(0xc3, 1, theirs[:8], 1200), strange},
		{"one with an ID as long as ours", longHeaderOf(0xc0, 1, theirs, 1252), strange},
		{"an Initial that is too short", longHeaderOf(0xc0, 1, theirs[:8], 1199), refused},
		{"one with an ID that is too short", longHeaderOf(0xc0, 1, theirs[:7], 1200), refused},
		{"0-RTT", longHeaderOf(0xd0, 1, theirs[:8], 1200), refused},
		{"another version", longHeaderOf(0xc0, 0x6b3343cf, theirs[:8], 1200), refused},
		{"version negotiation", longHeaderOf(0xc0, 0, theirs[:8], 1200), refused},
		{"half a version", []byte{0xc0, 0, 0}, refused},
	} {
		if got := r.classify(tt.b); got != tt.want {
			t.Errorf("%s is of class %d, want %d", tt.what, got, tt.want)
		}
		if got := kernel(tt.b); got != tt.want {
			t.Errorf("%s is of class %d to the program, want %d", tt.what, got, tt.want)
		}
	}
}

// The zero rules look at the first byte only.
func TestClassesBeforeAnythingIsKnown(t *testing.T) {
	r := &rules{}
	kernel := classVM(t, r)
	for first := range 256 {
		want := refused
		switch {
		case first&0xc0 != 0:
			want = acquainted
		case first&0xf0 == 0x30:
			want = framed
		}
		b := []byte{byte(first)}
		if r.classify(b) != want || kernel(b) != want {
			t.Errorf("first byte %#x: class %d, %d to the program, want %d", first, r.classify(b), kernel(b), want)
		}
	}
}

func TestProgramFindsEverySession(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 100, maxSessions} {
		r := &rules{only: true, mark: testMarker, hellos: true}
		for range n {
			r.sessions = append(r.sessions, rnd.Uint32())
		}
		slices.Sort(r.sessions)
		kernel := classVM(t, r)
		for range min(n, maxMembers) { // which the machine of the test cannot look at, but the program is not too long
			r.members = append(r.members, rnd.Uint32())
		}
		slices.Sort(r.members)
		classVM(t, r)
		for i, s := range r.sessions {
			if kernel(frameOf(s, 20)) != framed {
				t.Errorf("session %d of %d is refused", i, n)
			}
		}
		for range 1000 {
			b := frameOf(rnd.Uint32(), 20)
			if got, want := kernel(b), r.classify(b); got != want {
				t.Fatalf("%d sessions: %x is of class %d to the program, of %d to us", n, b, got, want)
			}
		}
	}
}

// Without the key a tag is as good as guessed: of IDs whose tags are wrong by one bit, or random, none passes.
func TestMarks(t *testing.T) {
	m := newMarker()
	seen := map[string]bool{}
	for range 1000 {
		id := m.id()
		if len(id) != ConnectionIDLen || !m.knows(id) || seen[string(id)] {
			t.Fatalf("bad ID %x", id)
		}
		seen[string(id)] = true
		for bit := range 8 * ConnectionIDLen {
			other := slices.Clone(id)
			other[bit/8] ^= 1 << (bit % 8)
			if m.knows(other) {
				t.Errorf("%x passes for ours, as %x", other, id)
			}
		}
	}
	if newMarker().knows(m.id()) {
		t.Error("another process's ID passes for ours")
	}
	// Computed independently: Python, integers modulo 2^32.
	if got := testMarker.tag([]byte{1, 2, 3, 4, 5, 6, 7, 8}); got != 0xbf15eea4 {
		t.Errorf("tag %#x", got)
	}
}

func FuzzSort(f *testing.F) {
	r := &rules{sessions: []uint32{1, 2, 3, 500, 1 << 31}, only: true, mark: testMarker, hellos: true}
	kernel := classVM(f, r)
	f.Add(frameOf(3, 20), 0)
	f.Add(helloOf(3, false), 0)
	f.Add(helloOf(3, true), 0)
	f.Add(longHeaderOf(0xc0, 1, make([]byte, 8), 64), 1200)
	f.Add(longHeaderOf(0xe0, 1, testMarker.id(), 64), 0)
	f.Add(append([]byte{0x40}, testMarker.id()...), 0)
	f.Fuzz(func(t *testing.T, b []byte, pad int) {
		b = append(b, make([]byte, max(0, min(pad, MaxDatagram)-len(b)))...)
		if got, want := kernel(b), r.classify(b); got != want {
			t.Errorf("%x is of class %d to the program, of %d to us", b, got, want)
		}
	})
}
