package e2e

import (
	"strings"
	"testing"
	"time"
)

// fullPing is the payload of an echo request that fills a packet of the mesh's MTU: 1360 less IPv6 and ICMPv6 headers.
const fullPing = "1312"

// A link that carries no more than IPv6 demands of every link passes full packets of the mesh, in two parts.
func TestThinLink(t *testing.T) {
	need(t, "iperf3", "ping6")
	n := newMesh(t, []cable{{a: "alpha", b: "beta"}, {a: "beta", b: "gamma", v6: true, mtu: 1280}, {a: "gamma", b: "delta"}})
	alpha, beta, gamma, delta := n.at("alpha"), n.at("beta"), n.at("gamma"), n.at("delta")
	n.reach(20*time.Second, alpha, delta)
	for _, l := range must(beta.client.Links(t.Context()))(t) {
		if l.Neighbour == gamma.id && l.MTU != 1280-40-8 {
			t.Errorf("the thin link is said to carry %d bytes", l.MTU)
		}
	}
	before := beta.counters(t)
	out := alpha.must(t, "ping6", "-c", "10", "-i", "0.1", "-M", "do", "-s", fullPing, delta.addr.String())
	if !strings.Contains(out, " 0% packet loss") {
		t.Error(out)
	}
	for _, args := range [][]string{nil, {"-R"}} {
		if bits := throughput(t, alpha, delta, args...); bits < 1e6 {
			t.Errorf("%.0f bit/s", bits)
		}
	}
	for _, m := range []*machine{beta, gamma} {
		c := m.counters(t)
		if c["part_sent"]-before["part_sent"] < 10 || c["part_joined"] < 10 || c["part_malformed"] != 0 || c["send_too_big"] != 0 {
			t.Errorf("%s: part_sent %d, part_joined %d, part_malformed %d, send_too_big %d", m.id,
				c["part_sent"], c["part_joined"], c["part_malformed"], c["send_too_big"])
		}
	}
	// The control: links of the usual size need no parts.
	for _, m := range []*machine{alpha, delta} {
		if c := m.counters(t); c["part_sent"] != 0 {
			t.Errorf("%s sent %d frames in parts over a link that carries them whole", m.id, c["part_sent"])
		}
	}
}

// A mesh whose machines have no IPv4 at all between them works.
func TestIPv6Only(t *testing.T) {
	need(t, "ping6")
	n := newMesh(t, []cable{{a: "alpha", b: "beta", v6: true}, {a: "beta", b: "gamma", v6: true}})
	alpha, gamma := n.at("alpha"), n.at("gamma")
	for _, m := range n.machines {
		for _, l := range must(m.client.Links(t.Context()))(t) {
			if !l.Remote.Addr().Is6() || l.Remote.Addr().Is4In6() {
				t.Errorf("%s has a link to %s", m.id, l.Remote)
			}
		}
	}
	n.reach(20*time.Second, n.machines...)
	out := alpha.must(t, "ping6", "-c", "5", "-i", "0.1", "-M", "do", "-s", fullPing, gamma.addr.String())
	if !strings.Contains(out, " 0% packet loss") {
		t.Error(out)
	}
}
