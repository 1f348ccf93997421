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

// After a power cut everywhere, and after one node was restarted again and again, all is as before.
func TestPowerCut(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma gamma-delta"))
	for _, m := range n.machines {
		m.kill()
	}
	began := time.Now()
	for _, m := range n.machines {
		m.up(t)
	}
	n.reach(20*time.Second, n.machines...)
	t.Logf("all reached each other %s after the power came back", time.Since(began).Round(time.Millisecond))

	alpha, gamma, delta := n.at("alpha"), n.at("gamma"), n.at("delta")
	for range 6 {
		gamma.kill()
		gamma.up(t)
		n.converged(n.machines...)
	}
	gamma.kill()
	began = time.Now()
	gamma.up(t)
	n.reach(20*time.Second, alpha, gamma, delta)
	t.Logf("after its seventh restart gamma and what lies beyond it were back within %s", time.Since(began).Round(time.Millisecond))
}
