package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"x0tta6bl4/api"
)

// linkLike waits until a machine's only link is as pass says, and returns it.
func linkLike(t *testing.T, m *machine, limit time.Duration, pass func(api.Link) bool) api.Link {
	t.Helper()
	var link api.Link
	eventually(t, limit, m.id.String()+" has its link as it should be", func(ctx context.Context) error {
		ls, err := m.client.Links(ctx)
		if err == nil && (len(ls) != 1 || !pass(ls[0])) {
			return fmt.Errorf("%+v", ls)
		}
		if err == nil {
			link = ls[0]
		}
		return err
	})
	return link
}

// The way between two machines comes to carry less than it did, and nobody says so: a veth drops what is longer than the
// far end's MTU. What a link carries is measured all the time, so frames soon go in parts, and the link stays up.
func TestPathMTUIsMeasured(t *testing.T) {
	need(t, "ping6")
	n := newMesh(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	n.reach(20*time.Second, alpha, beta)
	narrow := func(mtu int) {
		t.Helper()
		beta.device(t, "to-alpha", func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
	}
	carries := func(low, high uint16) func(api.Link) bool {
		return func(l api.Link) bool { return l.MTU >= low && l.MTU <= high && l.Error == "" }
	}
	full := func() {
		t.Helper()
		if out := alpha.must(t, "ping6", "-c", "5", "-i", "0.1", "-M", "do", "-s", fullPing, beta.addr.String()); !strings.Contains(out, " 0% packet loss") {
			t.Error(out)
		}
	}
	since := linkLike(t, alpha, 10*time.Second, carries(1452, 1452)).Since
	full()

	const headers = 20 + 8 // IPv4 and UDP
	narrow(1300 + headers)
	began := time.Now()
	linkLike(t, alpha, 15*time.Second, carries(1300, 1304)) // a veth lets a VLAN tag more pass
	t.Logf("alpha, which nobody tells: %v", time.Since(began))
	linkLike(t, beta, 15*time.Second, carries(1300, 1300))
	full()
	if l := linkLike(t, alpha, time.Second, carries(1300, 1304)); !l.Since.Equal(since) {
		t.Errorf("the link was down meanwhile: %+v", l)
	}

	narrow(1200 + headers)
	for _, m := range n.machines {
		linkLike(t, m, 15*time.Second, func(l api.Link) bool { return strings.Contains(l.Error, "too thin") })
	}
	narrow(1500)
	for _, m := range n.machines {
		linkLike(t, m, 15*time.Second, carries(1300, 1452))
	}
	n.reach(20*time.Second, alpha, beta)
	full()
}
