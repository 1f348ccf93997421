package e2e

import (
	"testing"
	"time"
)

// A node that was killed and started again finds its way back by itself, whichever it is; those that are left reach
// each other meanwhile.
func TestKilledNodesComeBack(t *testing.T) {
	need(t)
	//  n1 ═ n2 ═ n3
	//   ║    ║    ║
	//  n4 ═ n5 ═ n6
	n := newMesh(t, cables("n1-n2 n2-n3 n1-n4 n2-n5 n3-n6 n4-n5 n5-n6"))
	var all []*endpoint
	for _, m := range n.machines {
		e := listen(t, m)
		t.Cleanup(e.close)
		all = append(all, e)
	}
	knockAll(t, 20*time.Second, all...)
	for i, m := range n.machines {
		began := time.Now()
		m.kill()
		var rest []*endpoint
		for k, e := range all {
			if k != i {
				rest = append(rest, e)
			}
		}
		knockAll(t, 20*time.Second, rest...)
		around := time.Since(began)
		began = time.Now()
		m.up(t)
		knockAll(t, 20*time.Second, all...)
		t.Logf("%s: the others reached each other after %s, and it all of them %s after its start",
			m.id, around.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		n.converged(n.machines...)
	}
}
