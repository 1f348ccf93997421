package replica

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/wire"
)

func ahead(d time.Duration) func(*Config) {
	return func(c *Config) { c.Now = func() time.Time { return time.Now().Add(d) } }
}

// An entry from the future waits for its time, is told with the name of its author, and counts then, also if that author is gone
// and its other entries as well.
func TestFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b", ahead(10*time.Minute))
		defer a.close()
		c := connect(a, b)
		b.put("k", "v")
		time.Sleep(5 * time.Second)
		i := a.info()
		if a.get("k") != "-" || i.Held != 1 || len(i.Warnings) != 1 || !strings.Contains(i.Warnings[0], "b is dated 10m0s ahead") {
			t.Errorf("%q %+v", a.get("k"), i)
		}
		c.cut()
		b.close()
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if a.get("k") != "v" || a.info().Held != 0 || !strings.Contains(a.info().Warnings[0], "10m0s") || a.counter("chains") != 1 {
			t.Errorf("%q %+v", a.get("k"), a.info())
		}
		a.close()
		a.open()
		if i := a.info(); i.Entries != 1 || len(i.Warnings) > 0 {
			t.Errorf("opened again: %+v", i)
		}
		time.Sleep(2 * time.Hour)
		if ws := a.info().Warnings; len(ws) > 0 {
			t.Errorf("%q", ws)
		}
	})
}

// A node whose own clock went back does not write, says so, and writes again when it is right.
func TestOwnClockWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		var off atomic.Int64
		a := d.member(t, "a", func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) } })
		defer a.close()
		a.put("k", "v")
		synctest.Wait()
		off.Store(int64(-10 * time.Minute))
		if _, err := a.KVPut(t.Context(), []byte("k"), nil); !errors.Is(err, crdt.ErrClock) || code(err) != api.CodeUnavailable {
			t.Error(err)
		}
		if ws := a.info().Warnings; len(ws) != 1 || !strings.Contains(ws[0], "clock") {
			t.Errorf("%q", ws)
		}
		off.Store(0)
		a.put("k", "w")
		if ws := a.info().Warnings; len(ws) != 0 {
			t.Errorf("%q", ws)
		}
	})
}

// A node whose clock is far ahead when it starts keeps its deletions while its neighbour's clock says otherwise, writes nothing, and
// writes again when its clock is right.
func TestClockAheadAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		var off atomic.Int64
		a := d.member(t, "a", func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) } })
		b := d.member(t, "b", notFounder)
		defer a.close()
		defer b.close()
		c := connect(a, b)
		defer func() { c.cut() }()
		a.put("k", "v")
		if _, err := a.KVDelete(t.Context(), []byte("k")); err != nil {
			t.Fatal(err)
		}
		agree(t, 10*time.Second, a, b)
		c.cut()
		second := d.identity(a.id, 10_000*time.Hour)
		a.close()
		a.cfg.Identity = func() Identity { return second }
		a.open()
		if _, err := a.KVDelete(t.Context(), []byte("k")); err != nil {
			t.Fatal(err)
		}
		a.close()
		off.Store(int64(2 * crdt.Life))
		a.open()
		c = connect(a, b)
		time.Sleep(3 * time.Hour)
		if n := a.info().Entries; n != 1 {
			t.Errorf("%d entries while the clock is wrong", n)
		}
		chains := 0
		if err := a.do(t.Context(), func(time.Time) { chains = len(a.chains.kept) }); err != nil || chains != 1 {
			t.Errorf("%d chains are kept, of which one is needed: %v", chains, err)
		}
		if w := fmt.Sprint(a.info().Warnings); !strings.Contains(w, "forgets no deletions") {
			t.Errorf("warnings: %s", w)
		}
		if _, err := a.KVPut(t.Context(), []byte("l"), nil); !errors.Is(err, crdt.ErrClock) || code(err) != api.CodeUnavailable {
			t.Error(err)
		}
		off.Store(0)
		time.Sleep(10 * time.Second)
		a.put("l", "v")
		agree(t, 10*time.Second, a, b)
	})
}

// Chains are kept as long as an entry needs them, and no longer; a neighbour that has forgotten one gets it again.
func TestChainsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		c := connect(a, b)
		defer func() { c.cut() }()
		a.put("k", "of a")
		a.put("l", "of a")
		second := d.identity(a.id, 1000*time.Hour)
		a.close()
		a.cfg.Identity = func() Identity { return second }
		a.open()
		c.cut()
		c = connect(a, b)
		a.put("k", "with the second")
		agree(t, 10*time.Second, a, b)
		time.Sleep(2 * time.Hour)
		if n, m := a.counter("chains"), b.counter("chains"); n != 2 || m != 2 {
			t.Errorf("%d and %d chains", n, m)
		}
		b.put("k", "of b")
		b.put("l", "of b")
		agree(t, 10*time.Second, a, b)
		time.Sleep(2 * time.Hour)
		if n, m := a.counter("chains"), b.counter("chains"); n != 1 || m != 1 {
			t.Errorf("%d and %d chains", n, m)
		}
		a.put("k", "again") // in the session in which the chain was sent and is forgotten
		agree(t, time.Second, a, b)
		if n := b.counter("chains"); n != 2 {
			t.Errorf("%d chains", n)
		}
	})
}

// The domain is asked about a chain once a minute, not for every batch.
func TestVouchesRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		id := d.identity(mustNode("z"), time.Hour)
		a := d.member(t, "a")
		defer a.close()
		s := meet(t, a, "z", true)
		s.send(wire.StateChain{Chain: id.Chain})
		for i := range 100 {
			s.send(piece(t, id, "z", fmt.Sprintf("k/%d", i), "v", time.Now()))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := a.info().Entries; n != 100 || d.asks != 1 {
			t.Errorf("%d entries, asked %d times", n, d.asks)
		}
		d.setDistrust(true)
		time.Sleep(proofHolds)
		s.send(piece(t, id, "z", "later", "v", time.Now()))
		synctest.Wait()
		if a.get("later") != "-" || a.counter("unproven") != 1 {
			t.Errorf("%q", a.get("later"))
		}
		_ = s.end()
	})
}
