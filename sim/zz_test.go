package sim

import (
	"testing"
	"time"

	"x0tta6bl4/mesh/topology"
)

func BenchmarkZZ(b *testing.B) {
	m, _ := topology.Builtin("geometric:1000")
	for b.Loop() {
		w, _ := New(Config{Map: m, Seed: 1, Duration: 3 * time.Second})
		r, err := w.Run()
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v", *r)
	}
}
