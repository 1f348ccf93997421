package dataplane

import (
	"bytes"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A hello that waited counts from when it came, and does not make its link look silent for what came after it; it is taken
// once.
func TestHelloThatWaited(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	var at []time.Time
	b.plane.cb.Hello = func(_ mesh.Label, _ wire.Hello, t time.Time) { at = append(at, t) }
	var frames [][]byte
	n.tap = func(_, _ *testNode, f []byte) int { frames = append(frames, bytes.Clone(f)); return 0 }
	for seq := range uint32(2) {
		a.plane.SendHello(1, wire.Hello{Seq: seq + 1}, 0)
	}
	came := n.now.Add(10 * time.Millisecond)
	n.now = n.now.Add(50 * time.Millisecond)
	b.plane.handleFrame(a.under, bytes.Clone(frames[1]))
	for range 2 {
		b.plane.HandleWaiting(a.under, bytes.Clone(frames[0]), came)
	}
	if len(at) != 2 || !at[0].Equal(n.now) || !at[1].Equal(came) {
		t.Errorf("hellos came at %v, want %v and %v", at, n.now, came)
	}
	if h := b.plane.LastHeard(2); !h.Equal(n.now) {
		t.Errorf("last heard %v, %v after the newest frame", h, h.Sub(n.now))
	}
	b.wantCount("link_replay", 1)
}
