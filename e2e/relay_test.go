package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A relay sees neither what it carries nor between which mesh addresses, on none of its interfaces: not while sessions
// are made, not while they are used. What is searched for is found where it has to be, at the far end's TUN.
func TestRelaySeesNothing(t *testing.T) {
	need(t, "curl")
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")

	// Sessions begin anew before the relay's eyes.
	onRelay := beta.capture(t, "")
	gamma.stop(t)
	gamma.up(t)
	n.converged(n.machines...)
	before := beta.counters(t)
	onTUN := gamma.capture(t, gamma.status(t).TUN)

	const marker = "the-eagle-lands-at-midnight"
	a, g := listen(t, alpha), listen(t, gamma)
	t.Cleanup(func() { a.close(); g.close() })
	a.knock(t, g, 20*time.Second)
	g.knock(t, a, 20*time.Second)
	for size := 100; size <= 1300; size += 10 {
		a.send(g, size, marker)
		g.send(a, size, marker)
	}
	at := gamma.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, strings.Repeat(marker+"\n", 2000))
	}))
	out := alpha.must(t, "curl", "-sSf", "-g", "--max-time", "30", "-d", marker, "http://"+at+"/"+marker)
	if got := strings.Count(out, marker); got != 2000 {
		t.Fatalf("curl got %d of 2000 lines", got)
	}
	settled(5*time.Second, [2]*endpoint{a, g}, [2]*endpoint{g, a})

	secrets := map[string][]byte{"the marker": []byte(marker), "the node's path": []byte("e2e.mesh/node/")}
	for _, m := range []*machine{alpha, gamma} {
		b := m.addr.As16()
		secrets["the address of "+m.id.String()] = b[:]
		secrets["the host part of the address of "+m.id.String()] = b[8:]
	}
	carried := 0
	for _, f := range onRelay.all() {
		if datagram(f.data) != nil {
			carried++
		}
	}
	if carried < 400 {
		t.Fatalf("the capture at the relay saw %d datagrams of links: it is blind", carried)
	}
	for what, secret := range secrets {
		if k := onRelay.count(secret); k != 0 {
			t.Errorf("%s stands in %d frames at the relay", what, k)
		}
		if k := onTUN.count(secret); k == 0 && what != "the node's path" {
			t.Errorf("%s stands in no packet at the TUN of the far end: the search is blind", what)
		}
	}
	if c := beta.counters(t); c["relay_forwarded"] < 200 || c["delivered"] != before["delivered"] {
		t.Errorf("the relay forwarded %d frames and delivered %d packets to itself", c["relay_forwarded"], c["delivered"]-before["delivered"])
	}
}
