package wire

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

func testAEAD(t testing.TB) cipher.AEAD {
	t.Helper()
	a, err := NewAEAD(SuiteAES256GCM, seq(0, 32))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestKeySizes(t *testing.T) {
	if _, err := NewAEAD(SuiteAES256GCM, make([]byte, 16)); !errors.Is(err, ErrKeySize) {
		t.Errorf("16-byte AEAD key: %v", err)
	}
	if _, err := NewAEAD(SuiteChaCha20, make([]byte, 32)); !errors.Is(err, ErrSuite) {
		t.Errorf("ChaCha20: %v", err)
	}
	if _, err := DeriveLinkKeys(make([]byte, 31), true); !errors.Is(err, ErrKeySize) {
		t.Errorf("31-byte link secret: %v", err)
	}
	if _, err := DeriveDataKeys(nil, true); !errors.Is(err, ErrKeySize) {
		t.Errorf("no data secret: %v", err)
	}
}

func TestSealOpen(t *testing.T) {
	aead := testAEAD(t)
	rapid.Check(t, func(t *rapid.T) {
		index, counter := rapid.Uint32().Draw(t, "index"), rapid.Uint64().Draw(t, "counter")
		plain := drawBytes(t, 0, 1500)
		front := drawBytes(t, 0, 84)

		sealed := SealData(bytes.Clone(front), aead, index, counter, plain)
		if !bytes.HasPrefix(sealed, front) || len(sealed) != len(front)+len(plain)+SealOverhead {
			t.Fatalf("%d bytes for %d behind %d", len(sealed), len(plain), len(front))
		}
		// In place: the plaintext already stands where its ciphertext will.
		buf := make([]byte, len(sealed))
		copy(buf, front)
		copy(buf[len(front)+sealHeader:], plain)
		inPlace := SealData(buf[:len(front)], aead, index, counter, buf[len(front)+sealHeader:][:len(plain)])
		if !bytes.Equal(inPlace, sealed) || &inPlace[0] != &buf[0] {
			t.Fatal("sealing in place differs")
		}
		payload := sealed[len(front):]
		if i, c, ok := DataIndex(payload); !ok || i != index || c != counter {
			t.Fatalf("index %d, counter %d, %v", i, c, ok)
		}
		c, got, err := OpenData(payload, aead)
		if err != nil || c != counter || !bytes.Equal(got, plain) {
			t.Fatalf("opened: %v", err)
		}
	})
}

func TestOpenDataRefuses(t *testing.T) {
	aead := testAEAD(t)
	sealed := SealData(nil, aead, 1, 2, []byte("plaintext"))
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		if _, p, err := OpenData(b, aead); !errors.Is(err, ErrAuth) || p != nil {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for n := range sealed {
		want := ErrAuth
		if n < SealOverhead {
			want = ErrTruncated
		}
		if _, _, err := OpenData(bytes.Clone(sealed[:n]), aead); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestInnerRefuses(t *testing.T) {
	if _, _, err := ParseInner([]byte{4, 0, 0, 0}); !errors.Is(err, ErrInnerKind) {
		t.Errorf("kind 4: %v", err)
	}
	in, rest, err := ParseInner([]byte{3, 0xff, 1, 2, 9})
	if err != nil || in != (Inner{InnerKeepalive, ClassECN | ClassProtected, false, 0x1f}) || !bytes.Equal(rest, []byte{9}) {
		t.Errorf("class bits: %+v %v %v", in, rest, err)
	}
	b := testProbe.Append(nil)
	b[17] = MaxLabels + 1
	if _, err := ParseProbe(append(b, make([]byte, 100)...)); !errors.Is(err, ErrTooManyLabels) {
		t.Errorf("probe with 33 labels: %v", err)
	}
	long := Probe{Labels: make([]mesh.Label, 300)}
	if p, err := ParseProbe(long.Append(nil)); err != nil || len(p.Labels) != MaxLabels {
		t.Errorf("probe made with 300 labels: %d, %v", len(p.Labels), err)
	}
}

// Of what can be sealed each header is told by its quote; of what cannot, nothing is.
func TestQuotedInner(t *testing.T) {
	aead := testAEAD(t)
	quote := func(plain []byte) [QuoteLen]byte {
		return QuoteOf(SealData(nil, aead, 7, 1<<40, append(plain, "and what follows"...)))
	}
	for _, in := range []Inner{
		{}, {Class: ClassECN | ClassProtected, Partial: true, Path: 31}, {Kind: InnerProbe, Path: 3}, {Kind: InnerProbeReply},
	} {
		if got, err := QuotedInner(quote(in.Append(nil)), aead); err != nil || got != in {
			t.Errorf("%+v: %+v, %v", in, got, err)
		}
	}
	for _, in := range []Inner{
		{Kind: InnerKeepalive}, {Kind: InnerProbe, Class: ClassProtected}, {Kind: InnerProbe, Partial: true}, {Kind: InnerProbeReply, Path: 1},
	} {
		if got, err := QuotedInner(quote(in.Append(nil)), aead); !errors.Is(err, ErrAuth) {
			t.Errorf("%+v: %+v, %v", in, got, err)
		}
	}
	// How likely a guess is right: of all that could stand there so many of 2^32 do.
	right := 0
	for kind := range 256 {
		for class := range 256 {
			for _, flags := range []byte{0, 1, 2, 0x80} {
				if in, err := QuotedInner(quote([]byte{byte(kind), byte(class), 0, flags}), aead); err == nil && in.Path == 9 {
					right++
				}
			}
		}
	}
	if right != 17 {
		t.Errorf("%d headers for one path, want 17: 8 classes with and without a checksum, and a probe", right)
	}
}
