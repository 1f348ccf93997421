package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const addrGenNone = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h

// The kernel's large packets of TCP are cut short so that the frames made of one still leave in one call: 45 frames, with all the
// labels that a path can have, are just below the 64 KiB of UDP. A packet that is a little longer would cost two calls, and
// wake the neighbour twice.
const (
	largeSegments = 45
	tcpFront      = 40 + 20   // of each segment, that is not cut
	tcpSpare      = 321 + 179 // what TCP leaves free of the size it is told (MAX_TCP_HEADER), in any configuration, and less than a segment
)

// largeSize returns the size that large packets are to have on an interface of some MTU.
func largeSize(mtu int) int { return min(largeSegments*(mtu-tcpFront)+tcpSpare, 1<<16) }

// setup configures the interface. Order matters: the route needs the interface up, and the address must be there
// first, so that the kernel prefers it as source.
func setup(name string, addr, prefix netip.Prefix, mtu int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("tun: find interface %s: %w", name, explain(err))
	}
	quieten(name, link)
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("tun: set MTU %d of %s: %w", mtu, name, explain(err))
	}
	_ = netlink.LinkSetGSOMaxSize(link, largeSize(mtu)) // where the kernel does not let (before Linux 4.16) it costs a call

	// No duplicate address detection: nobody else is on this link, and the address must serve at once.
	a := &netlink.Addr{IPNet: ipNet(addr), Flags: unix.IFA_F_NODAD}
	err = netlink.AddrAdd(link, a)
	fresh := err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tun: add address %s to %s (is IPv6 disabled on this host?): %w", addr, name, explain(err))
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("tun: set %s up: %w", name, explain(err))
	}
	err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(prefix.Masked())})
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tun: route %s to %s: %w", prefix.Masked(), name, ErrRoute)
	}
	if err != nil {
		return fmt.Errorf("tun: route %s to %s: %w", prefix.Masked(), name, explain(err))
	}
	return awaitLocal(link, addr, fresh)
}

// awaitLocal waits until the host takes packets for addr as its own: the kernel installs an address that is fresh in a
// work queue, some time after it has accepted it, and drops what comes before.
func awaitLocal(link netlink.Link, addr netip.Prefix, fresh bool) error {
	for range 1000 {
		if isLocal(link, addr, fresh) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("tun: address %s on %s does not become active (is IPv6 disabled on this host?)", addr, link.Attrs().Name)
}

// isLocal reports whether the host knows addr as its own. A fresh one must be in the local table: the guard's table may
// have it of an earlier time, and a guard that came before the kernel's route would leave that in place.
func isLocal(link netlink.Link, addr netip.Prefix, fresh bool) bool {
	if fresh {
		rs, err := netlink.RouteListFiltered(netlink.FAMILY_V6, localRoute(link, addr, unix.RT_TABLE_LOCAL), netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		return err == nil && len(rs) > 0
	}
	rs, err := netlink.RouteGet(addr.Addr().AsSlice())
	return err == nil && len(rs) > 0 && rs[0].Type == unix.RTN_LOCAL
}

// quieten allows IPv6 on the interface where the host disables it for new ones, and stops the kernel from inventing
// a link-local address and soliciting routers with it. The device works without either, so failure is no error.
func quieten(name string, link netlink.Link) {
	_ = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6"), []byte("0"), 0)
	_ = netlink.LinkSetIP6AddrGenMode(link, addrGenNone)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
