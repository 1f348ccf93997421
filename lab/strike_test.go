package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// line is a link under test: what one end sends, the other one's socket gets.
type line struct {
	lab  *Lab
	a, b mesh.NodeID
	from *net.UDPConn
	to   *net.UDPConn
	dst  netip.AddrPort
}

func lineOf(t *testing.T, l *Lab, link int) line {
	t.Helper()
	w := l.wires[link]
	n := line{lab: l, a: w.ends[0].node, b: w.ends[1].node}
	var err error
	if n.from, err = w.ends[0].space.listenUDP(&net.UDPAddr{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.from.Close() })
	if n.to, err = w.ends[1].space.listenUDP(&net.UDPAddr{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.to.Close() })
	raw, err := n.to.SyscallConn()
	if err == nil { // a machine that is busy must not lose what the link did not; where that is not allowed, it may
		err = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // #nosec G115
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	n.dst = netip.AddrPortFrom(w.ends[1].addr.Addr(), uint16(n.to.LocalAddr().(*net.UDPAddr).Port)) // #nosec G115
	n.burst(t, 1, 10, 0, 200*time.Millisecond)                                                      // neighbour discovery
	return n
}

// got is what arrived of a burst.
type got struct {
	all, first int           // datagrams, and different ones
	order      bool          // nothing was overtaken
	median     time.Duration // on the way
	last       time.Duration // from the first sent to the last received
}

// burst sends so many datagrams of a size, one every so often, marked with their number and time, and collects until
// all are sent and nothing more comes for quiet.
func (n line) burst(t *testing.T, count, size int, every, quiet time.Duration, prefix ...byte) got {
	t.Helper()
	began := time.Now()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range count {
			b := make([]byte, max(size, len(prefix)+70))
			copy(b, prefix)
			copy(b[len(prefix):], fmt.Sprintf("%d %d %d ", i, time.Since(began), began.UnixNano()))
			_, _ = n.from.WriteToUDPAddrPort(b[:max(size, len(prefix)+60)], n.dst)
			if every > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(i+1) * every)))
			}
		}
	}()
	g := got{order: true}
	var took []time.Duration
	seen, newest := map[int64]bool{}, int64(-1)
	buf, silence := make([]byte, 2048), 0
	for {
		if err := n.to.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			t.Fatal(err)
		}
		size, err := n.to.Read(buf)
		if err != nil {
			select {
			case <-sent:
			default:
				continue // the machine is busy: the sender is late
			}
			if silence++; silence < 2 {
				continue // the last one was sent only just now, perhaps
			}
			break
		}
		var i, of int64
		var at time.Duration
		if _, err := fmt.Sscanf(string(buf[min(size, len(prefix)):size]), "%d %d %d ", &i, &at, &of); err != nil || of != began.UnixNano() {
			continue // of an earlier burst
		}
		silence = 0
		g.all, g.last = g.all+1, time.Since(began)
		took = append(took, g.last-at)
		if !seen[i] {
			seen[i] = true
			g.first++
			g.order = g.order && i > newest
			newest = max(newest, i)
		}
	}
	g.median = percentile(took, 50)
	return g
}

// Every kind that changes packets is seen by an application, on a relayed link and where it can be on a veth pair, in
// IPv4 and IPv6, and gone when it ended.
func TestLinkConditions(t *testing.T) {
	const all, quiet, ms = 1000, 200 * time.Millisecond, time.Millisecond
	data := payloadOf(meshData, 1)[:30]
	for _, c := range []struct {
		script string
		native bool
		timed  bool // what is seen depends on how busy the machine is
		seen   func(n line) (got, bool)
	}{
		{"loss link:a-b 30% at 0s", true, false, func(n line) (got, bool) {
			g := n.burst(t, all, 100, ms/4, quiet)
			return g, within(all-g.all, all, 0.3)
		}},
		{"greydrop node:a 0.5 at 0s", true, false, func(n line) (got, bool) {
			own := n.burst(t, 50, 100, 0, quiet, payloadOf(meshData, 0)[:30]...)
			g := n.burst(t, all, 100, ms/4, quiet, data...)
			return g, within(all-g.all, all, 0.5) && own.all == 50
		}},
		{"mtu link:a-b 1300 at 0s", true, false, func(n line) (got, bool) {
			header := udpHeader + 20
			if n.dst.Addr().Is6() {
				header = udpHeader + ipv6Header
			}
			fits := n.burst(t, 20, 1300-header, 0, quiet)
			g := n.burst(t, 20, 1301-header, 0, quiet)
			return g, fits.all == 20 && g.all == 0
		}},
		{"delay link:a-b 50ms at 0s", false, true, func(n line) (got, bool) {
			g := n.burst(t, 100, 100, 3*ms, quiet)
			return g, g.all == 100 && g.median >= 51*ms && g.median < 70*ms
		}},
		{"jitter link:a-b 60ms at 0s", false, true, func(n line) (got, bool) {
			g := n.burst(t, all, 100, ms, quiet)
			return g, g.all == all && g.order && g.median > 6*ms && g.median < 70*ms
		}},
		{"rate link:a-b 4M at 0s", false, true, func(n line) (got, bool) {
			g := n.burst(t, 200, 1000, ms/4, quiet) // 1.6 Mbit in 50 ms, of which 100 ms' worth and what left fits
			speed := float64(g.all) * 1042 * 8 / (g.last - ms).Seconds()
			return g, g.all < 150 && speed > 3e6 && speed < 4.6e6
		}},
		{"reorder link:a-b 25% at 0s", false, false, func(n line) (got, bool) {
			g := n.burst(t, all, 100, ms/2, quiet)
			return g, g.all == all && !g.order
		}},
		{"duplicate link:a-b 25% at 0s", false, false, func(n line) (got, bool) {
			g := n.burst(t, all, 100, ms/4, quiet)
			return g, g.first == all && within(g.all-all, all, 0.25)
		}},
	} {
		for _, delay := range []time.Duration{ms, NoDelay} {
			if delay == NoDelay && !c.native {
				continue
			}
			for link := range 2 {
				f := parsed(t, strings.NewReplacer("node:a", "node:"+"ac"[link:link+1], "a-b", []string{"a-b", "c-d"}[link]).Replace(c.script))
				t.Run(fmt.Sprintf("%s, delay %s, link %d", f.Kind, delay, link), func(t *testing.T) {
					t.Parallel()
					l := network(t, mapOf("a-b", "c-d", "b-c"), delay)
					n := lineOf(t, l, link)
					if err := l.Inject(f); err != nil {
						t.Fatal(err)
					}
					g, ok := c.seen(n)
					for try := 1; !ok && c.timed && try < 3; try++ {
						t.Logf("%s: %+v; once more, for the machine may have been busy", f, g)
						g, ok = c.seen(n)
					}
					if !ok {
						t.Errorf("%s: %+v", f, g)
					}
					e, err := l.Effect(f)
					if want := map[bool]string{true: engineNFT, false: engineRelay}[delay == NoDelay]; err != nil || e.Engine != want || e.Packets == 0 {
						t.Errorf("%s: %+v, %v; want engine %s", f, e, err, want)
					}
					if err := l.Mend(f); err != nil {
						t.Fatal(err)
					}
					g = n.burst(t, 100, 1400, ms, quiet, data...)
					for try := 1; g.median > 20*ms && try < 3; try++ {
						g = n.burst(t, 100, 1400, ms, quiet, data...)
					}
					if g.all != 100 || !g.order || g.median > 20*ms {
						t.Errorf("after %s: %+v", f, g)
					}
				})
			}
		}
	}
}

// parsed reads one fault about nodes a to d.
func parsed(t *testing.T, line string) Fault {
	t.Helper()
	fs, err := fault.Parse(line, []mesh.NodeID{id("a"), id("b"), id("c"), id("d")})
	if err != nil {
		t.Fatal(err)
	}
	return fs[0]
}

// A fault that ends leaves another one on the same link as it is.
func TestFaultsOverlap(t *testing.T) {
	l := network(t, mapOf("a-b", "b-c"), NoDelay)
	n := lineOf(t, l, 0)
	split, hole := parsed(t, "partition a|b,c at 0s"), parsed(t, "blackhole link:a-b at 0s")
	passes := func(want bool, what string) {
		t.Helper()
		if g := n.burst(t, 5, 100, 0, 300*time.Millisecond); (g.all == 5) != want {
			t.Errorf("%s: %d of 5 passed", what, g.all)
		}
		if got := l.m.connected(id("a"), id("c"), l.broken()); got != want {
			t.Errorf("%s: the oracle sees a way: %v", what, got)
		}
	}
	do := func(step func(Fault) error, f Fault) {
		t.Helper()
		if err := step(f); err != nil {
			t.Fatal(err)
		}
	}
	passes(true, "at first")
	do(l.Inject, split)
	passes(false, "partition")
	do(l.Inject, hole)
	do(l.Mend, split)
	passes(false, "the blackhole is left")
	do(l.Mend, hole)
	passes(true, "at the end")
	if e, err := l.Effect(hole); err != nil || e.Engine != engineQdisc || e.Packets < 5 {
		t.Errorf("blackhole: %+v, %v", e, err)
	}
	if err := l.Mend(hole); !errors.Is(err, errNotInjected) {
		t.Errorf("ended twice: %v", err)
	}
}

// A flap takes the interface down and up by itself, and what is broken is noted each time.
func TestFlap(t *testing.T) {
	l := network(t, mapOf("a-b"), time.Millisecond)
	n := lineOf(t, l, 0)
	f := parsed(t, "flap link:a-b 200ms/100ms at 0s")
	if err := l.Inject(f); err != nil {
		t.Fatal(err)
	}
	g := n.burst(t, 1500, 100, time.Millisecond, 400*time.Millisecond)
	if err := l.Mend(f); err != nil {
		t.Fatal(err)
	}
	var down, up int
	for _, m := range l.breakages()[1:] {
		if len(m.damage.links) > 0 {
			down++
		} else {
			up++
		}
	}
	if share := float64(g.all) / 1500; share < 0.4 || share > 0.85 || down < 4 || up < 4 {
		t.Errorf("%.2f of the datagrams passed, it was down %d and up %d times", share, down, up)
	}
	if g := n.burst(t, 20, 100, 0, 300*time.Millisecond); g.all != 20 {
		t.Errorf("after the flap %d of 20 pass", g.all)
	}
}

// What cannot be made is refused, says why, and leaves nothing behind.
func TestInjectRefuses(t *testing.T) {
	l := network(t, mapOf("a-b", "b-c"), NoDelay)
	for line, want := range map[string]string{
		"delay link:a-b 1ms at 0s":  "name the fault in the script",
		"rate link:a-b 1M at 0s":    "name the fault in the script",
		"cut link:a-c at 0s":        "no link of the map",
		"partition a|c at 0s":       "no link of the map",
		"kill node:d at 0s":         "no node",
		"kill node:a at 0s":         "no daemon runs",
		"clock node:a 1h at 0s":     "no daemon runs",
		"loss path:a-c 10% at 0s":   "does not name",
		"partition path:a-c at 0s":  "does not name",
		"greydrop node:d 0.5 at 0s": "no node",
	} {
		if err := l.Inject(parsed(t, line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if err := l.Inject(Fault{Kind: fault.Loss, Target: Target{A: id("a"), B: id("b")}}); !errors.Is(err, fault.ErrSyntax) {
		t.Errorf("a loss without a probability: %v", err)
	}
	if len(l.injector.holding) != 0 || len(l.broken().links) != 0 {
		t.Errorf("left behind: %v", l.injector.holding)
	}
}

// Links without delay get a relay where the script needs one, or may.
func TestRelaysThatScriptsNeed(t *testing.T) {
	for script, want := range map[string]string{
		"":                          "",
		"cut link:a-b at 0s":        "",
		"loss link:a-b 10% at 0s":   "",
		"delay link:a-b 1s at 0s":   "a-b",
		"rate link:b-a 1M at 0s":    "a-b",
		"builtin:jitter":            "a-b b-c",
		"reorder path:a-c 1 at 0s":  "a-b b-c",
		"builtin:loss":              "",
		"greydrop node:c 0.1 at 0s": "",
	} {
		fs, err := fault.Parse(script, []mesh.NodeID{id("a"), id("b"), id("c")})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range mapOf("a-b", "b-c").Links {
			name := k.A.String() + "-" + k.B.String()
			if got := (Options{Faults: fs}).reshapes(k, nil); got != strings.Contains(want, name) {
				t.Errorf("%q: a relay for %s: %v", script, name, got)
			}
			if got := (Options{Faults: fs}).reshapes(k, errNoNFT); got != (strings.Contains(want, name) ||
				strings.Contains(script, "loss") && (name == "a-b" || strings.Contains(script, "builtin")) ||
				strings.Contains(script, "greydrop") && name == "b-c") {
				t.Errorf("%q without nftables: a relay for %s: %v", script, name, got)
			}
		}
	}
}

// The oracle knows how much the best way left would deliver.
func TestExpectedShare(t *testing.T) {
	l := &Lab{m: mapOf("a-b", "b-d", "a-c", "c-d")}
	for _, k := range l.m.Links {
		l.wires = append(l.wires, &wire{ends: [2]end{{node: k.A}, {node: k.B}}})
	}
	for script, want := range map[string]float64{
		"":                        1,
		"loss link:a-b 10% at 0s": 1,
		"loss link:a-b 10% at 0s; loss link:c-d 20% at 0s":   0.9,
		"loss link:a-b 10% at 0s; cut link:a-c at 0s":        0.9,
		"greydrop node:b 0.5 at 0s":                          1,
		"greydrop node:b 0.5 at 0s; kill node:c at 0s":       0.5,
		"greydrop node:b 1 at 0s; kill node:c at 0s":         0,
		"greydrop node:a 1 at 0s":                            1,
		"cut link:a-b at 0s; oneway link:d-c at 0s":          0,
		"partition a,b|c,d at 0s":                            0,
		"partition a,c|b at 0s":                              1,
		"mtu link:a-b 1279 at 0s; cut link:a-c at 0s":        0,
		"mtu link:a-b 1280 at 0s; cut link:a-c at 0s":        1,
		"delay link:a-b 1s at 0s; flap link:a-c 1s/1s at 0s": 1,
		"kill node:d at 0s":                                  0,
		"rate link:a-b 1k at 0s":                             1,
		"rate link:a-b 476k at 0s; cut link:a-c at 0s":       0.25,
		"rate link:a-b 10M at 0s; cut link:a-c at 0s":        1,
	} {
		fs, err := fault.Parse(strings.ReplaceAll(script, ";", "\n"), []mesh.NodeID{id("a"), id("b"), id("c"), id("d")})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.share(id("a"), id("d"), fs); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%q: %v, want %v", script, got, want)
		}
		if got := l.m.connected(id("a"), id("d"), l.harm(fs)); got != (want > 0) {
			t.Errorf("%q: connected %v", script, got)
		}
	}
}

// A partition in the middle of a path takes every node to the nearer end of its middle link.
func TestSplit(t *testing.T) {
	m := mapOf("a-b", "b-c", "c-d", "d-e", "b-f")
	if got := m.split(Target{A: id("b"), B: id("c")}).String(); got != "a,b,f|c,d,e" {
		t.Errorf("%s", got)
	}
}
