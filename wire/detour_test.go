package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

// A relay whose label of the in-link is 0x00b1 gets a frame that wants 0x00b2 and behind it 0x00c2. Written by hand from the
// drawing of the format.
func TestDetourBytes(t *testing.T) {
	const head = "01020304" + "05060708" + "090a0b0c0d0e0f10" // session, counter, MAC: stale, as a swap leaves them
	in, err := hex.DecodeString("30010311" + head + "00a1" + "00b2" + "00c2" + "707172")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		skip int
		want string
	}{
		"to the neighbour":     {0, "30020515" + head + "00a1" + "00b1" + "00e1" + "00f1" + "00c2" + "707172"},
		"to the one behind":    {1, "30020415" + head + "00a1" + "00b1" + "00e1" + "00f1" + "707172"},
		"behind what there is": {2, ""},
	} {
		got, err := AppendDetour([]byte("x"), in, 0xb1, []byte{0, 0xe1, 0, 0xf1}, tt.skip, FlagProtected.WithECN(1)|FlagRepaired)
		if want, _ := hex.DecodeString(tt.want); tt.want != "" && (err != nil || !bytes.Equal(got, append([]byte("x"), want...))) {
			t.Errorf("%s: %v\n got %x\nwant 78%x", name, err, got, want)
		}
		if tt.want == "" && (!errors.Is(err, ErrNoMoreLabels) || string(got) != "x") {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestDetourRefuses(t *testing.T) {
	frame := func(labels, payload int) []byte {
		l := make([]mesh.Label, labels)
		for i := range l {
			l[i] = mesh.Label(i + 1)
		}
		return AppendFrame(nil, TypeData, 0, l, make([]byte, payload))
	}
	zero := frame(1, 0)
	zero[HeaderLen+1] = 0
	four := []byte{0, 1, 0, 2, 0, 3, 0, 4}
	for name, tt := range map[string]struct {
		b      []byte
		in     mesh.Label
		detour []byte
		want   error
	}{
		"an arrived frame":   {frame(0, 9), 1, four, ErrNoMoreLabels},
		"half a header":      {frame(1, 9)[:10], 1, four, ErrTruncated},
		"half of its labels": {frame(3, 0)[:HeaderLen+4], 1, four, ErrTruncated},
		"half a label":       {frame(3, 0), 1, four[:3], ErrTruncated},
		"no label here":      {frame(1, 9), 0, four, ErrZeroLabel},
		"next label zero":    {zero, 1, four, ErrZeroLabel},
		"a label too many":   {frame(29, 9), 1, four, ErrTooManyLabels},
		"as many as can be":  {frame(28, 9), 1, four, nil},
		"a byte too long":    {frame(1, MaxFrame-HeaderLen-2-7), 1, four, ErrTooLong},
		"as long as can be":  {frame(1, MaxFrame-HeaderLen-2-8), 1, four, nil},
	} {
		before := bytes.Clone(tt.b)
		got, err := AppendDetour(nil, tt.b, tt.in, tt.detour, 0, 0)
		if !errors.Is(err, tt.want) || err != nil && got != nil || !bytes.Equal(tt.b, before) {
			t.Errorf("%s: %v, want %v; appended %d bytes", name, err, tt.want, len(got))
		}
		if err != nil {
			continue
		}
		if _, err := ParseFrame(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The frame is that whose source had known the detour, and had come as far; on lists of labels, one by one.
func TestDetourIsAnotherPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.Map(rapid.Uint16Min(1), func(l uint16) mesh.Label { return mesh.Label(l) })
		labels := rapid.SliceOfN(label, 1, 27).Draw(t, "labels")
		around := rapid.SliceOfN(label, 0, 4).Draw(t, "detour")
		hop := rapid.IntRange(0, len(labels)-1).Draw(t, "hop")
		skip := min(rapid.IntRange(0, 1).Draw(t, "skip"), len(labels)-1-hop)
		payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")

		b := AppendFrame(nil, TypeData, FlagProtected, labels, payload)
		for k := range hop {
			if _, err := SwapLabel(b, mesh.Label(1000+k)); err != nil {
				t.Fatal(err)
			}
		}
		known := slices.Concat(labels[:hop+1], around, labels[hop+1+skip:])
		want := AppendFrame(nil, TypeData, FlagProtected|FlagRepaired, known, payload)
		for k := range hop + 1 {
			if _, err := SwapLabel(want, mesh.Label(1000+k)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := AppendDetour(nil, b, mesh.Label(1000+hop), appendLabels(nil, around), skip, FlagProtected|FlagRepaired)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v\n got %x\nwant %x", err, got, want)
		}
	})
}

func FuzzDetour(f *testing.F) {
	seeds(f, 0, "frame-")
	f.Fuzz(func(t *testing.T, b []byte) {
		dst := []byte{1, 2, 3}
		got, err := AppendDetour(dst, b, 0x4242, []byte{0, 1, 0, 2}, len(b)%3, FlagRepaired)
		if err != nil {
			if !bytes.Equal(got, dst) {
				t.Fatalf("appended %x in spite of %v", got, err)
			}
			return
		}
		was, err := ParseFrame(b)
		if err != nil {
			return // garbage in
		}
		is, err := ParseFrame(got[len(dst):])
		if err != nil || !bytes.Equal(is.Payload, was.Payload) || is.Hop != was.Hop+1 || is.Type != was.Type {
			t.Fatalf("%v: %+v became %+v", err, was, is)
		}
	})
}

func TestDetourDoesNotAllocate(t *testing.T) {
	b := AppendFrame(nil, TypeData, 0, []mesh.Label{1, 2, 3}, make([]byte, 1300))
	dst, around := make([]byte, 0, MaxFrame), []byte{0, 1, 0, 2}
	if n := testing.AllocsPerRun(100, func() { _, _ = AppendDetour(dst, b, 9, around, 1, FlagRepaired) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
