package replica

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"x0tta6bl4/mesh"
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
