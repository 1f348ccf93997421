package wire

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"x0tta6bl4/mesh"
)

// The 64 vectors that the authors of SipHash publish: key 00..0f, message of n bytes 00, 01, ….
func TestSipHashVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/siphash24.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	if len(lines) != 64 {
		t.Fatalf("%d vectors", len(lines))
	}
	for n, want := range lines {
		msg := seq(0, n)
		for _, split := range []int{0, 8, 16, 24, n} {
			if split > n {
				continue
			}
			var got [8]byte
			binary.LittleEndian.PutUint64(got[:], sipHash(&testKey, msg[:split], msg[split:]))
			if hex.EncodeToString(got[:]) != want {
				t.Errorf("%d bytes, %d of them in front: %x, want %s", n, split, got, want)
			}
		}
	}
}

func TestNewMACKeyLength(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a key of 15 bytes was taken")
		}
	}()
	NewMACKey(make([]byte, 15))
}

// Every bit of what the MAC covers counts, and no bit of what it leaves out.
func TestMACCoverage(t *testing.T) {
	for typ := TypeData; typ < typeCount; typ++ {
		b := AppendFrame(nil, typ, 0, []mesh.Label{1, 2}, seq(0, 60))
		const counter = 0x500000009
		Seal(b, &testKey, 77, counter)
		if !Check(b, &testKey, counter) {
			t.Fatalf("%v: own seal refused", typ)
		}
		covered := len(b)
		if typ == TypeData || typ == TypeHandshake {
			covered = HeaderLen + 4 + macPrefix
		}
		for i := range b {
			for bit := range 8 {
				b[i] ^= 1 << bit
				// A change of the type or of n moves the end of what is covered; it is still a change.
				if ok := Check(b, &testKey, counter); ok != (i >= covered) {
					t.Errorf("%v: bit %d of byte %d flipped: accepted %v", typ, bit, i, ok)
				}
				b[i] ^= 1 << bit
			}
		}
		other := NewMACKey(seq(1, 16))
		for name, ok := range map[string]bool{
			"another high counter half": Check(b, &testKey, counter+1<<32),
			"another key":               Check(b, &other, counter),
			"a shorter frame":           Check(b[:len(b)-1], &testKey, counter),
			"a longer frame":            Check(append(b[:len(b):len(b)], 0), &testKey, counter),
			"half a header":             Check(b[:HeaderLen-1], &testKey, counter),
		} {
			if ok {
				t.Errorf("%v: accepted %s", typ, name)
			}
		}
	}
}

func TestSealShort(t *testing.T) {
	b := make([]byte, HeaderLen-1)
	Seal(b, &testKey, 1, 1)
	for _, c := range b {
		if c != 0 {
			t.Fatal("wrote into something that is no frame")
		}
	}
}
