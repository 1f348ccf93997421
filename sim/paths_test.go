package sim

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"x0tta6bl4/core/path"
)

// Each question is asked as often as wanted, and what is prepared for it takes no time.
func TestPathsAreMeasured(t *testing.T) {
	now, calls := epoch, 0
	clock := func() time.Time { calls++; now = now.Add(2 * time.Millisecond); return now }
	got, err := MeasurePaths(40, 3, 5, 1, clock)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Elapsed{5, 2, 2, 2}); got.Disjoint != want || got.Cold != want || got.Tree != want || got.Update != want || calls != 40 {
		t.Errorf("%+v, %d looks at the clock", got, calls)
	}
	if got.Nodes != 40 || got.Links < 100 || got.Links > 120 || got.K != 3 {
		t.Errorf("a graph of %d nodes and %d links, %d paths", got.Nodes, got.Links, got.K)
	}
	for _, bad := range [][3]int{{3, 3, 1}, {maxPathNodes + 1, 3, 1}, {40, 0, 1}, {40, path.MaxPaths + 1, 1}, {40, 3, 0}, {40, 3, maxPathRuns + 1}} {
		if _, err := MeasurePaths(bad[0], bad[1], bad[2], 1, clock); !errors.Is(err, ErrPaths) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// The graph has two ways between any two nodes, and a change is of both directions of one link.
func TestPathGraphs(t *testing.T) {
	for i := range 20 {
		m := pathMeter{rng: rand.New(rand.NewPCG(uint64(i), 0))}
		m.draw(60)
		r := path.NewGraph(m.edges).Disjoint(m.ids[3], m.ids[40], 2)
		if r.Disjoint != path.NodeDisjoint {
			t.Fatalf("paths %v", r)
		}
		others := 0
		for j, e := range m.changed() {
			if was := m.edges[j]; e.Cost != was.Cost {
				others++
				if others == 3 {
					t.Fatal("more than one link is another")
				}
			}
		}
		if others == 1 {
			t.Error("one direction of a link costs another")
		}
	}
}
