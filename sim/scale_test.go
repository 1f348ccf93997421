package sim

import (
	"errors"
	"testing"
	"time"

	"x0tta6bl4/mesh/topology"
)

// What a member holds grows with the mesh as announcements do: in proportion.
func TestMeasureMember(t *testing.T) {
	now := time.Unix(0, 0)
	clock := func() time.Time { now = now.Add(time.Millisecond); return now }
	small, err1 := MeasureMember(100, 1, clock)
	large, err2 := MeasureMember(1000, 1, clock)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, r := range []float64{float64(large.Memory) / float64(small.Memory), float64(large.Wire) / float64(small.Wire), large.Renewals / small.Renewals} {
		if r < 7 || r > 15 {
			t.Errorf("ten times as many members take %.1f times as much: %+v, %+v", r, small, large)
		}
	}
	if large.TakeIn != 1 || large.Memory < large.Wire {
		t.Errorf("%+v", large)
	}
	for _, n := range []int{0, maxPathNodes + 1} {
		if _, err := MeasureMember(n, 1, clock); !errors.Is(err, ErrPaths) {
			t.Errorf("%d nodes: %v", n, err)
		}
	}
}

func TestMeasureMesh(t *testing.T) {
	m, err := topology.Builtin("ring:8")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	cfg := Config{Map: m, Seed: 1, Duration: 20 * time.Second, Packet: 100 * time.Millisecond,
		Churn: Churn{Links: 1, Least: time.Second, Most: 2 * time.Second, From: 10 * time.Second}}
	got, err := MeasureMesh(cfg, func() time.Time { now = now.Add(time.Second); return now })
	if err != nil {
		t.Fatal(err)
	}
	if got.Nodes != 8 || got.Links != 8 || got.Converged <= 0 || got.Rest <= 0 || got.Churn <= got.Rest || got.Memory == 0 || got.Speed != 10 || got.Outages.Number == 0 {
		t.Errorf("%+v", got)
	}
	cfg.Duration = 5 * time.Millisecond
	if _, err := MeasureMesh(cfg, time.Now); !errors.Is(err, ErrScale) {
		t.Errorf("a mesh that had no time to converge: %v", err)
	}
	given := errors.New("given up")
	cfg.Duration, cfg.Progress = 20*time.Second, func(at time.Duration) error {
		if at > time.Second {
			return given
		}
		return nil
	}
	if _, err := MeasureMesh(cfg, time.Now); !errors.Is(err, given) {
		t.Errorf("a run that was given up: %v", err)
	}
}
