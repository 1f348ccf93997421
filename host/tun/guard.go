package tun

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Linux takes packets for any of its addresses from any interface (the weak end system model of RFC 1122 §3.3.4.2). So
// whoever shares a wire with this host could send to its mesh address past the mesh, without identity, and under any
// source address. A guard takes the address out of the table that all packets are looked up in, and puts it into one
// that only packets from the mesh interface and from the host itself are.
const (
	guardTable    = 0x783074 // "x0t"
	guardPriority = 20       // behind the host's other addresses, before everybody's rules
)

// guard keeps packets for addr out that come by another interface than name. What it cannot do it undoes.
func guard(name string, addr netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("tun: find interface %s: %w", name, explain(err))
	}
	if err := addGuard(name, localRoute(link, addr, guardTable), localRoute(link, addr, unix.RT_TABLE_LOCAL)); err != nil {
		unguard(name)
		return err
	}
	return nil
}

func addGuard(name string, inside, everywhere *netlink.Route) error {
	if err := netlink.RouteAdd(inside); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tun: add %s to table %#x: %w", inside.Dst, guardTable, explain(err))
	}
	for _, r := range guardRules(name) {
		if err := netlink.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("tun: add the rule %v: %w", r, explain(err))
		}
	}
	// Last: there is no moment at which the host does not know its address.
	if err := netlink.RouteDel(everywhere); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("tun: take %s out of the local table: %w", everywhere.Dst, explain(err))
	}
	return nil
}

// unguard removes the rules; the route goes with the interface.
func unguard(name string) {
	for _, r := range guardRules(name) {
		_ = netlink.RuleDel(r)
	}
}

func localRoute(link netlink.Link, addr netip.Prefix, table int) *netlink.Route {
	return &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(addr), Table: table, Type: unix.RTN_LOCAL}
}

// guardRules are for packets from the mesh and for the host's own, which the kernel looks up as if they came from lo.
func guardRules(name string) []*netlink.Rule {
	var rules []*netlink.Rule
	for _, from := range []string{name, "lo"} {
		r := netlink.NewRule()
		r.Family, r.IifName, r.Table, r.Priority = unix.AF_INET6, from, guardTable, guardPriority
		rules = append(rules, r)
	}
	return rules
}
