package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

// drawLength draws evenly, with both ends often: rapid itself keeps collections at a handful of elements.
func drawLength(t *rapid.T, lo, hi int) int {
	even := rapid.Map(rapid.Uint64(), func(u uint64) int { return lo + int(u*0x9e3779b97f4a7c15>>32)%(hi-lo+1) })
	return rapid.OneOf(even, rapid.SampledFrom([]int{lo, hi, lo + (hi-lo)/2})).Draw(t, "length")
}

// drawBytes draws lo to hi bytes, random from a seed.
func drawBytes(t *rapid.T, lo, hi int) []byte {
	b := make([]byte, drawLength(t, lo, hi))
	_, _ = rand.NewChaCha8([32]byte{0: rapid.Byte().Draw(t, "seed")}).Read(b)
	return b
}

func TestParseFrameRefuses(t *testing.T) {
	good := AppendFrame(nil, TypeData, 0, []mesh.Label{1, 2, 3}, []byte("payload"))
	edit := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrTruncated},
		{"QUIC long header", edit(0, 0xc3), ErrFrameType},
		{"QUIC short header", edit(0, 0x40), ErrFrameType},
		{"type 7", edit(0, 0x37), ErrFrameType},
		{"type 15", edit(0, 0x3f), ErrFrameType},
		{"33 labels", append(edit(2, 33), make([]byte, 100)...), ErrTooManyLabels},
		{"hop behind labels", edit(1, 4), ErrHopIndex},
		{"more labels than bytes", edit(2, 30), ErrTruncated},
		{"too long", append(bytes.Clone(good), make([]byte, MaxFrame)...), ErrTooLong},
	} {
		if _, err := ParseFrame(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if f, err := ParseFrame(edit(3, 0xff)); err != nil || f.Flags&flagsReserved != 0 {
		t.Errorf("reserved flags not ignored: %v, %v", f.Flags, err)
	}
}

// Every proper prefix that lacks a fixed part is refused; the rest parses with a shorter payload.
func TestFrameTruncation(t *testing.T) {
	b := AppendFrame(nil, TypeHello, FlagSuspect, []mesh.Label{1, 2}, []byte("payload"))
	for n := range b {
		f, err := ParseFrame(b[:n:n])
		if wantErr := n < HeaderLen+4; wantErr != errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		} else if !wantErr && len(f.Payload) != n-HeaderLen-4 {
			t.Errorf("%d bytes: payload of %d", n, len(f.Payload))
		}
		_, _ = SwapLabel(b[:n:n], 9)
		_ = ReversedPrefix(b[:n:n], nil)
	}
}

func TestFlags(t *testing.T) {
	for ecn := range uint8(4) {
		f := (FlagProtected | FlagRepaired).WithECN(3).WithECN(ecn)
		if f.ECN() != ecn || f&^flagsECN != FlagProtected|FlagRepaired {
			t.Errorf("ECN %d: flags %08b", ecn, f)
		}
	}
	b := AppendFrame(nil, TypeData, 0, nil, nil)
	SetFlags(b, 0xff)
	if b[3] != 0x3f {
		t.Errorf("reserved bits sent: %08b", b[3])
	}
}

// A frame that crosses a path of relays collects the way back, and that way leads through the same relays.
func TestSwapAlongPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hops := drawLength(t, 1, MaxLabels+1)
		label := rapid.Map(rapid.Uint16Min(1), func(l uint16) mesh.Label { return mesh.Label(l) })
		forward := rapid.SliceOfN(label, hops-1, hops-1).Draw(t, "forward")
		back := rapid.SliceOfN(label, hops-1, hops-1).Draw(t, "back") // relay k's label of the link towards the source
		b := AppendFrame(nil, TypeData, 0, forward, []byte("x"))
		for k := range forward {
			if got := LabelAt(b, k); got != forward[k] {
				t.Fatalf("label %d is %d, want %d", k, got, forward[k])
			}
			want := slices.Clone(back[:k])
			slices.Reverse(want)
			if got := ReversedPrefix(b, nil); !slices.Equal(got, want) {
				t.Fatalf("way back at relay %d: %v, want %v", k, got, want)
			}
			out, err := SwapLabel(b, back[k])
			if err != nil || out != forward[k] {
				t.Fatalf("relay %d: out %d, %v; want %d", k, out, err, forward[k])
			}
		}
		before := bytes.Clone(b)
		if _, err := SwapLabel(b, 1); !errors.Is(err, ErrNoMoreLabels) || !bytes.Equal(b, before) {
			t.Fatalf("at the destination: %v", err)
		}
	})
}

func TestSwapLabelZero(t *testing.T) {
	b := AppendFrame(nil, TypeData, 0, []mesh.Label{0}, nil)
	before := bytes.Clone(b)
	if _, err := SwapLabel(b, 5); !errors.Is(err, ErrZeroLabel) || !bytes.Equal(b, before) {
		t.Errorf("out label 0: %v, frame %x", err, b)
	}
	b = AppendFrame(nil, TypeData, 0, []mesh.Label{5}, nil)
	if _, err := SwapLabel(b, 0); !errors.Is(err, ErrZeroLabel) {
		t.Errorf("in label 0: %v", err)
	}
	if LabelAt(b, -1) != 0 || LabelAt(b, 1) != 0 || LabelAt(nil, 0) != 0 {
		t.Error("a label out of range")
	}
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := FrameType(rapid.IntRange(0, int(typeCount)-1).Draw(t, "type"))
		flags := Flags(rapid.Byte().Draw(t, "flags")) &^ flagsReserved
		n := drawLength(t, 0, MaxLabels)
		labels := rapid.SliceOfN(rapid.Map(rapid.Uint16(), func(l uint16) mesh.Label { return mesh.Label(l) }), n, n).Draw(t, "labels")
		payload := drawBytes(t, 0, 1300)
		session, counter := rapid.Uint32().Draw(t, "session"), rapid.Uint64().Draw(t, "counter")
		b := AppendFrame(nil, typ, flags, labels, payload)
		Seal(b, &testKey, session, counter)
		f, err := ParseFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		if f.Type != typ || f.Flags != flags || f.Session != session || f.Counter != uint32(counter) || !bytes.Equal(f.Payload, payload) {
			t.Fatalf("parsed %+v", f)
		}
		for k, l := range labels {
			if LabelAt(b, k) != l {
				t.Fatalf("label %d", k)
			}
		}
		if !Check(b, &testKey, counter) {
			t.Fatal("own seal refused")
		}
	})
}

func TestStrings(t *testing.T) {
	for got, want := range map[string]string{
		TypeData.String(): "data", TypeChallengeReply.String(): "challenge-reply", FrameType(9).String(): "frametype(9)",
		ErrorLinkDown.String(): "link-down", ErrorUTurn.String(): "u-turn", ErrorCode(0).String(): "errorcode(0)",
		PurposeLink.String(): "link", PurposeE2E.String(): "e2e", Purpose(0).String(): "purpose(0)",
		PurposeLink.ALPN(): ALPNLink, PurposeE2E.ALPN(): ALPNE2E, Purpose(9).ALPN(): "",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
