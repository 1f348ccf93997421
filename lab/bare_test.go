package lab

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// A bare lab has links and no daemons: probes go between any addresses of its namespaces, faults strike them, and what is
// forgotten disturbs nobody.
func TestBareLab(t *testing.T) {
	needLab(t)
	l, err := Bare(Options{Map: mapOf("a-b", "b-c"), Delay: NoDelay, Config: "routing: {k: 2}\n", Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	a, b, c := mesh.MustNodeID("a"), mesh.MustNodeID("b"), mesh.MustNodeID("c")
	if name, ok := l.Interface(b, a); name != "to-a" || !ok {
		t.Errorf("%q, %t", name, ok)
	}
	if name, ok := l.Interface(a, c); ok {
		t.Errorf("a has the interface %q towards c", name)
	}
	if err := l.writeConfig(b); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(l.nodes[b].config()); err != nil || !strings.HasSuffix(string(text), "\nrouting: {k: 2}\n") {
		t.Errorf("the configuration does not end as it was told: %s, %v", text, err)
	}
	addrs := map[mesh.NodeID]netip.Addr{}
	for _, end := range [][2]mesh.NodeID{{b, c}, {c, b}} {
		text, _ := l.Addr(end[0], end[1])
		addrs[end[0]] = netip.MustParseAddr(text)
	}
	p, err := l.ProberOn(addrs, 7422)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := reached(p, b, c, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	f := Fault{Kind: fault.Blackhole, Target: Target{A: b, B: c}}
	if err := l.Inject(f); err != nil {
		t.Fatal(err)
	}
	if _, err := reached(p, b, c, 300*time.Millisecond); err == nil {
		t.Error("a probe came through a blackhole")
	}
	if err := l.Mend(f); err != nil {
		t.Fatal(err)
	}
	gone := p.Flow(b, c)
	p.Forget(gone)
	p.send(gone)
	if took, err := reached(p, c, b, 5*time.Second); err != nil || took <= 0 {
		t.Errorf("%s, %v", took, err)
	}
	if w := gone.Look(0, p.Now()); w.Sent != 1 || w.Lost != 1 {
		t.Errorf("a flow that is forgotten: %+v", w)
	}
	if _, err := l.ProberOn(map[mesh.NodeID]netip.Addr{mesh.MustNodeID("z"): addrs[b]}, 7422); err == nil || !strings.Contains(err.Error(), "no node") {
		t.Errorf("a socket on a node that is not there: %v", err)
	}
	if p, err := l.ProberOn(map[mesh.NodeID]netip.Addr{a: addrs[b]}, 7422); err == nil {
		p.Close()
		t.Error("a socket is bound to an address that its node has not")
	}
}

func TestUsageOf(t *testing.T) {
	u, err := UsageOf(os.Getpid())
	if err != nil || u.RSS < 1<<20 || u.CPU < 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := UsageOf(1 << 30); err == nil {
		t.Error("a process that cannot be has a usage")
	}
}
