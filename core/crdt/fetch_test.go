package crdt

import (
	"slices"
	"testing"

	"x0tta6bl4/wire"
)

// What several messages of a neighbour told of is fetched in one that the neighbour can read: each life once, ascending.
func TestFetchOfSeveralMessages(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	r, from := w.nodes[0], w.nodes[1].id
	head := func(incarnation, seq uint64) []wire.Dot {
		return []wire.Dot{{Author: from, Incarnation: incarnation, Seq: seq}}
	}
	for _, m := range []wire.StateMessage{
		wire.StateHeads{Dots: head(7, 3)}, wire.StateGrown{Dots: head(5, 3)}, wire.StateGrown{Dots: head(6, 3)}, wire.StateGrown{Dots: head(7, 4)},
	} {
		if _, _, err := r.y.Handle(w.now, from, m); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(patience)
	}
	for _, m := range r.y.Pull(w.now, from, 10_000) {
		b, err := wire.AppendStateMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.ParseStateMessage(b[wire.MessageHeader:])
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if f, ok := got.(wire.StateFetch); ok {
			if want := slices.Concat(head(5, 0), head(6, 0), head(7, 0)); !slices.Equal(f.After, want) {
				t.Errorf("asks for %v, want %v", f.After, want)
			}
			return
		}
	}
	t.Error("nothing is fetched")
}
