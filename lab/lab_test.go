package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

func TestMain(m *testing.M) {
	if code, ok := Helper(); ok {
		os.Exit(code)
	}
	if code, ok := actAsChild(); ok {
		os.Exit(code)
	}
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// needLab skips a test where the kernel or the user's rights do not allow labs, and says why.
func needLab(t *testing.T) {
	t.Helper()
	if err := Probe(); err != nil {
		t.Skipf("no lab on this machine: %v", err)
	}
}

func id(s string) mesh.NodeID { return mesh.MustNodeID(s) }

// mapOf makes a map of links such as "a-b"; nodes come in order of appearance.
func mapOf(links ...string) Map {
	m := Map{Name: "test"}
	add := func(s string) mesh.NodeID {
		n := id(s)
		for _, o := range m.Nodes {
			if o == n {
				return n
			}
		}
		m.Nodes = append(m.Nodes, n)
		return n
	}
	for _, l := range links {
		m.Links = append(m.Links, MapLink{A: add(l[:1]), B: add(l[2:])})
	}
	return m
}

// network builds a lab without daemons.
func network(t *testing.T, m Map, delay time.Duration) *Lab {
	t.Helper()
	needLab(t)
	l, err := build(Options{Map: m, Delay: delay, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// underlayProber probes between the underlay addresses of the two ends of a link.
func underlayProber(t *testing.T, l *Lab, link int) (*Prober, mesh.NodeID, mesh.NodeID) {
	t.Helper()
	w := l.wires[link]
	p, err := newProber(spacesOf(w))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, w.ends[0].node, w.ends[1].node
}

func reached(p *Prober, from, to mesh.NodeID, within time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return p.Knock(ctx, from, to, 100*time.Millisecond)
}

// Links 0 and 2 are IPv4, 1 is IPv6; b-c of the second map has no delay and is a veth pair.
func TestLinksDelayFrames(t *testing.T) {
	l := network(t, mapOf("a-b", "b-c", "c-d"), 20*time.Millisecond)
	for link := range l.wires {
		p, a, b := underlayProber(t, l, link)
		if _, err := reached(p, a, b, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		var took []time.Duration
		for range 40 {
			d, err := reached(p, b, a, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			took = append(took, d)
		}
		p.Close()
		median := percentile(took, 50)
		t.Logf("link %d: p50 %s p99 %s", link, median, percentile(took, 99))
		if median < 20*time.Millisecond || median > 22*time.Millisecond {
			t.Errorf("link %d: a frame took %s in the median, want 20 ms and at most 2 more", link, median)
		}
	}
}

func TestLinkWithoutDelay(t *testing.T) {
	l := network(t, mapOf("a-b", "b-c"), NoDelay)
	if len(l.relays) != 0 {
		t.Error("a relay runs although no link has a delay")
	}
	for link := range l.wires {
		p, a, b := underlayProber(t, l, link)
		if _, err := reached(p, a, b, 5*time.Second); err != nil {
			t.Error(err)
		}
		p.Close()
	}
}

func TestLinkFaultsAndTheirEnds(t *testing.T) {
	for name, delay := range map[string]time.Duration{"relay": time.Millisecond, "veth": NoDelay} {
		t.Run(name, func(t *testing.T) {
			l := network(t, mapOf("a-b", "b-c"), delay)
			for link := range l.wires {
				p, a, b := underlayProber(t, l, link)
				works := func(from, to mesh.NodeID, want bool, what string) {
					t.Helper()
					within := 300 * time.Millisecond
					if want {
						within = 5 * time.Second
					}
					if _, err := reached(p, from, to, within); (err == nil) != want {
						t.Errorf("link %d, %s: traffic from %s to %s passes: %v, want %v", link, what, from, to, err == nil, want)
					}
				}
				works(a, b, true, "at first")
				for _, k := range []Kind{fault.Cut, fault.Blackhole, fault.Oneway} {
					f := Fault{Kind: k, Target: Target{A: a, B: b}}
					if err := l.Inject(f); err != nil {
						t.Fatal(err)
					}
					works(a, b, false, string(k))
					works(b, a, k == fault.Oneway, string(k))
					if got := l.m.connected(a, b, l.broken()); got {
						t.Errorf("%s: the oracle still sees a way", k)
					}
					if err := l.Mend(f); err != nil {
						t.Fatal(err)
					}
					works(a, b, true, string(k)+" mended")
					works(b, a, true, string(k)+" mended")
				}
				p.Close()
			}
		})
	}
}

// A blackhole must look like silence, not like an error: interfaces stay up, sends succeed.
func TestBlackholeIsSilent(t *testing.T) {
	l := network(t, mapOf("a-b"), time.Millisecond)
	p, a, b := underlayProber(t, l, 0)
	if _, err := reached(p, a, b, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := l.Inject(Fault{Kind: fault.Blackhole, Target: Target{A: a, B: b}}); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := p.socks[a].WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(p.addrs[b], 9)); err != nil {
			t.Fatalf("send into a blackhole: %v", err)
		}
	}
	out, err := l.Exec(context.Background(), a, "cat", "/proc/self/net/dev")
	if err != nil || len(out) == 0 {
		t.Errorf("cat /proc/self/net/dev: %v", err)
	}
}

func TestOutageIsMeasured(t *testing.T) {
	l := network(t, mapOf("a-b"), 5*time.Millisecond)
	p, a, b := underlayProber(t, l, 0)
	if _, err := reached(p, a, b, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	f := []*Flow{p.Flow(a, b), p.Flow(b, a)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	begin := p.Now()
	go func() { p.Stream(ctx, f); close(done) }()
	fault := Fault{Kind: fault.Blackhole, Target: Target{A: a, B: b}}
	steps := []func() error{func() error { return l.Inject(fault) }, func() error { return l.Mend(fault) }}
	for i, step := range steps {
		if err := p.sleep(ctx, begin+time.Duration(i+1)*400*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.sleep(ctx, begin+2*time.Second); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	for _, f := range f {
		w := f.Look(begin, begin+2*time.Second)
		t.Logf("%s-%s: %+v", f.from, f.to, w)
		if w.Outage < 380*time.Millisecond || w.Outage > 600*time.Millisecond {
			t.Errorf("outage %s, want about 400 ms", w.Outage)
		}
		if w.Sent < 1900 || w.Lost < 350 || w.Lost > 600 || w.Tail < 0.99 {
			t.Errorf("%+v: want 2000 sent, 400 lost, all back at the end", w)
		}
	}
}

func TestExecAndClose(t *testing.T) {
	l := network(t, mapOf("a-b"), time.Millisecond)
	ctx := context.Background()
	out, err := l.Exec(ctx, id("a"), "sh", "-c", "echo $X0T_STATE; ls /proc/self/net")
	if err != nil || len(out) == 0 {
		t.Fatal(err)
	}
	if _, err := l.Exec(ctx, id("a"), "sh", "-c", "echo broken >&2; exit 3"); err == nil {
		t.Error("a failing command gave no error")
	}
	if _, err := l.Exec(ctx, id("z"), "true"); err == nil {
		t.Error("a node that is not there gave no error")
	}
	// A command that leaves a process behind, in the same group.
	cmd, err := l.Command(ctx, id("a"), "sh", "-c", "sleep 1000 & wait")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := l.Start(id("a"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(l.work.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", l.work.dir, err)
	}
	if _, err := l.Exec(ctx, id("a"), "true"); !errors.Is(err, errSpaceClosed) {
		t.Errorf("Exec after Close: %v", err)
	}
}

func TestCancelledExecEnds(t *testing.T) {
	l := network(t, mapOf("a-b"), time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := l.Exec(ctx, id("a"), "sh", "-c", "sleep 1000; true"); err == nil {
		t.Error("no error")
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("took %s", d)
	}
}

func spacesOf(w *wire) (map[mesh.NodeID]*space, map[mesh.NodeID]netip.Addr) {
	spaces, addrs := map[mesh.NodeID]*space{}, map[mesh.NodeID]netip.Addr{}
	for _, e := range w.ends {
		spaces[e.node], addrs[e.node] = e.space, e.addr.Addr()
	}
	return spaces, addrs
}
