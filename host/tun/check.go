package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What others can do to an interface while it is open.
var (
	ErrDown = errors.New("the interface is down: set it up again with \"ip link set dev NAME up\"")
	ErrBare = errors.New("the interface has lost its address or its route")
)

// Check returns nil if packets can pass the interface, else ErrDown or ErrBare, wrapped, or why it cannot be asked. It
// asks the kernel three questions.
func (d *Device) Check() error {
	link, err := netlink.LinkByName(d.name)
	if err != nil {
		return fmt.Errorf("tun: find interface %s: %w", d.name, explain(err))
	}
	if link.Attrs().RawFlags&unix.IFF_UP == 0 {
		return fmt.Errorf("tun: %s: %w", d.name, ErrDown)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("tun: addresses of %s: %w", d.name, explain(err))
	}
	if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(d.addr.Addr().AsSlice()) }) {
		return fmt.Errorf("tun: %s: %w: %s", d.name, ErrBare, d.addr)
	}
	// The address is the host's own and would be found by another table, so the route is asked for another one.
	routes, err := netlink.RouteGet(d.other.AsSlice())
	if err != nil || len(routes) == 0 || routes[0].LinkIndex != link.Attrs().Index {
		return fmt.Errorf("tun: %s: %w: %s", d.name, ErrBare, d.prefix.Masked())
	}
	return nil
}

// Restore gives the interface back what Open gave it. It does not set one up that somebody has set down.
func (d *Device) Restore() error {
	link, err := netlink.LinkByName(d.name)
	if err != nil {
		return fmt.Errorf("tun: find interface %s: %w", d.name, explain(err))
	}
	if link.Attrs().RawFlags&unix.IFF_UP == 0 {
		return fmt.Errorf("tun: %s: %w", d.name, ErrDown)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(d.prefix.Masked())}
	if err := netlink.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("tun: route %s to %s anew: %w", d.prefix.Masked(), d.name, explain(err))
	}
	if err := setup(d.name, d.addr, d.prefix, d.mtu); err != nil {
		return err
	}
	if err := guard(d.name, d.addr); d.guarded && err != nil {
		return err
	}
	return nil
}

// elsewhere returns an address of the prefix that is not addr.
func elsewhere(prefix, addr netip.Prefix) netip.Addr {
	first := prefix.Masked().Addr().Next()
	if first == addr.Addr() {
		return first.Next()
	}
	return first
}
