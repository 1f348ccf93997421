package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// healed is how long an outage may last after a resume or a change of address.
const healed = time.Second

// flowing is packets that go both ways between two endpoints all the time, and when they came.
type flowing struct {
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	came [2][]time.Time // at b, at a
}

func flowBetween(a, b *endpoint) *flowing {
	s := &flowing{stop: make(chan struct{})}
	for i, ends := range [][2]*endpoint{{a, b}, {b, a}} {
		from, to := ends[0], ends[1]
		s.wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for arrived := to.arrival(from); ; {
				select {
				case <-s.stop:
					return
				case <-tick.C:
					from.send(to, 16, "")
				case <-arrived:
					arrived = to.arrival(from)
					s.mu.Lock()
					s.came[i] = append(s.came[i], time.Now())
					s.mu.Unlock()
				}
			}
		})
	}
	return s
}

func (s *flowing) end() {
	close(s.stop)
	s.wg.Wait()
}

// longestGap returns the longest time without an arrival in either direction since a time.
func (s *flowing) longestGap(since time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, came := range s.came {
		last := since
		for _, c := range came {
			if c.After(since) {
				longest = max(longest, c.Sub(last))
				last = c
			}
		}
		longest = max(longest, time.Since(last))
	}
	return longest
}

// gapOver lets a stream run and fails the test if it had a gap longer than healed.
func (s *flowing) gapOver(t *testing.T, what string, since time.Time, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	gap := s.longestGap(since)
	t.Logf("%s: outage %s", what, gap.Round(time.Millisecond))
	if gap > healed {
		t.Errorf("%s: nothing passed for %s", what, gap)
	}
}

// linksTo returns the links of m with a neighbour.
func (m *machine) linksTo(t *testing.T, o *machine) []api.Link {
	t.Helper()
	ls, err := m.client.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(ls, func(l api.Link) bool { return l.Neighbour != o.id })
}

// readdress gives an interface of m another address in place of the one it has.
func (m *machine) readdress(t *testing.T, iface string, old, now netip.Prefix) {
	t.Helper()
	if err := m.do(func() error {
		l, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		if err := netlink.AddrDel(l, ipAddr(old)); err != nil {
			return err
		}
		return netlink.AddrAdd(l, ipAddr(now))
	}); err != nil {
		t.Fatal(err)
	}
}

func ipAddr(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// A machine gets another address under a link: the link stays, with its label, and traffic goes on.
func TestAddressChange(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	a, g := listen(t, alpha), listen(t, gamma)
	knockAll(t, 20*time.Second, a, g)
	s := flowBetween(a, g)
	defer s.end()
	was := beta.linksTo(t, alpha)[0]
	addr := n.cables[0].addrs(0)[0]
	for i := range 5 {
		next := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, 0, byte(70 + i)}), 24)
		began := time.Now()
		alpha.readdress(t, "to-beta", addr, next)
		addr = next
		// As often as a link is believed to move without being held back.
		s.gapOver(t, fmt.Sprintf("address change %d", i+1), began, 3*time.Second)
		ls := beta.linksTo(t, alpha)
		if len(ls) != 1 || ls[0].Label != was.Label || ls[0].Remote.Addr() != next.Addr() || ls[0].State != mesh.LinkUp {
			t.Errorf("beta's links with alpha: %+v", ls)
		}
	}
	c := beta.counters(t)
	if c["node_moves"] != 5 || c["node_moves_unproven"] != 0 {
		t.Errorf("beta counts %d moves, %d unproven", c["node_moves"], c["node_moves_unproven"])
	}
	eventually(t, 10*time.Second, "health", func(context.Context) error {
		if st := beta.status(t); st.Health != api.HealthOK {
			return fmt.Errorf("%s: %v", st.Health, st.Reasons)
		}
		return nil
	})
}

// translator is a machine between two others that passes UDP on as a NAT does, and TCP for the join.
type translator struct {
	t       *testing.T
	m       *machine
	inside  *net.UDPConn
	to      netip.AddrPort
	mu      sync.Mutex
	outside *net.UDPConn
	client  netip.AddrPort
}

// translate passes what comes to `at` on to `to`.
func translate(t *testing.T, m *machine, at, to netip.AddrPort) *translator {
	x := &translator{t: t, m: m, to: to, inside: m.listenUDP(t, at)}
	x.rebind()
	go func() {
		b := make([]byte, 2048)
		for {
			k, from, err := x.inside.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			x.mu.Lock()
			x.client = from
			out := x.outside
			x.mu.Unlock()
			_, _ = out.WriteToUDPAddrPort(b[:k], to)
		}
	}()
	var l *net.TCPListener
	if err := m.do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go x.passTCP(l)
	return x
}

// rebind forgets the mapping: from now on another port stands for the inside.
func (x *translator) rebind() {
	out := x.m.listenUDP(x.t, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	x.mu.Lock()
	old := x.outside
	x.outside = out
	x.mu.Unlock()
	if old != nil {
		old.Close()
	}
	go func() {
		b := make([]byte, 2048)
		for {
			k, _, err := out.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			x.mu.Lock()
			client := x.client
			x.mu.Unlock()
			_, _ = x.inside.WriteToUDPAddrPort(b[:k], client)
		}
	}()
}

func (x *translator) passTCP(l *net.TCPListener) {
	for {
		in, err := l.AcceptTCP()
		if err != nil {
			return
		}
		var out *net.TCPConn
		if x.m.do(func() (err error) {
			out, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(x.to))
			return err
		}) != nil {
			in.Close()
			continue
		}
		go func() { _, _ = io.Copy(out, in); _ = out.CloseWrite() }()
		go func() { _, _ = io.Copy(in, out); in.Close(); out.Close() }()
	}
}

// The NAT in front of a machine forgets its mapping and makes another: neighbours follow.
func TestRebinding(t *testing.T) {
	need(t)
	n := lay(t, cables("beta-nat nat-alpha"))
	alpha, beta, nat := n.at("alpha"), n.at("beta"), n.at("nat")
	front := netip.AddrPortFrom(n.cables[1].addrs(1)[0].Addr(), port)
	x := translate(t, nat, front, netip.AddrPortFrom(n.cables[0].addrs(0)[0].Addr(), port))
	beta.configure(t, "")
	alpha.configure(t, fmt.Sprintf("links:\n  neighbours: [%q]\n", front))
	n.found(beta)
	beta.up(t)
	eventually(t, 10*time.Second, "beta", func(ctx context.Context) error { _, err := beta.client.Status(ctx); return err })
	alpha.must(t, "x0t", "join", "--via", front.String(), n.token(alpha.id))
	alpha.up(t)
	eventually(t, 20*time.Second, "link", func(ctx context.Context) error {
		for _, m := range []*machine{alpha, beta} {
			st, err := m.client.Status(ctx)
			if err != nil {
				return err
			}
			if m.addr = st.Address; st.LinksUp != 1 {
				return fmt.Errorf("%s has %d links", m.id, st.LinksUp)
			}
		}
		return nil
	})
	a, b := listen(t, alpha), listen(t, beta)
	knockAll(t, 20*time.Second, a, b)
	s := flowBetween(a, b)
	defer s.end()
	was := beta.linksTo(t, alpha)[0]
	for i := range 3 {
		began := time.Now()
		x.rebind()
		s.gapOver(t, fmt.Sprintf("rebinding %d", i+1), began, 3*time.Second)
		ls := beta.linksTo(t, alpha)
		if len(ls) != 1 || ls[0].Label != was.Label || ls[0].Remote == was.Remote {
			t.Errorf("beta's links with alpha: %+v", ls)
		}
	}
	if c := beta.counters(t); c["node_moves"] != 3 {
		t.Errorf("beta counts %d moves", c["node_moves"])
	}
}

// firstNew returns how long after a time something arrived that was not sent before now.
func firstNew(t *testing.T, from, to *endpoint, began time.Time) time.Duration {
	from.mu.Lock()
	number := from.sent[to.m.addr]
	from.mu.Unlock()
	end := time.NewTimer(20 * time.Second)
	defer end.Stop()
	for {
		arrived := to.arrival(from)
		to.mu.Lock()
		for k := range to.got[from.m.addr] {
			if k >= number {
				to.mu.Unlock()
				return time.Since(began)
			}
		}
		to.mu.Unlock()
		select {
		case <-arrived:
		case <-end.C:
			t.Errorf("nothing new from %s reached %s", from.m.id, to.m.id)
			return time.Since(began)
		}
	}
}

// freeze is how long a daemon stands still in TestFreeze: longer than neighbours keep a silent connection.
const freeze = 13 * time.Second

// A daemon that stood still for so long that its neighbours forgot it is back within a second.
func TestFreeze(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	a, b, g := listen(t, alpha), listen(t, beta), listen(t, gamma)
	knockAll(t, 20*time.Second, a, b, g)
	for _, m := range []*machine{alpha, beta} {
		s := flowBetween(a, g)
		_ = m.daemon.cmd.Process.Signal(syscall.SIGSTOP)
		timer := time.NewTimer(freeze)
		<-timer.C
		began := time.Now()
		_ = m.daemon.cmd.Process.Signal(syscall.SIGCONT)
		var out [2]time.Duration
		var wg sync.WaitGroup
		wg.Go(func() { out[0] = firstNew(t, a, g, began) })
		wg.Go(func() { out[1] = firstNew(t, g, a, began) })
		wg.Wait()
		s.end()
		t.Logf("%s: traffic %s and %s after a freeze of %s", m.id, out[0].Round(time.Millisecond), out[1].Round(time.Millisecond), freeze)
		if max(out[0], out[1]) > healed {
			t.Errorf("%s: traffic only %s after the resume", m.id, max(out[0], out[1]))
		}
		if c := m.counters(t); c["node_wakes"] == 0 {
			t.Errorf("%s did not notice that it stood still", m.id)
		}
		n.converged(n.machines...)
	}
}

// hosts makes the machine's own /etc/hosts say this.
func (m *machine) hosts(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(m.dir, "hosts")
	fresh := false
	if _, err := os.Stat(path); err != nil {
		fresh = true
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if fresh {
		if err := m.do(func() error { return unix.Mount(path, "/etc/hosts", "", unix.MS_BIND, "") }); err != nil {
			t.Fatal(err)
		}
	}
}

// A neighbour is named by a host name. Where that leads nowhere, it is looked up again when the network changes.
func TestNeighbourByHostName(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	alpha.configure(t, "")
	n.found(alpha)
	alpha.up(t)
	eventually(t, 10*time.Second, "alpha", func(ctx context.Context) error { _, err := alpha.client.Status(ctx); return err })
	n.join(beta, []*machine{alpha})
	was := n.cables[0].addrs(0)[0]
	now := netip.MustParsePrefix("10.20.0.99/24")
	alpha.readdress(t, "to-beta", was, now) // nothing that beta was told at the join leads to alpha any more
	beta.configure(t, "links:\n  neighbours: [\"gate.example.test:7420\"]\n")
	beta.hosts(t, "127.0.0.1 localhost\n")
	beta.up(t)
	eventually(t, 20*time.Second, "a name that is not found", func(ctx context.Context) error {
		st, err := beta.client.Status(ctx)
		if err == nil && !slices.ContainsFunc(st.Warnings, func(w string) bool {
			return len(w) > 0 && w[:min(len(w), 14)] == "the neighbour "
		}) {
			err = fmt.Errorf("warnings %q", st.Warnings)
		}
		return err
	})
	beta.hosts(t, "127.0.0.1 localhost\n"+now.Addr().String()+" gate.example.test\n")
	began := time.Now()
	if err := beta.do(func() error { return addressUp("lo", netip.MustParsePrefix("192.0.2.1/32")) }); err != nil {
		t.Fatal(err)
	}
	beta.readdress(t, "to-alpha", n.cables[0].addrs(0)[1], netip.MustParsePrefix("10.20.0.98/24"))
	n.converged(alpha, beta)
	t.Logf("linked %s after the name led to the neighbour and the network had changed", time.Since(began).Round(time.Millisecond))
	if ls := beta.linksTo(t, alpha); len(ls) != 1 || ls[0].Remote.Addr() != now.Addr() {
		t.Errorf("links %+v", ls)
	}
	if st := beta.status(t); st.Health != api.HealthOK {
		t.Errorf("%s: %v", st.Health, st.Reasons)
	}
}

// onlyKnows leaves a machine one neighbour to dial: nothing else that its state remembers.
func (m *machine) onlyKnows(t *testing.T, a netip.AddrPort) {
	t.Helper()
	m.configure(t, fmt.Sprintf("links:\n  neighbours: [%q]\n", a))
	path := filepath.Join(m.state(), "membership.json")
	var file map[string]any
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	file["neighbours"] = []string{a.String()}
	if b, err = json.Marshal(file); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	for _, name := range []string{"labels.json", "contacts.json"} {
		if gone := os.Remove(filepath.Join(m.state(), name)); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = gone
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A neighbour comes back with another address, and does not know ours: it is found by what a third member knows.
func TestFoundThroughAThird(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma alpha-gamma"))
	alpha, gamma := n.at("alpha"), n.at("gamma")
	gamma.stop(t)
	was, now := n.cables[2].addrs(2)[1], netip.MustParsePrefix("10.20.2.99/24")
	gamma.readdress(t, "to-alpha", was, now)
	gamma.onlyKnows(t, netip.AddrPortFrom(n.cables[1].addrs(1)[0].Addr(), port))
	began := time.Now()
	gamma.up(t)
	eventually(t, 20*time.Second, "alpha's link to gamma", func(ctx context.Context) error {
		ls, err := alpha.client.Links(ctx)
		if err != nil {
			return err
		}
		for _, l := range ls {
			if l.Neighbour == gamma.id && l.Remote.Addr() == now.Addr() && l.State == mesh.LinkUp {
				return nil
			}
		}
		return fmt.Errorf("links %+v", ls)
	})
	if c := alpha.counters(t); c["node_hints"] == 0 {
		t.Errorf("alpha did not look for gamma: %v", c)
	}
	t.Logf("alpha found gamma at its new address %s after gamma's start", time.Since(began).Round(time.Millisecond))
	eventually(t, 10*time.Second, "health", func(context.Context) error {
		if st := alpha.status(t); st.Health != api.HealthOK {
			return fmt.Errorf("%s: %v", st.Health, st.Reasons)
		}
		return nil
	})
}
