package sim

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// between runs a flow each way between two nodes of a map while relays swallow what they forward, and returns for how long
// after the begin of the fault packets are missing: in no later fifth of a second more than one is.
func between(t *testing.T, shape, from, to string, seed uint64, relays ...string) (worst time.Duration) {
	const at, lasts, window, packet = 5 * time.Second, 20 * time.Second, 200 * time.Millisecond, 10 * time.Millisecond
	arrived := [2][lasts / window]int{}
	cfg := Config{Seed: seed, Duration: at + lasts, Packet: packet,
		Between: []Pair{{mesh.MustNodeID(from), mesh.MustNodeID(to)}, {mesh.MustNodeID(to), mesh.MustNodeID(from)}}}
	cfg.hooks.note = func(kind byte, now int64, who int, _ []uint64) {
		if w := (time.Duration(now) - at) / window; kind == 'd' && time.Duration(now) >= at && int(w) < len(arrived[0]) {
			arrived[who][w]++
		}
	}
	script := ""
	for _, r := range relays {
		script += fmt.Sprintf("greydrop node:%s 1 at %v\n", r, at)
	}
	if _, err := world(t, shape, script, cfg).Run(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for i := range arrived {
		for k, n := range arrived[i] {
			if n < int(window/packet)-1 {
				worst = max(worst, time.Duration(k+1)*window)
			}
		}
	}
	return worst
}

// A grey relay on each of the disjoint paths, which answers hellos and swallows the rest: the flow takes the third way, that shares
// half with one of them and half with the other. Where there is no such way it stays cut off: nothing else helped.
func TestTwoGreyRelaysAreLeft(t *testing.T) {
	for seed := range uint64(10) {
		took := between(t, "grid:2x4", "r1c1", "r1c4", seed, "r1c2", "r2c4")
		t.Logf("seed %d: %v", seed, took)
		if took > 1200*time.Millisecond {
			t.Errorf("seed %d: packets are missing for %v", seed, took)
		}
	}
	if took := between(t, "grid:2x4", "r1c1", "r1c4", 1, "r1c2", "r2c3"); took < 20*time.Second {
		t.Errorf("healed after %v where there is no way", took)
	}
}
