package node

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// What the neighbour was told of a link counts here too: the smaller of what both ends announce, of that session's link alone.
func TestCapacityOfTheFarEnd(t *testing.T) {
	r, conn := neighbourhood(t, Config{InterfaceCapacity: map[string]mesh.BitsPerSecond{"eth1": 50e6, "thin": 2e5}})
	l := r.links[0]
	says := func(c mesh.BitsPerSecond) []mesh.Adjacency {
		mine, other, foreign := adjacency(self, 7, l.label), adjacency(self, 6, l.label+1), adjacency(zeta, 8, 9)
		mine.Capacity, other.Capacity, foreign.Capacity = c, 1e3, 1e3
		return []mesh.Adjacency{other, mine, foreign}
	}
	for i, c := range []struct {
		iface     string
		far, want mesh.BitsPerSecond
		told      bool
		low       mesh.BitsPerSecond
	}{
		{"", 0, 0, false, 0},
		{"", 20e6, 20e6, true, 0},
		{"", 20e6, 20e6, false, 0},
		{"eth1", 20e6, 20e6, false, 0},
		{"eth1", 200e6, 50e6, true, 0},
		{"eth1", 0, 50e6, false, 0},
		{"", 0, 0, true, 0},
		{"", 1e12, 100e6, true, 0}, // the cable of the far end: no more than if it had said nothing
		{"", 79, 1e6, true, 79},    // no copies at all, if it were believed
		{"eth1", 79, 1e6, false, 79},
		{"thin", 79, 2e5, true, 79},
		{"thin", 2e5, 2e5, false, 0},
		{"thin", 5e5, 2e5, false, 0},
		{"", 1e6, 1e6, true, 0},
	} {
		r.takeReflex()
		l.iface = c.iface
		r.hear(conn, alpha, uint64(101+i), says(c.far)...)
		r.report(l.label, mesh.LinkUp)
		r.pass(time.Second)
		told := false
		for _, ev := range r.takeReflex() {
			if set, ok := ev.(LinkSet); ok {
				told = true
				if set.Capacity != c.want {
					t.Errorf("%+v: the fast loop was told of %d bit/s", c, set.Capacity)
				}
			}
		}
		if told != c.told || l.capacity != c.want || r.Links()[0].LowCapacity != c.low {
			t.Errorf("%+v: told %v, %d bit/s, too low: %d", c, told, l.capacity, l.low)
		}
	}
}
