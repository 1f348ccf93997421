package tun

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// What somebody takes from the interface is noticed, named, and can be given back; one that is down stays down.
func TestCheckAndRestore(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		harm func() error
		want error
	}{
		{"nothing", func() error { return nil }, nil},
		{"down", func() error { return netlink.LinkSetDown(link) }, ErrDown},
		{"up again, but empty", func() error { return netlink.LinkSetUp(link) }, ErrBare},
		{"without route", func() error {
			return netlink.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(domain)})
		}, ErrBare},
		{"without address", func() error { return netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(own)}) }, ErrBare},
	} {
		if err := tc.harm(); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if err := d.Check(); !errors.Is(err, tc.want) {
			t.Errorf("%s: Check says %v, not %v", tc.name, err, tc.want)
		}
		if errors.Is(tc.want, ErrDown) {
			if err := d.Restore(); !errors.Is(err, ErrDown) {
				t.Errorf("%s: Restore says %v", tc.name, err)
			}
			continue
		}
		if err := d.Restore(); err != nil {
			t.Errorf("%s: Restore: %v", tc.name, err)
		}
		if err := d.Check(); err != nil {
			t.Errorf("%s: after Restore: %v", tc.name, err)
		}
	}
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: own.Addr().AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteToUDP([]byte("ping"), &net.UDPAddr{IP: net.ParseIP("fd00:1:2::2"), Port: 9}); err != nil {
		t.Fatal(err)
	}
	if p := readUDP(t, d); string(p[virtio+48:]) != "ping" {
		t.Errorf("packet %x", p)
	}
	if routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, localRoute(link, own, 255), netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST); err != nil || len(routes) != 0 {
		t.Errorf("after Restore the address can be reached past the mesh: %v, %v", routes, err)
	}
}

// The kernel makes the route to an address that is given back some time after it took the address. Whenever that is, the
// address cannot be reached past the mesh afterwards.
func TestRestoredAddressStaysGuarded(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(own)}); err != nil {
			t.Fatal(err)
		}
		if err := d.Restore(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i%4) * time.Millisecond) // for the kernel's worker
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, localRoute(link, own, 255), netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		if err != nil || len(routes) != 0 {
			t.Fatalf("round %d: in the local table: %v, %v", i, routes, err)
		}
	}
}

// Somebody deletes the interface: a Read that waits ends at once, and says what to do.
func TestDeletedInterface(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		for b := make([]byte, 2048); ; {
			if _, err := d.Read(b); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrGone) {
		t.Errorf("Read says %v", err)
	}
	if err := d.Check(); err == nil {
		t.Error("Check finds nothing wrong")
	}
}

// The address that the route is asked for is never the node's own, which goes another way.
func TestElsewhere(t *testing.T) {
	for _, addr := range []string{"fd00:1:2::1/128", "fd00:1:2::2/128"} {
		p := netip.MustParsePrefix(addr)
		if got := elsewhere(domain, p); got == p.Addr() || !domain.Contains(got) {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
