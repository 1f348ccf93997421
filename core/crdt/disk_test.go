package crdt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever byte of the disk is damaged, and whatever line is missing: it is said, what is left is right, and the neighbour repairs it.
func TestDamagedDisk(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	r := w.nodes[1]
	w.run(4 * time.Second)
	var ops []Op
	for i := range 12 {
		ops = append(ops, Put([]byte{byte(i)}, []byte("value")), Count([]byte{byte(i)}, 1))
	}
	for _, n := range w.nodes {
		if err := n.do(ops...); err != nil {
			t.Fatal(err)
		}
		if err := n.do(ops[5:9]...); err != nil { // so that some of a batch is outdone
			t.Fatal(err)
		}
	}
	w.agree(time.Minute)
	w.run(10 * time.Second)
	w.consistent()
	good := maps.Clone(r.disk)
	kinds := map[byte]int{}
	for _, k := range slices.Sorted(maps.Keys(good)) {
		kinds[k[0]]++
		for _, damage := range []func([]byte) []byte{
			func(v []byte) []byte { v[0] ^= 0x40; return v },
			func(v []byte) []byte { v[len(v)/2] ^= 1; return v },
			func(v []byte) []byte { return v[:len(v)-1] },
			func([]byte) []byte { return nil },
		} {
			r.disk = maps.Clone(good)
			if v := damage(bytes.Clone(good[k])); v != nil {
				r.disk[k] = v
			} else {
				delete(r.disk, k)
			}
			repairDisk(t, r, k)
		}
	}
	if len(kinds) != 4 {
		t.Errorf("lines of kinds %v: the test does not damage all", kinds)
	}
}

func repairDisk(t *testing.T, r *replica, k string) {
	t.Helper()
	cfg := r.cfg
	cfg.Incarnation = 4242
	s, out, errs := Restore(r.clock(), cfg, sorted(r.disk))
	signature := k[0] == 'b' && len(errs) == 0 // the check of a signature is the host's; its last byte is not covered
	if len(errs) == 0 && !signature {
		t.Fatalf("line %q: not noticed", k)
	}
	for _, err := range errs {
		if !strings.Contains(err.Error(), "batch") && !strings.Contains(err.Error(), "line") {
			t.Errorf("line %q: %v", k, err)
		}
	}
	if err := s.valid(); err != nil {
		t.Fatalf("line %q: %v", k, err)
	}
	if k == "m" && s.cfg.Incarnation != 4242 || k != "m" && s.cfg.Incarnation != r.cfg.Incarnation {
		t.Fatalf("line %q: incarnation %d", k, s.cfg.Incarnation)
	}
	r.s, r.y, r.lazy = s, NewSync(s), nil
	r.sync(out.Write)
	r.connect()
	if _, _, errs := Restore(r.clock(), cfg, sorted(r.disk)); len(errs) > 0 {
		t.Fatalf("line %q: after the repair the disk says %v", k, errs)
	}
	r.w.agree(time.Minute)
	r.w.consistent()
}

// Numbers of this incarnation are not used again, whether or not anything is left of its last batch.
func TestNumbersGoOn(t *testing.T) {
	w := newWorld(t, 1, 1, nil)
	r := w.nodes[0]
	last := uint64(0)
	for i := range 20 {
		if err := r.do(Put([]byte("k"), []byte{byte(i)}), Put([]byte("k"), []byte{byte(i + 1)})); err != nil {
			t.Fatal(err)
		}
		v, _ := r.s.Get([]byte("k"))
		if v.Dot.Seq <= last {
			t.Fatalf("%d after %d", v.Dot.Seq, last)
		}
		last = v.Dot.Seq
		r.crash()
	}
	now := w.now.Add(time.Second)
	out, err := give(r.s, now, pieceBy("b", 1, 1, put(now, "k", "of another")))
	if err != nil || len(r.s.batches) != 1 {
		t.Fatal(err)
	}
	r.sync(out.Write)
	r.crash()
	if err := r.do(Put([]byte("l"), nil)); err != nil {
		t.Fatal(err)
	}
	if v, _ := r.s.Get([]byte("l")); v.Dot.Seq <= last {
		t.Errorf("%d after %d, of which nothing is left", v.Dot.Seq, last)
	}
}

// What a newer version wrote is left alone.
func TestNewerDiskRefused(t *testing.T) {
	s := founder("a")
	m := s.meta()
	m[0]++
	sum := sha256.Sum256(m[:metaSize])
	copy(m[metaSize:], sum[:])
	if s, out, errs := Restore(epoch, s.cfg, sorted(map[string][]byte{"m": m, "z": nil})); s != nil || len(errs) != 1 || !errors.Is(errs[0], ErrNewer) || len(out.Write) > 0 {
		t.Errorf("%v, %v, %v", s, out, errs)
	}
}
