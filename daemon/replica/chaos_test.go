package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/mesh"
)

// acked is the newest write to a key that was acknowledged: by time, then author.
type acked struct {
	value  string
	time   time.Time
	author mesh.NodeID
}

// Running replicas that write, are cut off, closed and opened again in any order agree at last, and of every key the newest
// write that was acknowledged counts.
func TestRunningReplicasAgree(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runChaos(t, seed) })
		})
	}
}

func runChaos(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7)) // #nosec G404 -- a test's choices
	d := newDomain(t)
	var ms []*member
	for i := range 4 {
		ms = append(ms, d.member(t, fmt.Sprintf("n%d", i)))
	}
	links := map[[2]int]*connection{}
	toggle := func(x, y int, up bool) {
		at := [2]int{min(x, y), max(x, y)}
		switch c := links[at]; {
		case c == nil && up:
			links[at] = connect(ms[at[0]], ms[at[1]])
		case c != nil && !up:
			c.cut()
			delete(links, at)
		}
	}
	newest := map[string]acked{}
	for range 120 {
		x := rnd.IntN(4)
		switch rnd.IntN(10) {
		case 0, 1:
			toggle(x, (x+1+rnd.IntN(3))%4, rnd.IntN(2) == 0)
		case 2:
			for y := range 4 {
				if y != x {
					toggle(x, y, false)
				}
			}
			ms[x].close()
			ms[x].open()
		case 3:
			time.Sleep(time.Duration(rnd.IntN(5000)) * time.Millisecond)
		default:
			key, value := fmt.Sprintf("k%d", rnd.IntN(12)), fmt.Sprint(rnd.Uint32())
			w, err := ms[x].KVPut(context.Background(), []byte(key), []byte(value))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond) // no two writes share a millisecond: their counters are not told
			if old := newest[key]; !w.Time.Before(old.time) {
				newest[key] = acked{value, w.Time, ms[x].id}
			}
		}
	}
	for x := range 4 {
		toggle(x, (x+1)%4, true)
	}
	agree(t, 3*time.Minute, ms...)
	for key, want := range newest {
		for _, m := range ms {
			if got := m.get(key); got != want.value {
				t.Errorf("seed %d: %s at %s is %s, want %s of %s at %v", seed, key, m.id, got, want.value, want.author, want.time)
			}
		}
	}
	for at := range links {
		toggle(at[0], at[1], false)
	}
	for _, m := range ms {
		if ws := m.info().Warnings; len(ws) > 0 {
			t.Errorf("seed %d: %s: %q", seed, m.id, ws)
		}
		for _, name := range [...]string{"refused", "unproven", "garbage"} {
			if n := m.counter(name); n > 0 {
				t.Errorf("seed %d: %s: %s is %d", seed, m.id, name, n)
			}
		}
		m.close()
	}
}
