package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// lan is two network namespaces with two cables between them. The test's thread is in the near one.
type lan struct{ near, far int }

func newLAN(t *testing.T) lan {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespaces with it
	l := lan{far: newNamespace(t), near: newNamespace(t)}
	up(t, "lo") // package net takes a machine without ::1 for one without IPv6
	for i := range 2 {
		veth := netlink.NewLinkAttrs()
		veth.Name = fmt.Sprintf("near%d", i)
		far := fmt.Sprintf("far%d", i)
		check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: veth, PeerName: far}))
		peer, err := netlink.LinkByName(far)
		check(t, err)
		check(t, netlink.LinkSetNsFd(peer, l.far))
		up(t, veth.Name, fmt.Sprintf("10.0.%d.1/24", i), "fe80::1/64", fmt.Sprintf("fd00:%d::1/64", i))
		l.in(t, l.far, func() {
			up(t, far, fmt.Sprintf("10.0.%d.2/24", i), "fe80::2/64", fmt.Sprintf("fd00:%d::2/64", i))
		})
	}
	// One address of the far side is reached through both cables; the kernel prefers the first.
	l.in(t, l.far, func() { up(t, "lo", "10.9.9.9/32", "fd00:9::9/128") })
	for i := range 2 {
		near, err := netlink.LinkByName(fmt.Sprintf("near%d", i))
		check(t, err)
		for _, r := range [][2]string{{"10.9.9.9/32", "10.0.%d.2"}, {"fd00:9::9/128", "fd00:%d::2"}} {
			_, dst, _ := net.ParseCIDR(r[0])
			check(t, netlink.RouteAdd(&netlink.Route{
				LinkIndex: near.Attrs().Index, Dst: dst, Gw: net.ParseIP(fmt.Sprintf(r[1], i)), Priority: 10 + i,
			}))
		}
	}
	return l
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newNamespace(t *testing.T) int {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace here: %v", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

func (l lan) in(t *testing.T, ns int, f func()) {
	t.Helper()
	check(t, unix.Setns(ns, unix.CLONE_NEWNET))
	defer func() { check(t, unix.Setns(l.near, unix.CLONE_NEWNET)) }()
	f()
}

// up gives an interface its addresses, which serve at once, and sets it up.
func up(t *testing.T, name string, addrs ...string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	check(t, err)
	_ = netlink.LinkSetIP6AddrGenMode(link, 1) // none: the test gives them
	check(t, netlink.LinkSetUp(link))
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		check(t, err)
		a.Flags = unix.IFA_F_NODAD
		check(t, netlink.AddrAdd(link, a))
		local(t, link, a.IP)
	}
}

// local waits until the machine takes datagrams to an address of an interface. Of IPv6 the kernel makes the route to
// itself in a worker of its own, after it has confirmed the address; until then it answers that nobody is there.
func local(t *testing.T, link netlink.Link, ip net.IP) {
	t.Helper()
	if ip.IsLinkLocalUnicast() {
		return // the look below cannot name its zone; it is confirmed before the address that is added behind it
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		rs, err := netlink.RouteGet(ip)
		if err == nil && len(rs) == 1 && rs[0].Type == unix.RTN_LOCAL {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s of %s is not this machine's own after 5 s: %v, %v", ip, link.Attrs().Name, rs, err)
		}
	}
}

// With a zone a datagram goes by that interface and from an address of it, whatever route the kernel prefers; without
// one it goes by the preferred.
func TestZoneChoosesInterface(t *testing.T) {
	l := newLAN(t)
	for _, listen := range []string{"[::]:7420", "0.0.0.0:7421"} {
		near, _ := open(t, listen)
		var got <-chan frame
		l.in(t, l.far, func() { _, got = open(t, listen) })
		for _, tc := range []struct{ to, from string }{
			{"10.9.9.9", "10.0.0.1"},
			{"::ffff:10.9.9.9%near0", "10.0.0.1"},
			{"::ffff:10.9.9.9%near1", "10.0.1.1"},
			{"fd00:9::9", "fd00:0::1"},
			{"fd00:9::9%near0", "fd00:0::1"},
			{"fd00:9::9%near1", "fd00:1::1"},
			{"fe80::2%near0", "fe80::1%far0"},
			{"fe80::2%near1", "fe80::1%far1"},
			{"fe80::2%" + index(t, "near1"), "fe80::1%far1"},
		} {
			to := netip.AddrPortFrom(netip.MustParseAddr(tc.to), near.LocalAddr().Port())
			if to.Addr().Is6() && !to.Addr().Is4In6() && listen[0] != '[' {
				continue
			}
			if err := near.Send(to, []byte("0"+tc.to)); err != nil {
				t.Errorf("to %s: %v", to, err)
				continue
			}
			if f := receive(t, got, "of what was sent to ", to); f.from.Addr().String() != netip.MustParseAddr(tc.from).String() || string(f.data) != "0"+tc.to {
				t.Errorf("to %s: %q came from %s, want %s", to, f.data, f.from, tc.from)
			}
			if src, err := near.Source(to.Addr()); err != nil || !strings.HasPrefix(tc.from, src.WithZone("").String()) && src != netip.MustParseAddr(tc.from) {
				t.Errorf("source of %s: %s, %v, want %s", to, src, err, tc.from)
			}
			b, nobody := []byte("0"), netip.AddrPortFrom(to.Addr(), 9)
			if n := testing.AllocsPerRun(50, func() { _ = near.Send(nobody, b) }); n > 0.1 {
				t.Errorf("to %s: %.2f allocations per datagram", to, n)
			}
		}
	}
}

// A socket that names interfaces tells by which of them each datagram came; what comes by others has no zone.
func TestNamedInterfaces(t *testing.T) {
	l := newLAN(t)
	for _, listen := range []string{"[::]:7420", "0.0.0.0:7421"} {
		near, got := open(t, listen)
		check(t, near.NameInterfaces([]string{"near1"}))
		var far *Socket
		l.in(t, l.far, func() { far, _ = open(t, listen) })
		for _, tc := range []struct{ to, from string }{
			{"10.0.0.1", "10.0.0.2"},
			{"10.0.1.1", "::ffff:10.0.1.2%near1"},
			{"fd00:0::1", "fd00:0::2"},
			{"fd00:1::1", "fd00:1::2%near1"},
			{"fe80::1%far0", "fe80::2%near0"},
			{"fe80::1%far1", "fe80::2%near1"},
		} {
			to := netip.AddrPortFrom(netip.MustParseAddr(tc.to), near.LocalAddr().Port())
			if to.Addr().Is6() && listen[0] != '[' {
				continue
			}
			for range 2 {
				check(t, far.Send(to, []byte("0")))
				f := receive(t, got)
				if f.from.Addr() != netip.MustParseAddr(tc.from) {
					t.Errorf("to %s: from %s, want %s", to, f.from, tc.from)
				}
				if !mesh.SameUnderlay(netip.AddrPortFrom(netip.MustParseAddr(tc.from), near.LocalAddr().Port()), f.from) {
					t.Errorf("%s is not the same as %s", f.from, tc.from)
				}
			}
		}
	}
}

func index(t *testing.T, name string) string {
	t.Helper()
	link, err := netlink.LinkByName(name)
	check(t, err)
	return fmt.Sprint(link.Attrs().Index)
}

// An MTU is that of the interface which the zone names.
func TestPathMTUOfZone(t *testing.T) {
	newLAN(t)
	near1, err := netlink.LinkByName("near1")
	check(t, err)
	check(t, netlink.LinkSetMTU(near1, 1400))
	s, _ := open(t, "[::]:0")
	for to, want := range map[string]int{
		"10.9.9.9": 1500 - ipv4Overhead, "::ffff:10.9.9.9%near1": 1400 - ipv4Overhead,
		"fd00:9::9": 1500 - ipv6Overhead, "fd00:9::9%near1": 1400 - ipv6Overhead, "fe80::2%near1": 1400 - ipv6Overhead,
	} {
		if n, err := s.PathMTU(netip.AddrPortFrom(netip.MustParseAddr(to), 9)); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", to, n, err, want)
		}
	}
	if _, err := s.PathMTU(netip.MustParseAddrPort("[fe80::2%gone]:9")); !errors.Is(err, ErrNoInterface) {
		t.Errorf("an interface that is not there: %v", err)
	}
}

// An interface that goes is an error of its own, counted, and asked for now and then only; when it is back, under another
// index, it is sent by again.
func TestInterfaceGoesAndComes(t *testing.T) {
	newLAN(t)
	s, _ := open(t, "[::]:0")
	to := netip.MustParseAddrPort("[::ffff:10.0.1.2%near1]:7420")
	check(t, s.Send(to, []byte("0")))
	near1, err := netlink.LinkByName("near1")
	check(t, err)
	check(t, netlink.LinkDel(near1))
	for range 3 {
		err := s.Send(to, []byte("0"))
		if !errors.Is(err, ErrNoInterface) || !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "near1") {
			t.Fatalf("got %v", err)
		}
	}
	if c := s.Counters(); c["udp_no_interface"] != 3 || c["udp_send_errors"] != 3 {
		t.Errorf("counters %v", c)
	}
	if n, err := s.QUIC().WriteTo([]byte{0x40}, net.UDPAddrFromAddrPort(to)); n != 1 || err != nil {
		t.Errorf("to QUIC it must look like loss, got %d, %v", n, err)
	}
	if k := (*s.out.zones.known.Load())["near1"]; k.index != 0 || k.until < time.Second {
		t.Errorf("the absence is not remembered: %+v", k)
	}
	veth := netlink.NewLinkAttrs()
	veth.Name = "near1"
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: veth, PeerName: "far1"}))
	up(t, "far1")
	up(t, "near1", "10.0.1.1/24")
	s.out.zones.forget("near1") // as zoneLife does
	if err := s.Send(to, []byte("0")); err != nil {
		t.Errorf("after it is back: %v", err)
	}
}

func TestZonesAreBounded(t *testing.T) {
	s, _ := open(t, "127.0.0.1:0")
	z := s.out.zones
	for i := range 3 * maxZones {
		if got := z.index(fmt.Sprintf("gone%d", i)); got != 0 {
			t.Fatalf("gone%d has index %d", i, got)
		}
	}
	if n := len(*z.known.Load()); n > maxZones {
		t.Errorf("%d zones remembered", n)
	}
	if z.index("1") != 1 || z.index("lo") != 1 || z.index("99999999") != 0 || z.index(strings.Repeat("x", 99)) != 0 {
		t.Error("wrong index")
	}
}

func BenchmarkSendZoned(b *testing.B) {
	s, err := Listen(netip.MustParseAddrPort("[::]:0"), Handlers{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	to := mesh.InZone(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.LocalAddr().Port()), "lo")
	p := make([]byte, 1400)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(to, p); err != nil {
			b.Fatal(err)
		}
	}
}
