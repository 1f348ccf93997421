package replica

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
)

// A neighbour that has much to be checked holds nobody up but itself.
func TestNeighboursTakeTurns(t *testing.T) {
	r, now := &Replica{tasks: make(chan task, 1)}, time.Unix(0, 0)
	job := func(from string, i int) task {
		return task{job: &crdt.Job{From: mesh.MustNodeID(from), SVID: sha256.Sum256(fmt.Append(nil, i)), Until: now.Add(time.Second)}}
	}
	for i := range 500 {
		r.toCheck(now, job("greedy", i))
	}
	r.toCheck(now, job("modest", 0))
	r.toCheck(now, job("modest", 1))
	var got []string
	for range 6 {
		r.handOut(now)
		got = append(got, (<-r.tasks).job.From.String())
	}
	if fmt.Sprint(got) != "[greedy modest greedy modest greedy greedy]" {
		t.Errorf("checked in the order %v", got)
	}
}

// What a neighbour has waiting is bounded by what the state has out: what that gave up does not wait on.
func TestLateIsNotChecked(t *testing.T) {
	now := time.Unix(0, 0)
	cfg := Config{Self: mesh.MustNodeID("a"), Log: slog.New(slog.DiscardHandler)}
	s := crdt.New(now, crdt.Config{Self: cfg.Self, Incarnation: 1, Founder: true})
	r := &Replica{cfg: cfg, tasks: make(chan task), sync: crdt.NewSync(s), chains: newChains()}
	for round := range 100 {
		var late error
		at := now.Add(time.Duration(round) * 20 * time.Second)
		for range 10 {
			r.toCheck(at, task{
				job:  &crdt.Job{From: mesh.MustNodeID("b"), Until: at.Add(15 * time.Second)},
				done: func(_ crdt.Outcome, err error) { late = errors.Join(late, err) },
			})
		}
		if n := len(r.checks.of[mesh.MustNodeID("b")]); n != 10 {
			t.Fatalf("%d wait", n)
		}
		if round == 99 {
			r.handOut(at.Add(time.Minute))
			if len(r.checks.turn) != 0 || !errors.Is(late, errLate) || !errors.Is(late, crdt.ErrUnproven) {
				t.Errorf("%d neighbours wait, %v", len(r.checks.turn), late)
			}
		}
	}
}

// A chain that proves nothing is looked at once, however often it is sent.
func TestBadChainLookedAtOnce(t *testing.T) {
	n, now := 0, time.Unix(1e9, 0)
	p := newProofs(&Config{
		Now: func() time.Time { return now },
		Verify: func([][]byte, mesh.NodeID, time.Time, time.Time) error {
			n++
			return errors.New("not of this domain")
		},
	})
	for range 10 {
		if _, _, err := p.key([]byte("no chain"), mesh.MustNodeID("a"), now, now); !errors.Is(err, crdt.ErrUnproven) {
			t.Fatal(err)
		}
	}
	if len(p.bad) != 1 || n > 2 {
		t.Errorf("%d are remembered, looked at %d times", len(p.bad), n)
	}
	now = now.Add(badHolds)
	if _, _, err := p.key([]byte("no chain"), mesh.MustNodeID("a"), now, now); !errors.Is(err, crdt.ErrUnproven) {
		t.Error(err)
	}
}
