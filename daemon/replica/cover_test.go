package replica

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var errNotGenuine = errors.New("no authority signed it")

// checkpointOf stands for a checkpoint that an authority signed.
func checkpointOf(batches ...[32]byte) []byte {
	b := []byte("genuine")
	for i := range batches {
		b = append(b, batches[i][:]...)
	}
	return b
}

// withEnds has a replica know when SVIDs end, and believe a's checkpoints.
func withEnds(c *Config) {
	c.Ends = func(chain [][]byte) time.Time {
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return time.Unix(0, 0)
		}
		return leaf.NotAfter
	}
	c.Checkpoint = func(author mesh.NodeID, value []byte) ([][32]byte, error) {
		rest, ok := bytes.CutPrefix(value, []byte("genuine"))
		if !ok || author != mustNode("a") || len(rest)%32 != 0 {
			return nil, errNotGenuine
		}
		batches := [][32]byte{}
		for ; len(rest) > 0; rest = rest[32:] {
			batches = append(batches, [32]byte(rest))
		}
		return batches, nil
	}
}

// daily gives a member SVIDs of a day, one after the other.
func daily(d *domain, name string) func(*Config) {
	return func(c *Config) {
		var id atomic.Pointer[Identity]
		var end time.Time
		c.Identity = func() Identity {
			if id.Load() == nil || time.Now().After(end.Add(-time.Hour)) {
				next := d.identity(mustNode(name), 24*time.Hour)
				id.Store(&next)
				end = time.Now().Add(24 * time.Hour)
			}
			return *id.Load()
		}
	}
}

// cover has a sign what it has of SVIDs that are over, and returns how much that is.
func (m *member) cover(key string) int {
	m.tb.Helper()
	c, err := m.Cover(context.Background())
	if err == nil {
		_, err = m.Put(context.Background(), []byte(CheckpointPrefix+key), checkpointOf(c.Over...))
	}
	if err != nil {
		m.tb.Fatal(err)
	}
	return len(c.Over)
}

// What is signed with an SVID that is long over comes to a new node when a checkpoint covers it, and after that also from one that is no
// authority, weeks later, when the SVID that carried the checkpoint is long over, too.
func TestNewNodeAfterWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a", withEnds, daily(d, "a")), d.member(t, "b", withEnds, notFounder)
		defer a.close()
		a.put("old", "v")
		a.put("older", "w")
		time.Sleep(10 * 24 * time.Hour)
		a.put("new", "v")
		c := connect(a, b)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		i := b.info()
		if b.get("new") != "v" || b.get("old") != "-" || i.Uncovered != 2 || !i.Settled || b.counter("uncovered") != 2 {
			t.Errorf("before: %q, %+v", b.get("old"), i)
		}
		if n := a.cover("0/a"); n != 2 {
			t.Errorf("%d batches are to be covered", n)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if i := b.info(); b.get("old") != "v" || b.get("older") != "w" || i.Uncovered != 0 || i.Digest != a.info().Digest {
			t.Errorf("covered: %q, %+v", b.get("old"), i)
		}
		if n := a.cover("0/a"); n != 2 {
			t.Errorf("%d batches are to be covered now", n)
		}
		c.cut()

		time.Sleep(20 * 24 * time.Hour)
		x := d.member(t, "x", withEnds, notFounder)
		defer x.close()
		b.close()
		b.open()
		defer b.close()
		if !b.covered(idOf(t, a, "old")) {
			t.Error("opened again, it knows of no checkpoint")
		}
		c = connect(b, x)
		defer c.cut()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if x.get("old") != "v" || x.info().Uncovered != 1 { // "new" is covered by nothing yet
			t.Errorf("%q, %+v", x.get("old"), x.info())
		}
		again := connect(a, x)
		defer again.cut()
		if n := a.cover("1/a"); n != 3 {
			t.Errorf("%d batches are to be covered", n)
		}
		agree(t, 20*time.Second, a, b, x)
		if x.info().Uncovered != 0 || x.get("new") != "v" {
			t.Errorf("%+v", x.info())
		}
	})
}

// Who is no authority covers nothing, whatever it writes where checkpoints are.
func TestFakeCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a", withEnds, daily(d, "a")), d.member(t, "b", withEnds, notFounder)
		liar := d.member(t, "z")
		defer a.close()
		defer b.close()
		defer liar.close()
		a.put("old", "v")
		time.Sleep(10 * 24 * time.Hour)
		over, err := a.Cover(t.Context())
		if err != nil || len(over.Over) != 1 {
			t.Fatalf("%+v, %v", over, err)
		}
		for i, value := range [][]byte{checkpointOf(over.Over...), []byte("garbage"), nil} {
			if _, err := liar.Put(t.Context(), fmt.Appendf(nil, "%s%d/z", CheckpointPrefix, i), value); err != nil {
				t.Fatal(err)
			}
		}
		one, two := connect(a, b), connect(liar, b)
		defer one.cut()
		defer two.cut()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if b.get("old") != "-" || b.info().Uncovered != 1 || b.counter("checkpoints_refused") != 3 {
			t.Errorf("%q, %+v, %d refused", b.get("old"), b.info(), b.counter("checkpoints_refused"))
		}
	})
}

// A checkpoint that counts for nothing yet does when the domain says so, and one that no longer counts covers nothing more.
func TestRelearn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		var known atomic.Bool
		a := d.member(t, "a", withEnds, daily(d, "a"))
		b := d.member(t, "b", withEnds, notFounder, func(c *Config) {
			genuine := c.Checkpoint
			c.Checkpoint = func(author mesh.NodeID, value []byte) ([][32]byte, error) {
				if !known.Load() {
					return nil, errNotGenuine
				}
				return genuine(author, value)
			}
		})
		defer a.close()
		defer b.close()
		a.put("old", "v")
		time.Sleep(10 * 24 * time.Hour)
		a.cover("0/a")
		c := connect(a, b)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if b.get("old") != "-" {
			t.Error("a checkpoint of an authority that is not known counts")
		}
		known.Store(true)
		if err := b.Relearn(t.Context()); err != nil {
			t.Fatal(err)
		}
		agree(t, 2*time.Minute, a, b) // a, which begins comparisons, knows of nothing new
		c.cut()

		known.Store(false)
		if err := b.Relearn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, err := b.Cover(t.Context()); err != nil || len(c.Own) != 0 || b.covered(idOf(t, a, "old")) {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// idOf returns the ID of the batch of a key's register.
func idOf(t *testing.T, m *member, key string) (id [32]byte) {
	t.Helper()
	for _, b := range m.state.Batches(func([32]byte) bool { return true }, func(k []byte) bool { return string(k) != key }) {
		id = b
	}
	return id
}

// What an authority's operator restores is taken, and can be covered then; anywhere else it is not.
func TestRestoreUncovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		island := d.member(t, "i", withEnds, daily(d, "i"))
		defer island.close()
		island.put("k", "of the island")
		var file bytes.Buffer
		if _, err := island.Snapshot(t.Context(), &file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * 24 * time.Hour)
		for _, admits := range []bool{false, true} {
			m := d.member(t, "a", withEnds, func(c *Config) { c.Admits = admits })
			c := connect(island, m) // it is refused before
			time.Sleep(10 * time.Second)
			synctest.Wait()
			res, err := m.Restore(t.Context(), bytes.NewReader(file.Bytes()))
			want := api.RestoreResult{Uncovered: 1, Snapshot: res.Snapshot}
			if admits {
				want = api.RestoreResult{Taken: 1, Snapshot: res.Snapshot}
			}
			if err != nil || res != want || (m.get("k") != "-") != admits {
				t.Errorf("admits %v: %+v, %v, reads %q", admits, res, err, m.get("k"))
			}
			if over, err := m.Cover(t.Context()); err != nil || (len(over.Over) == 1) != admits {
				t.Errorf("admits %v: %+v, %v", admits, over, err)
			}
			c.cut()
			m.close()
		}
	})
}

// A snapshot that holds checkpoints can be restored anywhere, however old it is.
func TestRestoreCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a", withEnds, daily(d, "a")), d.member(t, "b", withEnds)
		defer a.close()
		defer b.close()
		for i := range 5 {
			a.put(fmt.Sprint(i), "v")
		}
		time.Sleep(2 * 24 * time.Hour)
		a.cover("0/a")
		var file bytes.Buffer
		if _, err := a.Snapshot(t.Context(), &file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * 24 * time.Hour)
		res, err := b.Restore(t.Context(), bytes.NewReader(file.Bytes()))
		if err != nil || res.Taken != 6 || res.LeftOut()+res.Refused != 0 || b.info().Digest != a.info().Digest {
			t.Errorf("%+v, %v", res, err)
		}
		if res, err = b.Restore(t.Context(), bytes.NewReader(file.Bytes())); err != nil || res.Taken != 0 || res.Known != 6 {
			t.Errorf("again: %+v, %v", res, err)
		}
	})
}

// A checkpoint is signed alone, so that it proves itself, whatever is written at the same time.
func TestCheckpointSignedAlone(t *testing.T) {
	w := writes{}
	for i := range 7 {
		w.waiting = append(w.waiting, &request{op: crdt.Put(fmt.Append(nil, i), nil), alone: i == 2 || i == 3})
	}
	var sizes []int
	for len(w.waiting) > 0 {
		n := len(w.together())
		w.next(n)
		sizes = append(sizes, n)
	}
	if !slices.Equal(sizes, []int{2, 1, 1, 3}) {
		t.Errorf("signed together: %v", sizes)
	}
	if !isCheckpoint([]byte(CheckpointPrefix+"0/a")) || isCheckpoint([]byte("x0t/authority-log/a")) {
		t.Error("checkpoints are not told from others")
	}
}

// Certificates that a relay puts behind a chain do not hide that the SVID ended with its authority.
func TestJunkHidesNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a", withEnds, func(c *Config) {
			c.Ends = func(chain [][]byte) time.Time {
				if len(chain) > 1 { // whoever looks for the issuer at the end of the chain does not find it
					return time.Time{}
				}
				return time.Now().Add(-crdt.Grace - time.Hour)
			}
		})
		defer a.close()
		id := d.identity(mustNode("z"), time.Hour)
		relay := meet(t, a, "y", true)
		relay.send(wire.StateChain{Chain: [][]byte{id.Chain[0], d.ca.Raw}}, piece(t, id, "z", "k", "v", time.Now()))
		synctest.Wait()
		if a.get("k") != "-" || a.counter("uncovered") != 1 {
			t.Errorf("reads %q, %d uncovered", a.get("k"), a.counter("uncovered"))
		}
		_ = relay.end()
	})
}
