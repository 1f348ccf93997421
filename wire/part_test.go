package wire

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

var t0 = time.Unix(1_800_000_000, 0)

// partPayload returns the payload of a part frame.
func partPayload(t testing.TB, b []byte) []byte {
	t.Helper()
	f, err := ParseFrame(b)
	if err != nil || f.Type != TypePart {
		t.Fatalf("no part frame: %+v, %v", f, err)
	}
	return f.Payload
}

// unsealed returns b with session index, counter and MAC zero: what a joined frame looks like.
func unsealed(b []byte) []byte {
	b = bytes.Clone(b)
	clear(b[4:HeaderLen])
	return b
}

func TestSplitJoin(t *testing.T) {
	var j Joiner
	var joined uint64
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]FrameType{TypeData, TypeError, TypeHandshake}).Draw(t, "type")
		labels := make([]mesh.Label, drawLength(t, 0, MaxLabels))
		payload := drawBytes(t, 1, MaxFrame-HeaderLen-2*len(labels))
		frame := AppendFrame(nil, typ, Flags(rapid.Byte().Draw(t, "flags"))&^flagsReserved, labels, payload)
		frame[1] = byte(drawLength(t, 0, len(labels)))
		Seal(frame, &testKey, 1, 2)
		id := rapid.Uint32().Draw(t, "id")
		a, b, err := SplitFrame(frame, MinLinkMTU, id)
		if err != nil || len(a) > MinLinkMTU || len(b) > MinLinkMTU {
			t.Fatalf("%d bytes into %d and %d: %v", len(frame), len(a), len(b), err)
		}
		fa, _ := ParseFrame(a)
		fb, _ := ParseFrame(b)
		first, second := fa.Payload, fb.Payload
		if rapid.Bool().Draw(t, "swapped") {
			first, second = second, first
		}
		if f, ok, err := j.Add(t0, first); ok || err != nil {
			t.Fatalf("first part: %x, %v", f, err)
		}
		f, ok, err := j.Add(t0, second)
		if !ok || err != nil || !bytes.Equal(f, unsealed(frame)) {
			t.Fatalf("second part: ok %v, %v\n got %x\nwant %x", ok, err, f, unsealed(frame))
		}
		joined++
	})
	if s := j.Stats(); s != (JoinStats{Joined: joined}) {
		t.Errorf("stats %+v after %d joins", s, joined)
	}
}

func TestSplitRefuses(t *testing.T) {
	data := AppendFrame(nil, TypeData, 0, nil, make([]byte, MaxFrame-HeaderLen))
	a, b, err := SplitFrame(data, 746, 1)
	if err != nil || len(a) != 746 || len(b) != 746 {
		t.Errorf("largest frame at its smallest MTU: %d, %d, %v", len(a), len(b), err)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		mtu   int
		want  error
	}{
		{"MTU too small", data, 745, ErrTooLong},
		{"hello", AppendFrame(nil, TypeHello, 0, nil, testHello.Append(nil)), 1400, ErrPart},
		{"part", a, 1400, ErrPart},
		{"no body", AppendFrame(nil, TypeData, 0, nil, nil), 1400, ErrTooLong},
		{"no frame", data[:10], 1400, ErrTruncated},
	} {
		if _, _, err := SplitFrame(c.frame, c.mtu, 1); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func split(t testing.TB, id uint32, size int) (a, b []byte) {
	t.Helper()
	fa, fb, err := SplitFrame(AppendFrame(nil, TypeData, 0, nil, make([]byte, size)), 1400, id)
	if err != nil {
		t.Fatal(err)
	}
	return partPayload(t, fa), partPayload(t, fb)
}

func TestJoinerBounds(t *testing.T) {
	var j Joiner
	// One more than fits: the one that waited longest goes.
	for id := range uint32(MaxPending + 1) {
		a, _ := split(t, id, 1000)
		if _, ok, err := j.Add(t0.Add(time.Duration(id)*time.Millisecond), a); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	now := t0.Add(MaxPending * time.Millisecond)
	_, b1 := split(t, 1, 1000)
	if _, ok, _ := j.Add(now, b1); !ok {
		t.Error("frame 1 was not kept")
	}
	_, b0 := split(t, 0, 1000)
	if _, ok, _ := j.Add(now, b0); ok {
		t.Error("frame 0 was not evicted")
	}
	// The half of frame 0 that just came and frames 2 to 16 wait; all of them go in time.
	a, _ := split(t, 50, 1000)
	if _, ok, err := j.Add(now.Add(JoinTimeout+time.Millisecond), a); ok || err != nil {
		t.Fatal(ok, err)
	}
	if want := (JoinStats{Joined: 1, Evicted: 1, Expired: MaxPending}); j.Stats() != want {
		t.Errorf("stats %+v, want %+v", j.Stats(), want)
	}
}

func TestJoinerMismatch(t *testing.T) {
	a, b := split(t, 7, 1000)
	edit := func(p []byte, i int, v byte) []byte {
		p = bytes.Clone(p)
		p[i] = v
		return p
	}
	long := make([]byte, partHeader+MaxFrame-HeaderLen)
	copy(long, b[:partHeader])
	for _, c := range []struct {
		name          string
		first, second []byte
	}{
		{"same part twice", a, a},
		{"another type", a, edit(b, 5, byte(TypeError))},
		{"another flag", a, edit(b, 8, 1)},
		{"too long together", a, long},
	} {
		var j Joiner
		_, _, _ = j.Add(t0, c.first)
		if f, ok, err := j.Add(t0, c.second); ok || f != nil || !errors.Is(err, ErrPart) {
			t.Errorf("%s: %v, %v", c.name, ok, err)
		}
		if j.Stats().Invalid != 1 {
			t.Errorf("%s: %+v", c.name, j.Stats())
		}
	}
	// Exactly the largest frame joins; one byte more does not.
	for extra, want := range []bool{true, false} {
		var j Joiner
		half := (MaxFrame - HeaderLen) / 2
		a, b := edit(a[:partHeader], 4, 0), edit(b[:partHeader], 4, 1)
		_, _, _ = j.Add(t0, append(a, make([]byte, half)...))
		if f, ok, err := j.Add(t0, append(b, make([]byte, half+extra)...)); ok != want || ok != (len(f) == MaxFrame) {
			t.Errorf("%d bytes above the largest frame: %v, %v", extra, ok, err)
		}
	}
	// The part that did not match is the newer one, so it waits for its own other half.
	var j Joiner
	_, _, _ = j.Add(t0, a)
	_, _, _ = j.Add(t0, a)
	if _, ok, err := j.Add(t0, b); !ok || err != nil {
		t.Errorf("after a replaced part: %v, %v", ok, err)
	}
	// Labels that the joined bytes do not hold.
	short := []byte{0, 0, 0, 1, 0, 0, 0, 9, 0, 0}
	_, _, _ = j.Add(t0, short)
	if _, ok, err := j.Add(t0, edit(short, 4, 1)); ok || !errors.Is(err, ErrTruncated) {
		t.Errorf("labels missing: %v, %v", ok, err)
	}
}

func TestPartRefuses(t *testing.T) {
	a, _ := split(t, 7, 1000)
	edit := func(i int, v byte) []byte {
		p := bytes.Clone(a)
		p[i] = v
		return p
	}
	var j Joiner
	for n := range partHeader {
		if _, _, err := j.Add(t0, a[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"index 2", edit(4, 2), ErrPart},
		{"a part within", edit(5, byte(TypePart)), ErrPart},
		{"a hello within", edit(5, byte(TypeHello)), ErrPart},
		{"33 labels", edit(7, 33), ErrTooManyLabels},
		{"hop behind labels", edit(6, 1), ErrHopIndex},
		{"too long", append(bytes.Clone(a), make([]byte, MaxFrame)...), ErrTooLong},
	} {
		if _, ok, err := j.Add(t0, c.b); ok || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
