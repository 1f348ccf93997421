package replica

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Certificates that a relay puts behind a chain are neither kept nor written nor passed on, nor those of a snapshot.
func TestJunkBehindAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		id := d.identity(mustNode("z"), time.Hour)
		svid, good := wire.ChainHash(id.Chain), wire.AppendChain(nil, id.Chain)
		junk := [][]byte{id.Chain[0], make([]byte, wire.MaxCertificate), d.ca.Raw, make([]byte, wire.MaxCertificate)}
		relay := meet(t, a, "y", true)
		relay.send(wire.StateChain{Chain: junk}, piece(t, id, "z", "k", "v", time.Now()))
		synctest.Wait()
		if a.get("k") != "v" {
			t.Fatal("its piece is not taken")
		}
		a.in(func(time.Time) {
			if !bytes.Equal(a.chains.kept[svid], good) || a.chains.bytes != len(good)+chainOverhead {
				t.Errorf("%d bytes are kept, counted %d; the chain has %d", len(a.chains.kept[svid]), a.chains.bytes, len(good))
			}
		})
		other := meet(t, a, "x", true)
		time.Sleep(time.Second)
		other.send(wire.StateAsk{SVIDs: [][32]byte{svid}})
		synctest.Wait()
		passed := 0
		for _, m := range other.got {
			if c, ok := m.(wire.StateChain); ok && wire.ChainHash(c.Chain) == svid {
				if passed++; len(c.Chain) != 1 {
					t.Errorf("%d certificates are passed on", len(c.Chain))
				}
			}
		}
		if passed == 0 {
			t.Error("no chain is passed on")
		}
		_, _ = relay.end(), other.end()

		b, _ := a.snapshot()
		c := d.member(t, "c")
		defer c.close()
		if _, err := c.restored(resum(withChain(b, good, wire.AppendChain(nil, junk)))); err != nil || c.get("k") != "v" {
			t.Fatalf("%q, %v", c.get("k"), err)
		}
		for _, m := range []*member{a, c} {
			m.close()
			s, _, err := store.Open(m.cfg.Path)
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			found := false
			for k, v := range s.All(&failed) {
				if bytes.Equal(k, chainKey(svid)) {
					found = bytes.Equal(v, good)
				}
			}
			if err := errors.Join(failed, s.Close()); err != nil || !found {
				t.Errorf("%s has another chain on disk, %v", m.id, err)
			}
		}
	})
}

// withChain puts another chain in place of one in a snapshot.
func withChain(snapshot, old, other []byte) []byte {
	part := func(body []byte) []byte {
		var b bytes.Buffer
		w := newSnapshotWriter(&b)
		w.part(partChain, body)
		_ = w.to.Flush()
		return b.Bytes()
	}
	return bytes.Replace(snapshot, part(old), part(other), 1)
}

// What is kept of chains counts against the memory that the state may take, also after a restart, and not when it is forgotten. That of
// an entry for which there is no room is not kept.
func TestChainsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a", func(c *Config) { c.MaxBytes = 35_000 })
		defer a.close()
		s := meet(t, a, "relay", true)
		const n = 40
		for i := range n {
			name := fmt.Sprintf("z%d", i%10)
			id := d.identity(mustNode(name), 1000*time.Hour)
			s.send(wire.StateChain{Chain: id.Chain}, piece(t, id, name, fmt.Sprint(i), "v", time.Now()))
			synctest.Wait()
		}
		i := a.info()
		bytes := i.Bytes
		a.in(func(time.Time) {
			if c := &a.chains; c.bytes < len(c.kept)*chainOverhead || bytes < c.bytes || bytes > 35_000+1_000 || len(c.kept) != i.Entries {
				t.Errorf("%d bytes are counted, %d of %d chains", bytes, c.bytes, len(c.kept))
			}
		})
		if a.counter("full") == 0 || i.Entries == n || i.Entries < n/2 {
			t.Errorf("%d entries, %d refused", i.Entries, a.counter("full"))
		}
		_ = s.end()
		a.close()
		a.open()
		if again := a.info().Bytes; again != bytes {
			t.Errorf("opened again: %d bytes, before %d", again, bytes)
		}
		a.in(func(time.Time) {
			if a.chains.forget(nil); a.chains.bytes != 0 {
				t.Errorf("%d bytes of nothing", a.chains.bytes)
			}
		})
	})
}

// A list of hashes keeps each once, in order, and no more than it is let.
func TestHashes(t *testing.T) {
	var l hashes
	h := func(i int) [32]byte { return [32]byte{byte(i)} }
	for _, i := range []int{3, 1, 3, 2, 1, 4, 5} {
		l.add(h(i), 4)
	}
	if got := l.take(2); fmt.Sprint(got) != fmt.Sprint([][32]byte{h(3), h(1)}) {
		t.Errorf("%v", got)
	}
	l.add(h(3), 4)
	l.add(h(2), 4)
	if got := l.take(9); fmt.Sprint(got) != fmt.Sprint([][32]byte{h(2), h(4), h(3)}) || len(l.list) != 0 || len(l.in) != 0 {
		t.Errorf("%v", got)
	}
}

// What waits for chains is found in time and counted for whom it waits, whatever comes when: against a plain look at all of it.
func TestWaits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- a test's choices
	s := crdt.New(time.Unix(0, 0), crdt.Config{Self: mustNode("a"), Incarnation: 1, Founder: true})
	cfg := Config{Self: mustNode("a"), Log: slog.New(slog.DiscardHandler)}
	r := &Replica{cfg: cfg, sync: crdt.NewSync(s), state: s, chains: newChains(), told: newNotes(cfg.Log), tasks: make(chan task)}
	now := time.Unix(0, 0)
	c := &r.chains
	for range 20_000 {
		now = now.Add(time.Duration(rnd.IntN(50)) * time.Millisecond)
		svid, from := [32]byte{byte(rnd.IntN(40))}, mustNode(fmt.Sprint("n", rnd.IntN(3)))
		if rnd.IntN(3) == 0 {
			if w := c.waits[svid]; w != nil {
				c.release(w, func(j *crdt.Job) bool { return j.From == from })
			}
		} else {
			c.await(now, &crdt.Job{From: from, SVID: svid})
		}
		r.expire(now)
		var due time.Time
		waits := map[mesh.NodeID]int{}
		for _, w := range c.waits {
			at := w.since.Add(askOthers)
			if w.broad {
				at = w.since.Add(giveUpChain)
			}
			if !at.After(now) || len(w.jobs) == 0 {
				t.Fatalf("a wait with %d jobs is due %v ago", len(w.jobs), now.Sub(at))
			}
			if due.IsZero() || at.Before(due) {
				due = at
			}
			for _, j := range w.jobs {
				waits[j.From]++
			}
		}
		if got := c.due(); !got.Equal(due) || !maps.Equal(waits, c.from) {
			t.Fatalf("due %v, want %v; %v wait, want %v", got, due, c.from, waits)
		}
	}
}

// Messages of a type that this version does not know cost the loop nothing, and who sends nothing else is read slowly.
func TestUnknownMessagesAreReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		id := d.identity(mustNode("z"), time.Hour)
		s := meet(t, a, "z", true)
		const n = 1000
		for range n {
			s.raw([]byte{0, 0, 0, 1, 99})
		}
		s.send(wire.StateChain{Chain: id.Chain}, piece(t, id, "z", "k", "v", time.Now()))
		time.Sleep(time.Second)
		synctest.Wait()
		if got := a.counter("unknown_messages"); got < 10*unknownRow || got > 11*unknownRow {
			t.Errorf("%d messages are read in a second", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if a.counter("unknown_messages") != n || a.get("k") != "v" {
			t.Errorf("%d messages; what comes after them reads %q", a.counter("unknown_messages"), a.get("k"))
		}
		_ = s.end()
	})
}
