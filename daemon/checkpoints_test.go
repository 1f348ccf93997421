package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

func ids(from, to int) (all [][32]byte) {
	for i := from; i < to; i++ {
		var id [32]byte
		binary.BigEndian.PutUint32(id[:], uint32(i))
		all = append(all, id)
	}
	return all
}

// Whatever comes and goes, all that is wanted is in some checkpoint after each round, no checkpoint is too large, little is written, and
// there are not many more of them than the most that was ever wanted needs.
func TestDistribute(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	have, want := map[int][][32]byte{}, map[[32]byte]bool{}
	next, most := 0, 0
	for range 200 {
		some := 1 << rnd.IntN(10)
		for _, id := range ids(next, next+some) {
			want[id] = true
		}
		next += some
		for _, id := range slices.SortedFunc(maps.Keys(want), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
			if len(want) > 3000 && rnd.IntN(3) > 0 || rnd.IntN(50) == 0 {
				delete(want, id)
			}
		}
		most = max(most, len(want))
		known := map[[32]byte]bool{}
		for _, batches := range have {
			for _, id := range batches {
				known[id] = true
			}
		}
		missing := 0
		for id := range want {
			if !known[id] {
				missing++
			}
		}
		anew := distribute(have, slices.Collect(maps.Keys(want)))
		emptied := 0
		for n, batches := range anew {
			if len(batches) > checkpointBatches {
				t.Fatalf("%d batches in one", len(batches))
			}
			if len(batches) == 0 {
				emptied++
			}
			have[n] = batches
		}
		if w := len(anew) - emptied; w > 1+2*missing/checkpointBatches+1 {
			t.Fatalf("%d written anew for %d that are missing", w, missing)
		}
		covered := map[[32]byte]bool{}
		for _, batches := range have {
			for _, id := range batches {
				covered[id] = true
			}
		}
		for id := range want {
			if !covered[id] {
				t.Fatalf("%x is in none", id[:4])
			}
		}
		if again := distribute(have, slices.Collect(maps.Keys(want))); len(again) > 0 {
			t.Fatalf("%d are written anew for nothing", len(again))
		}
		if len(have) > 2+2*(most+checkpointBatches)/checkpointBatches+2 {
			t.Fatalf("%d checkpoints for %d batches", len(have), most)
		}
	}
}

func TestCheckpointKeys(t *testing.T) {
	self := mesh.MustNodeID("alpha")
	for _, n := range []int{0, 1, 12345} {
		if got, ok := checkpointNumber(checkpointKey(n, self)); got != n || !ok {
			t.Errorf("%d becomes %d, %v", n, got, ok)
		}
	}
	for _, key := range []string{"", "x/alpha", "-1/alpha", "01/alpha", "99999999999999999999/alpha", "4294967296/alpha"} {
		if n, ok := checkpointNumber(replica.CheckpointPrefix + key); ok {
			t.Errorf("%q is the %d-th", key, n)
		}
	}
}

// An authority signs what it has of SVIDs that are over, once; a member takes that only from it, and then also what is long over.
func TestCheckpointOfAuthority(t *testing.T) {
	ds, rs := map[string]*Daemon{}, map[string]*replica.Replica{}
	clock := &labClock{}
	for name := range previous {
		d, _, err := started(copyState(t, name))
		if err != nil {
			t.Fatal(err)
		}
		defer d.identity.Close()
		d.clock, d.identity.clock = clock, clock
		if d.identity.Authority != nil { // the fixture's SVIDs have ended
			if err := d.renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r, err := d.openReplica(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		ds[name], rs[name] = d, r
	}
	alpha, beta := ds["alpha"], ds["beta"]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := func(want int) {
		t.Helper()
		if n, err := alpha.checkpoint(ctx, rs["alpha"]); n != want || err != nil {
			t.Errorf("%d written, %v; want %d", n, err, want)
		}
	}
	if _, err := rs["alpha"].KVPut(ctx, []byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	written(0) // nothing is over
	over := func() {
		clock.offset.Add(int64(alpha.identity.Source.Current().NotAfter().Sub(clock.now()) + crdt.Grace + time.Hour))
	}
	over()
	if err := alpha.renew(ctx); err != nil {
		t.Fatal(err)
	}
	written(1)
	written(0)
	e, err := rs["alpha"].Get(ctx, []byte(checkpointKey(0, alpha.self)))
	if err != nil || e == nil {
		t.Fatalf("%v, %v", e, err)
	}
	if batches, err := beta.identity.checkpoint(alpha.self, e.Value); err != nil || len(batches) != 1 {
		t.Errorf("%x, %v", batches, err)
	}
	if _, err := beta.identity.checkpoint(beta.self, e.Value); !errors.Is(err, trust.ErrCheckpointAuthority) {
		t.Errorf("written by a member: %v", err)
	}
	if at := beta.identity.authorEnds([][]byte{[]byte("no certificate")}); !at.Equal(time.Unix(0, 0)) {
		t.Errorf("what is no chain ends at %v", at)
	}

	over() // the one that carried the checkpoint is over as well
	if err := alpha.renew(ctx); err != nil {
		t.Fatal(err)
	}
	written(0) // it proves itself
	a, b := net.Pipe()
	meet := func(r *replica.Replica, n string, s io.ReadWriteCloser) { _ = r.Meet(ctx, mesh.MustNodeID(n), s) }
	go meet(rs["alpha"], "beta", a)
	go meet(rs["beta"], "alpha", b)
	arrived := errors.New("it is there")
	limited, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if err := rs["beta"].Subscribe(limited, []byte("k"), func(api.KVChange) error { return arrived }); !errors.Is(err, arrived) {
		i, _ := rs["beta"].State(ctx)
		t.Errorf("%v, %+v", err, i)
	}
}
