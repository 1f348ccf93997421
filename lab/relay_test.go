package lab

import (
	"container/heap"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Sixty links at once, all with traffic, stay precise and cost little.
func TestManyLinks(t *testing.T) {
	if testing.Short() {
		t.Skip("60 namespaces take seconds to come and go")
	}
	m := Map{Name: "ring of 60"}
	for i := range 60 {
		m.Nodes = append(m.Nodes, mesh.MustNodeID("n"+string(rune('a'+i/26))+string(rune('a'+i%26))))
	}
	for i := range 60 {
		m.Links = append(m.Links, MapLink{A: m.Nodes[i], B: m.Nodes[(i+1)%60]})
	}
	l := network(t, m, DefaultDelay)
	for i := range l.wires { // neighbour discovery first
		p, a, b := underlayProber(t, l, i)
		if _, err := reached(p, a, b, 5*time.Second); err != nil {
			t.Fatalf("link %d: %v", i, err)
		}
		p.Close()
	}
	began, err := l.relays[0].usage()
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for i := range l.wires {
		p, a, b := underlayProber(t, l, i)
		for range 10 {
			d, err := reached(p, a, b, 5*time.Second)
			if err != nil {
				t.Fatalf("link %d: %v", i, err)
			}
			took = append(took, d)
		}
		p.Close()
	}
	used, err := l.relays[0].usage()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("600 frames over 60 links: p50 %s p99 %s; relay used %s, %d KiB", percentile(took, 50), percentile(took, 99), used.CPU-began.CPU, used.RSS>>10)
	if p50 := percentile(took, 50); p50 < DefaultDelay || p50 > DefaultDelay+2*time.Millisecond {
		t.Errorf("median %s, want 5 ms", p50)
	}
}

func TestRelayKeepsOrder(t *testing.T) {
	var h heldHeap
	for i, due := range []int64{5, 3, 5, 1, 3} {
		heap.Push(&h, held{due: due, seq: uint64(i)})
	}
	var got []uint64
	for len(h) > 0 {
		got = append(got, heap.Pop(&h).(held).seq)
	}
	for i, want := range []uint64{3, 1, 4, 0, 2} {
		if got[i] != want {
			t.Fatalf("order %v", got)
		}
	}
}

// A lab must notice that its relay is gone instead of judging the mesh by it.
func TestLostRelayIsNoticed(t *testing.T) {
	l := network(t, mapOf("a-b"), time.Millisecond)
	if err := l.lost(nil); err != nil {
		t.Fatal(err)
	}
	if err := l.relays[0].signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-l.relays[0].done
	if err := l.lost(nil); err == nil {
		t.Error("not noticed")
	}
}
