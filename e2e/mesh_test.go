package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

const port = 7420 // of links and joins

// cable is a link between two machines. Interfaces are called after the machine at the other end.
type cable struct {
	a, b string
	v6   bool // IPv6 only, else IPv4 only
	mtu  int  // 0 = 1500
}

// cables reads "a-b b-c": plain ones.
func cables(s string) (cs []cable) {
	for _, f := range strings.Fields(s) {
		a, b, _ := strings.Cut(f, "-")
		cs = append(cs, cable{a: a, b: b})
	}
	return cs
}

// addrs are the addresses of the ends of cable number i, of ranges that are for private use and documentation.
func (c cable) addrs(i int) [2]netip.Prefix {
	if c.v6 {
		return [2]netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::1/64", i)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::2/64", i)),
		}
	}
	return [2]netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.20.%d.1/24", i)), netip.MustParsePrefix(fmt.Sprintf("10.20.%d.2/24", i)),
	}
}

// plug joins two machines by cable number i.
func plug(a, b *machine, c cable, i int) error {
	mtu := c.mtu
	if mtu == 0 {
		mtu = 1500
	}
	names := [2]string{"to-" + b.id.String(), "to-" + a.id.String()}
	if err := a.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = names[0], mtu
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: names[1], PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(int(b.net.Fd()))})
	}); err != nil {
		return fmt.Errorf("cable %s-%s: %w", a.id, b.id, err)
	}
	for k, m := range []*machine{a, b} {
		if err := m.do(func() error { return addressUp(names[k], c.addrs(i)[k]) }); err != nil {
			return fmt.Errorf("cable %s-%s at %s: %w", a.id, b.id, m.id, err)
		}
	}
	return nil
}

func addressUp(name string, p netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrReplace(l, a)
}

// network is a set of machines and the cables between them.
type network struct {
	t        *testing.T
	cables   []cable
	machines []*machine // in the order in which the cables name them; the first one is the authority
	initArgs []string   // more for x0t init
}

// lay makes the machines that cs names and plugs them together. Each is configured to keep links to its neighbours.
func lay(t *testing.T, cs []cable) *network {
	t.Helper()
	n := &network{t: t, cables: cs}
	for _, c := range cs {
		for _, name := range []string{c.a, c.b} {
			if !slices.ContainsFunc(n.machines, func(m *machine) bool { return m.id.String() == name }) {
				n.machines = append(n.machines, machineIn(t, name))
			}
		}
	}
	for i, c := range cs {
		if err := plug(n.at(c.a), n.at(c.b), c, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range n.machines {
		m.configure(t, n.neighbours(m))
	}
	return n
}

// at returns a machine by its name.
func (n *network) at(name string) *machine {
	i := slices.IndexFunc(n.machines, func(m *machine) bool { return m.id.String() == name })
	return n.machines[i]
}

// neighbours is the configuration that names a machine's neighbours.
func (n *network) neighbours(m *machine) string {
	var list []string
	for i, c := range n.cables {
		for k, name := range []string{c.b, c.a} {
			if m.id.String() == name {
				list = append(list, fmt.Sprintf("%q", netip.AddrPortFrom(c.addrs(i)[k].Addr(), port)))
			}
		}
	}
	return fmt.Sprintf("links:\n  neighbours: [%s]\n", strings.Join(list, ", "))
}

// underlay returns the address of a machine on its cable to another, false if there is none.
func (n *network) underlay(of, to *machine) (netip.Addr, bool) {
	for i, c := range n.cables {
		for k, ends := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if ends == [2]string{of.id.String(), to.id.String()} {
				return c.addrs(i)[k].Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// newMesh lays cables, makes the first machine an authority, lets the others join through a neighbour that is a
// member already, and returns when all agree on the topology.
func newMesh(t *testing.T, cs []cable, initArgs ...string) *network {
	t.Helper()
	n := lay(t, cs)
	n.initArgs = initArgs
	first := n.machines[0]
	n.found(first)
	first.up(t)
	for i, m := range n.machines[1:] {
		n.converged(n.machines[:i+1]...)
		n.join(m, n.machines[:i+1])
		m.up(t)
	}
	n.converged(n.machines...)
	return n
}

// found begins the trust domain on m.
func (n *network) found(m *machine) {
	n.t.Helper()
	m.must(n.t, append([]string{"x0t", "init", "--trust-domain", "e2e.mesh", "--name", m.id.String()}, n.initArgs...)...)
}

// token makes a token on the authority.
func (n *network) token(node mesh.NodeID, args ...string) string {
	n.t.Helper()
	out := n.machines[0].must(n.t, append([]string{"x0t", "token", "create", "--json", "--node", node.String()}, args...)...)
	var t api.Token
	if err := json.Unmarshal([]byte(out), &t); err != nil {
		n.t.Fatalf("x0t token create --json: %v: %s", err, out)
	}
	return t.Token
}

// join makes m a member through a neighbour that is one.
func (n *network) join(m *machine, members []*machine) {
	n.t.Helper()
	token := n.token(m.id)
	for _, via := range members {
		if a, ok := n.underlay(via, m); ok {
			m.must(n.t, "x0t", "join", "--via", netip.AddrPortFrom(a, port).String(), token)
			return
		}
	}
	n.t.Fatalf("%s has no neighbour that is a member", m.id)
}

// converged waits until the daemons of ms, of which the mesh then consists, agree on one topology with every cable
// between two of them.
func (n *network) converged(ms ...*machine) {
	n.t.Helper()
	limit := 30 * time.Second
	eventually(n.t, limit, "converge", func(ctx context.Context) error { return n.disagree(ctx, ms) })
	for _, m := range ms {
		s, err := m.client.Status(n.t.Context())
		if err != nil {
			n.t.Fatal(err)
		}
		m.addr = s.Address
	}
}

// disagree says what keeps ms from having converged.
func (n *network) disagree(ctx context.Context, ms []*machine) error {
	digest := ""
	for _, m := range ms {
		if m.daemon == nil || !m.daemon.running() {
			n.t.Fatalf("the daemon of %s has ended\n%s", m.id, tail(m.log(), 20))
		}
		s, err := m.client.Status(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.id, err)
		}
		links := 0
		for _, o := range ms {
			if _, ok := n.underlay(m, o); ok {
				links++
			}
		}
		if digest == "" {
			digest = s.LSDBDigest
		}
		switch {
		case s.LinksUp != links:
			return fmt.Errorf("%s has %d links up, not %d", m.id, s.LinksUp, links)
		case s.LSDBNodes != len(ms):
			return fmt.Errorf("%s knows %d nodes, not %d", m.id, s.LSDBNodes, len(ms))
		case s.LSDBDigest != digest:
			return fmt.Errorf("%s and %s hold different topologies", m.id, ms[0].id)
		}
	}
	return n.noPath(ctx, ms)
}

// noPath says between which of ms no path is known: agreement comes a moment before it.
func (n *network) noPath(ctx context.Context, ms []*machine) error {
	for _, m := range ms {
		peers, err := m.client.Peers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers {
			if len(p.Path) == 0 {
				return fmt.Errorf("%s knows no path to %s", m.id, p.Node)
			}
		}
	}
	return nil
}

// reach waits until every one of ms gets a packet from every other, application to application.
func (n *network) reach(limit time.Duration, ms ...*machine) {
	n.t.Helper()
	endpoints := make([]*endpoint, len(ms))
	for i, m := range ms {
		endpoints[i] = listen(n.t, m)
	}
	knockAll(n.t, limit, endpoints...)
	for _, e := range endpoints {
		e.close()
	}
}

// knockAll has every endpoint send to every other until something arrives.
func knockAll(t *testing.T, limit time.Duration, endpoints ...*endpoint) {
	t.Helper()
	var wg sync.WaitGroup
	for _, from := range endpoints {
		for _, to := range endpoints {
			if from != to {
				wg.Go(func() { from.knock(t, to, limit) })
			}
		}
	}
	wg.Wait()
}

// counters asks a machine's daemon for everything that it counts.
func (m *machine) counters(t *testing.T) api.Counters {
	t.Helper()
	c, err := m.client.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// status asks a machine's daemon how it is.
func (m *machine) status(t *testing.T) api.Status {
	t.Helper()
	s, err := m.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
