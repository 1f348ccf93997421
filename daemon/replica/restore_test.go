package replica

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// counts is a result without what the snapshot says of itself.
func counts(r api.RestoreResult) api.RestoreResult {
	r.Snapshot = api.SnapshotInfo{}
	return r
}

// Each entry of a snapshot that does not count is told by its reason, and again if it is restored again.
func TestRestoreTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		a.put("first", "value")
		ahead := d.member(t, "b", func(c *Config) { c.Now = func() time.Time { return time.Now().Add(90 * time.Second) } })
		defer ahead.close()
		ahead.put("from the future", "v")
		large := d.member(t, "c")
		defer large.close()
		for i := range 4 {
			large.put(fmt.Sprint(i), strings.Repeat("v", 10_000))
		}
		to := d.member(t, "t", func(c *Config) { c.MaxBytes = 120_000 })
		defer to.close()
		for _, c := range []struct {
			from        *member
			want, again api.RestoreResult
		}{
			{ahead, api.RestoreResult{Future: 1}, api.RestoreResult{Future: 1}},
			{large, api.RestoreResult{Taken: 2, Full: 2}, api.RestoreResult{Known: 2, Full: 2}},
		} {
			b, _ := c.from.snapshot()
			for _, want := range [...]api.RestoreResult{c.want, c.again} {
				if res, err := to.restored(b); err != nil || counts(res) != want {
					t.Errorf("of %s: %+v, %v, want %+v", c.from.id, res, err, want)
				}
			}
		}
		b, _ := a.snapshot()
		time.Sleep(31 * 24 * time.Hour)
		for range 2 {
			if res, err := to.restored(b); err != nil || counts(res) != (api.RestoreResult{Older: 1}) || res.LeftOut() != 1 {
				t.Errorf("an old one: %+v, %v", res, err)
			}
		}
	})
}

// A piece for which there was no time, since neighbours had others or the same checked, is tried again until there is.
func TestRestoreBesideBusyNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		hold := make(chan struct{})
		to := d.member(t, "t", func(c *Config) {
			c.Verify = func(chain [][]byte, author mesh.NodeID, oldest, newest time.Time) error {
				<-hold
				return d.verify(chain, author, oldest, newest)
			}
		})
		defer to.close()
		from := d.member(t, "f")
		defer from.close()
		from.put("one", "1")
		from.put("two", "2")
		b, _ := from.snapshot()
		s := meet(t, to, "z", true)
		s.send(wire.StateChain{Chain: from.cfg.Identity().Chain})
		from.in(func(time.Time) { // the neighbour brings one of the very pieces
			for raw := range from.state.Freeze()[0].Pieces() {
				s.send(wire.StatePiece{Raw: raw})
			}
		})
		id := d.identity(mustNode("y"), time.Hour)
		s.send(wire.StateChain{Chain: id.Chain})
		for i := range 20 {
			s.send(piece(t, id, "y", fmt.Sprint(i), "v", time.Now()))
		}
		synctest.Wait()
		got := make(chan api.RestoreResult)
		go func() {
			res, err := to.restored(b)
			if err != nil {
				t.Error(err)
			}
			got <- res
		}()
		time.Sleep(time.Minute) // longer than the answer to a check is waited for
		close(hold)
		if res := counts(<-got); res.Taken+res.Known != 2 || res.Taken == 0 {
			t.Errorf("%+v", res)
		}
		if to.get("one") != "1" || to.get("two") != "2" {
			t.Error("not all of it is there")
		}
		_ = s.end()
	})
}
