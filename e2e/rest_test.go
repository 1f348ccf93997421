package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A node at rest does not wake up for each neighbour's hellos: they wait for its own turns. A neighbour that falls silent is
// missed all the same.
func TestHellosWaitAtRest(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta alpha-gamma alpha-delta"))
	alpha := n.at("alpha")
	if log := string(alpha.log()); strings.Contains(log, "does not sort") {
		t.Skipf("hellos that wait are not tried: the kernel does not sort datagrams here:\n%s", tail(alpha.log(), 3))
	}
	before := alpha.counters(t)
	eventually(t, 30*time.Second, "let hellos wait", func(context.Context) error {
		now := alpha.counters(t)
		all, waited := risen(before, now, "udp_hellos"), risen(before, now, "udp_hellos_waited")
		if all < 200 {
			return fmt.Errorf("%d hellos so far", all)
		}
		if before = now; waited < all*9/10 {
			return fmt.Errorf("of %d hellos %d waited", all, waited)
		}
		t.Logf("of %d hellos %d waited", all, waited)
		return nil
	})
	delta := n.at("delta")
	downs, killed := n.downsTo(t, alpha, delta), time.Now()
	delta.kill()
	eventually(t, 5*time.Second, "miss the neighbour", func(context.Context) error {
		if n.downsTo(t, alpha, delta) == downs {
			return errors.New("no link is down")
		}
		return nil
	})
	t.Logf("the neighbour was missed after %v", time.Since(killed).Round(time.Millisecond))
}
