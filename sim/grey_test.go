package sim

import (
	"fmt"
	"testing"
	"time"
)

// healing runs two flows across a ring whose relay between them is struck, and returns how long after the begin of the
// fault all packets arrive for good: in no later fifth of a second more than one is missing.
func healing(t *testing.T, seed uint64, fault string) (worst time.Duration) {
	const at, lasts, window = 5 * time.Second, 15 * time.Second, 200 * time.Millisecond
	const packet = 10 * time.Millisecond
	arrived := [2][(lasts) / window]int{}
	cfg := Config{Seed: seed, Duration: at + lasts, Packet: packet, Traffic: 1}
	cfg.hooks.note = func(kind byte, now int64, who int, what []uint64) {
		if w := (time.Duration(now) - at) / window; kind == 'd' && time.Duration(now) >= at && int(w) < len(arrived[0]) {
			arrived[who][w]++
		}
	}
	w := world(t, "ring:5", fmt.Sprintf("%s at %v", fault, at), cfg)
	w.flows = w.flows[:0]
	w.addFlow(w.nodes[0], w.nodes[2])
	w.addFlow(w.nodes[2], w.nodes[0])
	if _, err := w.Run(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for i := range arrived {
		for k := len(arrived[i]) - 1; k >= 0; k-- {
			if arrived[i][k] < int(window/packet)-1 {
				worst = max(worst, time.Duration(k+1)*window)
				break
			}
		}
	}
	return worst
}

// A relay that answers hellos and loses what it forwards is left, the sooner the more it loses.
func TestGreyRelayIsLeft(t *testing.T) {
	for _, c := range []struct {
		p    float64
		most time.Duration
	}{{1, 400 * time.Millisecond}, {0.5, time.Second}, {0.3, 1200 * time.Millisecond}, {0.15, 4 * time.Second}, {0.1, 6 * time.Second}} {
		t.Run(fmt.Sprint(c.p), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(10) {
				took := healing(t, seed, fmt.Sprintf("greydrop path:n1-n3 %v", c.p))
				t.Logf("seed %d: %v", seed, took)
				if took > c.most {
					t.Errorf("seed %d: packets are lost for %v, want %v", seed, took, c.most)
				}
			}
		})
	}
}
