package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// segment is a switch with machines at it. Each reaches it by an interface of one name, which has the link-local address
// that the kernel gives it and an IPv4 address.
type segment struct {
	fabric *machine // the switch, where no daemon runs
	iface  string
	subnet int
	ports  int
}

func newSegment(t *testing.T, iface string, subnet int) *segment {
	t.Helper()
	s := &segment{fabric: machineIn(t, "switch-"+iface), iface: iface, subnet: subnet}
	if err := s.fabric.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "bridge"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		return setUp("bridge")
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func setUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// attach plugs a machine in and returns its address there. It returns when the link-local address is usable, which takes
// the kernel a second or two.
func (s *segment) attach(t *testing.T, m *machine) netip.Addr {
	t.Helper()
	s.ports++
	port := fmt.Sprintf("port%d", s.ports)
	if err := s.fabric.do(func() error {
		bridge, err := netlink.LinkByName("bridge")
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = port, bridge.Attrs().Index
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: s.iface, PeerNamespace: netlink.NsFd(int(m.net.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return setUp(port)
	}); err != nil {
		t.Fatal(err)
	}
	a := netip.AddrFrom4([4]byte{10, 30, byte(s.subnet), byte(s.ports)})
	if err := m.do(func() error { return addressUp(s.iface, netip.PrefixFrom(a, 24)) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "have a link-local address on "+m.id.String(), func(context.Context) error {
		return m.do(func() error { return linkLocalReady(s.iface) })
	})
	return a
}

func linkLocalReady(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	as, err := netlink.AddrList(l, netlink.FAMILY_V6)
	if err != nil {
		return err
	}
	const tentative = 0x40
	if !slices.ContainsFunc(as, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() && a.Flags&tentative == 0 }) {
		return fmt.Errorf("only %v", as)
	}
	return nil
}

// unaddress takes a machine's IPv4 address on the segment away.
func (s *segment) unaddress(t *testing.T, m *machine) {
	t.Helper()
	if err := m.do(func() error {
		l, err := netlink.LinkByName(s.iface)
		if err != nil {
			return err
		}
		as, err := netlink.AddrList(l, netlink.FAMILY_V4)
		for i := range as {
			if err == nil {
				err = netlink.AddrDel(l, &as[i])
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// linked waits until a machine has a link that is up to each of others, which pass, and returns its links.
func (m *machine) linked(t *testing.T, limit time.Duration, pass func(api.Link) bool, others ...*machine) []api.Link {
	t.Helper()
	var links []api.Link
	eventually(t, limit, fmt.Sprintf("be linked on %s", m.id), func(ctx context.Context) (err error) {
		if links, err = m.client.Links(ctx); err != nil {
			return err
		}
		for _, o := range others {
			if !slices.ContainsFunc(links, func(l api.Link) bool { return l.Neighbour == o.id && l.State == mesh.LinkUp && pass(l) }) {
				return fmt.Errorf("no such link to %s among %v", o.id, links)
			}
		}
		return nil
	})
	return links
}

func byLinkLocal(zone string) func(api.Link) bool {
	return func(l api.Link) bool { return l.Remote.Addr().IsLinkLocalUnicast() && l.Remote.Addr().Zone() == zone }
}

const beaconsOnLAN = "links:\n  interfaces: [lan]\n"

// Three members of one domain, whose machines have nothing configured and no address but what IPv6 gives every
// interface, find each other on their segment; those of another domain find each other there as well, and not us.
func TestFoundByBeacons(t *testing.T) {
	need(t)
	lan := newSegment(t, "lan", 0)
	ours, theirs := foundDomain(t, lan, "ours.mesh", "alpha", "beta", "gamma"), foundDomain(t, lan, "theirs.mesh", "delta", "epsilon")
	for _, m := range slices.Concat(ours, theirs) {
		lan.unaddress(t, m) // also what the join told of members is of no use now
	}
	began := map[string]time.Time{}
	for _, m := range slices.Concat(ours, theirs) {
		began[m.id.String()] = time.Now()
		m.up(t)
	}
	for _, group := range [][]*machine{ours, theirs} {
		for _, m := range group {
			others := slices.DeleteFunc(slices.Clone(group), func(o *machine) bool { return o == m })
			links := m.linked(t, 10*time.Second, byLinkLocal("lan"), others...)
			for _, l := range links {
				if l.State == mesh.LinkUp {
					t.Logf("%s → %s %s: up %s after its start", m.id, l.Neighbour, l.Remote, l.Since.Sub(began[m.id.String()]).Round(time.Millisecond))
				}
			}
			up := slices.DeleteFunc(links, func(l api.Link) bool { return l.State != mesh.LinkUp })
			if len(up) != len(others) {
				t.Errorf("%s has %d links up, not %d: %v", m.id, len(up), len(others), up)
			}
		}
	}
	found := uint64(0)
	for _, m := range ours {
		eventually(t, 10*time.Second, "hear the others' beacons", func(ctx context.Context) error {
			c, err := m.client.Counters(ctx)
			if err == nil && (c["beacon_foreign"] == 0 || c["beacon_member"] == 0 || c["beacon_sent"] == 0) {
				err = fmt.Errorf("%s: foreign %d, member %d, sent %d", m.id, c["beacon_foreign"], c["beacon_member"], c["beacon_sent"])
			}
			return err
		})
		if r := m.status(t).Refused; len(r) != 0 {
			t.Errorf("%s refused %v: a beacon of another domain must not lead to a handshake", m.id, r)
		}
		found += m.counters(t)["beacon_found"]
	}
	if found == 0 {
		t.Error("nobody was found by a beacon")
	}
	gamma := ours[2]
	gamma.stop(t)
	at := time.Now()
	gamma.up(t)
	for _, l := range gamma.linked(t, 10*time.Second, byLinkLocal("lan"), ours[:2]...) {
		t.Logf("after a restart: %s %s up %s after the start", l.Neighbour, l.Remote, l.Since.Sub(at).Round(time.Millisecond))
	}
}

// foundDomain makes machines on a segment members of one domain; none of them runs afterwards.
func foundDomain(t *testing.T, lan *segment, domain string, names ...string) (ms []*machine) {
	t.Helper()
	var first netip.Addr
	for i, name := range names {
		m := machineIn(t, name)
		a := lan.attach(t, m)
		ms = append(ms, m)
		m.configure(t, beaconsOnLAN)
		if i == 0 {
			first = a
			m.must(t, "x0t", "init", "--trust-domain", domain, "--name", name)
			if len(names) == 1 {
				return ms
			}
			m.up(t)
			eventually(t, 10*time.Second, "answer", func(ctx context.Context) error {
				_, err := m.client.Status(ctx)
				return err
			})
			continue
		}
		n := &network{t: t, machines: ms}
		m.must(t, "x0t", "join", "--via", netip.AddrPortFrom(first, port).String(), n.token(m.id))
	}
	ms[0].stop(t)
	return ms
}

// An outsider who knows the name of the domain can make itself found, and that is all: its handshake is refused.
func TestForgedBeacon(t *testing.T) {
	need(t)
	lan := newSegment(t, "lan", 0)
	alpha := foundDomain(t, lan, "ours.mesh", "alpha")[0]
	alpha.up(t)
	mallory := foundDomain(t, lan, "ours.mesh", "mallory")[0] // the same name, of another authority
	mallory.up(t)
	eventually(t, 10*time.Second, "refuse the outsider", func(ctx context.Context) error {
		s, err := alpha.client.Status(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(s.Refused, func(r api.Refusal) bool { return strings.HasPrefix(r.Remote, "[fe80::") }) {
			return fmt.Errorf("refused: %v", s.Refused)
		}
		return nil
	})
	if s := alpha.status(t); s.LinksUp != 0 {
		t.Errorf("%d links", s.LinksUp)
	}
	a, m := alpha.counters(t), mallory.counters(t)
	if a["beacon_member"] == 0 || a["beacon_foreign"] != 0 || a["beacon_found"]+m["beacon_found"] == 0 { // either may have dialled
		t.Errorf("beacons of alpha %d, foreign %d; found by alpha %d, by mallory %d",
			a["beacon_member"], a["beacon_foreign"], a["beacon_found"], m["beacon_found"])
	}
}

// Two interfaces lead to one neighbour, which has one address for both. There is a link by each; when one interface is
// cut the other carries on, and when it is back both do.
func TestTwoInterfacesOneAddress(t *testing.T) {
	need(t, "ping6")
	one, two := newSegment(t, "lan", 1), newSegment(t, "wlan", 2)
	alpha, beta := machineIn(t, "alpha"), machineIn(t, "beta")
	home := netip.MustParseAddr("10.30.9.9") // beta's, on its loopback interface
	for _, s := range []*segment{one, two} {
		s.attach(t, alpha)
		gw := s.attach(t, beta)
		if err := alpha.do(func() error { return routeVia(home, gw, s) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := beta.do(func() error { return addressUp("lo", netip.PrefixFrom(home, 32)) }); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(home, port)
	// Without beacons, which would make links of their own: 0.0.0.0 is IPv4 only.
	alpha.configure(t, fmt.Sprintf("links:\n  listen: [\"0.0.0.0:%d\"]\n  interfaces: [lan, wlan]\n  neighbours: [%q]\n", port, to))
	beta.configure(t, fmt.Sprintf("links:\n  listen: [\"0.0.0.0:%d\"]\n  interfaces: [lan, wlan]\n", port))
	beta.must(t, "x0t", "init", "--trust-domain", "e2e.mesh", "--name", "beta")
	beta.up(t)
	eventually(t, 10*time.Second, "answer", func(ctx context.Context) error { _, err := beta.client.Status(ctx); return err })
	n := &network{t: t, machines: []*machine{beta}}
	alpha.must(t, "x0t", "join", "--via", to.String(), n.token(alpha.id))
	alpha.up(t)
	by := func(zone string) func(api.Link) bool { // beta answers from its address on the segment: a link may move there
		return func(l api.Link) bool { return l.Remote.Addr().Zone() == zone }
	}
	for _, zone := range []string{"lan", "wlan"} {
		alpha.linked(t, 15*time.Second, by(zone), beta)
	}
	addr := beta.status(t).Address
	alpha.must(t, "ping6", "-c", "2", "-i", "0.1", "-W", "5", addr.String())
	if out := alpha.must(t, "x0t", "links"); !strings.Contains(out, "%lan") || !strings.Contains(out, "%wlan") {
		t.Errorf("x0t links does not show both interfaces:\n%s", out)
	}
	for _, cut := range []*segment{one, two} {
		other := one
		if cut == one {
			other = two
		}
		cut.bridge(t, netlink.LinkSetDown)
		out := alpha.must(t, "ping6", "-c", "30", "-i", "0.1", "-W", "2", addr.String())
		t.Logf("%s cut: %s", cut.iface, lossOf(out))
		if strings.Contains(out, "100% packet loss") {
			t.Errorf("%s cut: %s", cut.iface, out)
		}
		eventually(t, 10*time.Second, "see "+cut.iface+" down", func(ctx context.Context) error {
			links, err := alpha.client.Links(ctx)
			if err != nil {
				return err
			}
			for _, l := range links {
				if by(cut.iface)(l) && l.State == mesh.LinkUp {
					return fmt.Errorf("%s at %s is up", l.Neighbour, l.Remote)
				}
			}
			return nil
		})
		alpha.linked(t, time.Second, by(other.iface), beta)
		cut.bridge(t, netlink.LinkSetUp)
		alpha.linked(t, 20*time.Second, by(cut.iface), beta)
		// A connection to another address of beta may be there until it is known to be that of a link that exists.
		eventually(t, 5*time.Second, "have one link by each interface", func(ctx context.Context) error {
			links, err := alpha.client.Links(ctx)
			if err == nil && len(links) != 2 {
				err = fmt.Errorf("%d links: %v", len(links), links)
			}
			return err
		})
	}
}

func routeVia(dst, gw netip.Addr, s *segment) error {
	l, err := netlink.LinkByName(s.iface)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netlink.NewIPNet(dst.AsSlice()), Gw: gw.AsSlice(), Priority: s.subnet})
}

// bridge does something to the switch.
func (s *segment) bridge(t *testing.T, f func(netlink.Link) error) {
	t.Helper()
	s.fabric.device(t, "bridge", f)
}

func lossOf(ping string) string {
	for l := range strings.Lines(ping) {
		if strings.Contains(l, "packet loss") {
			return strings.TrimSpace(l)
		}
	}
	return "no summary"
}
