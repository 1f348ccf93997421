package crdt

import (
	"testing"
	"time"

	"x0tta6bl4/wire"
)

// FuzzHandle gives a replica with some entries whatever a neighbour may send, and pulls what it answers.
func FuzzHandle(f *testing.F) {
	c := newChaos(f, 1)
	for range 60 {
		m := c.noise()
		b, err := wire.AppendStateMessage(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[wire.MessageHeader:])
		b, _ = wire.AppendStateMessage(nil, wire.StatePiece{Raw: c.liar.piece(c.now)})
		f.Add(b[wire.MessageHeader:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.ParseStateMessage(b)
		if err != nil {
			return
		}
		w := newWorld(t, 1, 2, line(2))
		r, from := w.nodes[0], w.nodes[1].id
		r.fill("k", 100, 1)
		for range 2 {
			_, job, _ := r.y.Handle(w.now, from, m)
			if job != nil {
				r.y.Verified(w.now, job, nil)
			}
			for _, m := range r.y.Pull(w.now, from, 1<<20) {
				if _, err := wire.AppendStateMessage(nil, m); err != nil {
					t.Fatal(err)
				}
			}
			w.now = w.now.Add(time.Minute)
			r.y.Release(w.now)
		}
		if err := r.s.valid(); err != nil {
			t.Fatal(err)
		}
	})
}
