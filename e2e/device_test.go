package e2e

import (
	"bytes"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// The network device is deleted under a running daemon: it ends, says what happened, and serves again when it is started
// again.
func TestNetworkDeviceDeleted(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	mark := len(alpha.log())
	alpha.device(t, "x0t0", netlink.LinkDel)
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-alpha.daemon.done:
	case <-timer.C:
		t.Fatalf("it still runs 10 s later\n%s", tail(alpha.log(), 20))
	}
	if alpha.daemon.err == nil {
		t.Error("it ended as if it had been told to")
	}
	if log := alpha.log()[mark:]; !bytes.Contains(log, []byte("x0t0: the interface was deleted by another program")) {
		t.Errorf("it does not say why\n%s", tail(log, 20))
	}
	alpha.daemon = nil
	alpha.up(t)
	n.converged(alpha, beta)
	n.reach(20*time.Second, alpha, beta)
}

// The system refuses whatever a daemon sends: it says so, with the socket, beside the links that are down, and is well when
// that is over.
func TestSystemRefusesDatagrams(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta"))
	alpha := n.at("alpha")
	alpha.healthy(t, 20*time.Second, 200, `"health":"ok"`)
	alpha.device(t, "to-beta", netlink.LinkSetDown)
	alpha.healthy(t, 20*time.Second, 503, "nothing passes the UDP sockets: [::]:7420: the system refused all")
	alpha.device(t, "to-beta", netlink.LinkSetUp)
	alpha.healthy(t, 30*time.Second, 200, `"health":"ok"`)
}
