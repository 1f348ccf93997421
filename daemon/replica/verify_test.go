package replica

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// emptySnapshot is a snapshot of a state without entries, which says that it has so many.
func emptySnapshot(tb testing.TB, entries uint64) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := newSnapshotWriter(&b)
	h := head{domain: "example.mesh", node: mesh.MustNodeID("alpha"), time: time.UnixMilli(1_772_366_400_000), entries: entries, digest: [32]byte{1}}
	w.write(h.append(nil))
	if err := w.end(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// hashed ends a snapshot of the test's own making as one ends.
func hashed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// A snapshot verifies only as it was written: not cut off anywhere, with no bit changed, with nothing behind it.
func TestVerify(t *testing.T) {
	sound := emptySnapshot(t, 0)
	info, err := Verify(bytes.NewReader(sound))
	if err != nil || info.Domain != "example.mesh" || info.Node != mesh.MustNodeID("alpha") || info.Entries != 0 || info.Time.UnixMilli() != 1_772_366_400_000 {
		t.Fatalf("%+v, %v", info, err)
	}
	for n := range sound {
		want := ErrSnapshotTorn
		if n < len(snapshotMagic)+1 {
			want = ErrNotSnapshot
		}
		if _, err := Verify(bytes.NewReader(sound[:n])); !errors.Is(err, want) {
			t.Errorf("cut off after %d of %d bytes: %v", n, len(sound), err)
		}
	}
	for bit := range len(sound) * 8 {
		changed := bytes.Clone(sound)
		changed[bit/8] ^= 1 << (bit % 8)
		if info, err := Verify(bytes.NewReader(changed)); err == nil {
			t.Errorf("with bit %d changed it is %+v", bit, info)
		}
	}
	body := sound[:len(sound)-sha256.Size-5]
	for name, tc := range map[string]struct {
		bytes []byte
		want  error
	}{
		"something behind":     {append(bytes.Clone(sound), 0), ErrSnapshotChanged},
		"entries missing":      {emptySnapshot(t, 1), ErrSnapshotChanged},
		"a part of no type":    {hashed(append(bytes.Clone(body), 9, 0, 0, 0, 0)), ErrSnapshotChanged},
		"a part without limit": {hashed(append(bytes.Clone(body), partPiece, 0xff, 0xff, 0xff, 0xff)), ErrSnapshotChanged},
		"a piece that is none": {hashed(append(bytes.Clone(body), partPiece, 0, 0, 0, 1, 7)), ErrSnapshotChanged},
		"a chain that is none": {hashed(append(bytes.Clone(body), partChain, 0, 0, 0, 1, 7)), ErrSnapshotChanged},
		"another file":         {[]byte("#!/bin/sh\necho hello\n"), ErrNotSnapshot},
		"a newer version":      {append([]byte(snapshotMagic), snapshotVersion+1), ErrSnapshotNewer},
	} {
		if _, err := Verify(bytes.NewReader(tc.bytes)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// craft makes a snapshot of chains, each followed by so many pieces that name it.
func craft(tb testing.TB, chains, pieces int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := newSnapshotWriter(&b)
	h := head{domain: "example.mesh", node: mesh.MustNodeID("alpha"), time: time.UnixMilli(1_772_366_400_000), entries: uint64(chains * pieces)}
	w.write(h.append(nil))
	e := wire.Entry{Kind: wire.EntryRegister, Time: mesh.HybridAt(h.time), Key: []byte("k")}
	for i := range chains {
		chain := [][]byte{fmt.Appendf(nil, "leaf %d", i)}
		w.part(partChain, wire.AppendChain(nil, chain))
		for k := range pieces {
			p := &wire.Piece{Batch: wire.Batch{Author: h.node, Incarnation: uint64(i), First: 1 + uint64(k), Count: 1, SVID: wire.ChainHash(chain)}, Sig: make([]byte, 64)}
			p.Leaves = []wire.Leaf{{Raw: e.Append(nil), Entry: e}}
			w.part(partPiece, p.AppendPiece(nil))
		}
	}
	if err := w.end(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// A snapshot whose certificates would take more memory than those of any state is refused while it is read.
func TestSnapshotOfChains(t *testing.T) {
	if info, err := Verify(bytes.NewReader(craft(t, 3, 2))); err != nil || info.Entries != 6 {
		t.Errorf("a sound one: %+v, %v", info, err)
	}
	if _, err := Verify(bytes.NewReader(craft(t, maxChains, 1))); err != nil {
		t.Errorf("as many chains as may be: %v", err)
	}
	if _, err := Verify(bytes.NewReader(craft(t, maxChains+1, 1))); !errors.Is(err, ErrSnapshotLarge) {
		t.Errorf("one chain more: %v", err)
	}
	if _, err := Verify(bytes.NewReader(craft(t, 2, 0))); !errors.Is(err, ErrSnapshotChanged) {
		t.Errorf("chains for nothing: %v", err)
	}
	if _, err := Verify(bytes.NewReader(craft(t, 1, 0))); !errors.Is(err, ErrSnapshotChanged) {
		t.Errorf("the last chain for nothing: %v", err)
	}
	if n := readUpTo(t, craft(t, 100_000, 0)); n > 1<<20 {
		t.Errorf("%d bytes were read of one that is nothing but chains", n)
	}
}

// readUpTo returns how much of a snapshot is read before it is refused.
func readUpTo(t *testing.T, b []byte) int {
	t.Helper()
	from := bytes.NewReader(b)
	if _, err := Verify(from); err == nil {
		t.Error("it is not refused")
	}
	return len(b) - from.Len()
}

func FuzzVerify(f *testing.F) {
	f.Add(emptySnapshot(f, 0))
	f.Add(emptySnapshot(f, 0)[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		// The hash behind it is made right, so that what is below it is reached.
		for _, b := range [][]byte{b, hashed(bytes.Clone(b))} {
			if info, err := Verify(bytes.NewReader(b)); err == nil && (info.Node.IsZero() || info.Domain == "" || info.Entries < 0) {
				t.Errorf("%x is a snapshot: %+v", b, info)
			}
		}
	})
}
