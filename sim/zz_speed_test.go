package sim

import (
	"os"
	"testing"
	"time"

	"x0tta6bl4/mesh/topology"
)

func TestZZSpeed(t *testing.T) {
	spec := os.Getenv("SPEC")
	if spec == "" {
		t.Skip()
	}
	m, err := topology.Builtin(spec)
	if err != nil {
		t.Fatal(err)
	}
	m = m.Largest()
	d, _ := time.ParseDuration(os.Getenv("DUR"))
	w, err := New(Config{Map: m, Seed: 1, Duration: d})
	if err != nil {
		t.Fatal(err)
	}
	t0 := time.Now()
	r, err := w.Run()
	el := time.Since(t0)
	if err != nil {
		t.Fatal(err)
	}
	c := -1.0
	if r.Converged != nil {
		c = *r.Converged
	}
	t.Logf("%s nodes %d links %d: converged %.0f, %d events in %v = %.0f/s, ratio %.1f, lost %d of %d, control %.0f B/s/node verified %d", spec, r.Nodes, r.Links, c, r.Events, el, float64(r.Events)/el.Seconds(), d.Seconds()/el.Seconds(), r.Lost, r.Sent, r.ControlRate, r.Verified)
}
