package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/discovery"
	"x0tta6bl4/host/netmon"
	"x0tta6bl4/mesh"
)

// discoveryAgain is how often an interface that could not be opened for beacons is tried again, at least.
const discoveryAgain = 10 * time.Second

// openDiscovery prepares to look for neighbours on the interfaces that the configuration names; it begins when the node
// runs. With several interfaces the sockets also tell by which of them datagrams come.
func (d *Daemon) openDiscovery() error {
	c := d.opt.Config.Links
	d.sources.socket = d.sockets[0]
	if ways := c.Ways(); ways != nil {
		for _, s := range d.sockets {
			if err := s.NameInterfaces(ways); err != nil {
				return err
			}
		}
	}
	if len(c.Interfaces) == 0 {
		return nil
	}
	port := d.linkLocalPort()
	if port == 0 {
		d.log.Warn("no beacons: no socket takes links on link-local addresses", "listen", d.listening())
		d.warn("links.interfaces has no effect: links to neighbours that are found need a socket for every IPv6 address; " +
			`add "[::]:7420" to links.listen, and see that IPv6 is not disabled`)
		return nil
	}
	d.discovery = discovery.New(discovery.Config{
		Domain: d.domain, LinkPort: port, Log: d.log, Linked: d.linkedTo,
		Found: func(a netip.AddrPort, via string) { d.tryPost(node.Found{Addr: a, Via: via}) },
	})
	d.roaming.watch = append(d.roaming.watch, func(ch netmon.Change) { d.discovery.Use(d.beaconInterfaces(ch.State)) })
	return nil
}

// linkLocalPort returns the port at which this node takes links on every interface's link-local address, 0 for none.
func (d *Daemon) linkLocalPort() uint16 {
	for _, s := range d.sockets {
		if a := s.LocalAddr(); a.Addr().Is6() && a.Addr().IsUnspecified() {
			return a.Port()
		}
	}
	return 0
}

// discoveryLoop keeps beacons on the interfaces until ctx ends. Changes of the network come through roaming.watch.
func (d *Daemon) discoveryLoop(ctx context.Context) {
	if d.discovery == nil {
		return
	}
	t := time.NewTicker(discoveryAgain)
	defer t.Stop()
	for {
		d.discovery.Use(d.beaconInterfaces(d.network()))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// beaconInterfaces returns those interfaces that are to have beacons and can: of the machine's that are up, do multicast
// and have a link-local address, those named; or, where all are wanted, those that lead to neighbours: neither loopback,
// nor a tunnel, nor a port of a bridge, which has the beacons instead.
func (d *Daemon) beaconInterfaces(s netmon.State) (is []discovery.Interface) {
	all, names := d.opt.Config.Links.Beacons()
	for _, i := range s {
		wanted := all && !i.Loopback && i.Kind != "tun" && i.Kind != "tuntap" && i.Master == 0 || slices.Contains(names, i.Name)
		if wanted && i.Name != TunName && fitForBeacons(i) {
			is = append(is, discovery.Interface{Name: i.Name, Index: i.Index})
		}
	}
	return is
}

func fitForBeacons(i netmon.Interface) bool {
	return i.Carrier && i.Multicast && slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool {
		return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()
	})
}

// silentInterfaces says which of the interfaces named have no beacons, and why.
func (d *Daemon) silentInterfaces() (ws []string) {
	if d.discovery == nil {
		return nil
	}
	s := d.network()
	_, names := d.opt.Config.Links.Beacons()
	for _, name := range names {
		i, ok := s.Find(name)
		why := ""
		switch {
		case !ok:
			why = "there is no such interface now"
		case name == TunName:
			why = "it is the mesh's own"
		case !i.Carrier:
			why = "it is down or has no carrier"
		case !i.Multicast:
			why = "it does no multicast"
		case !fitForBeacons(i):
			why = "it has no IPv6 link-local address"
		default:
			continue
		}
		ws = append(ws, fmt.Sprintf("no neighbours are looked for on %s: %s", name, why))
	}
	return append(ws, d.discovery.Troubles()...)
}

// linkedTo reports whether a link to an address carries traffic.
func (d *Daemon) linkedTo(a netip.AddrPort) bool {
	return slices.ContainsFunc(d.table.Load().Links, func(l mesh.ForwardLink) bool { return l.Usable && l.Remote == a })
}

// byEachWay returns addresses once for each of the interfaces that are ways to neighbours; those with a zone, and all if
// there are no several ways, as they are.
func (d *Daemon) byEachWay(as []netip.AddrPort) []netip.AddrPort {
	ways := d.opt.Config.Links.Ways()
	if ways == nil {
		return as
	}
	var out []netip.AddrPort
	for _, a := range as {
		if a.Addr().Zone() != "" || a.Addr().IsLoopback() {
			out = append(out, a)
			continue
		}
		for _, w := range ways {
			out = append(out, mesh.InZone(a, w))
		}
	}
	return out
}
