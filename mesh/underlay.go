package mesh

import "net/netip"

// An underlay address may carry a zone: the interface by which it is sent to. Link-local addresses always do. Any other
// may, where a node has several ways to it; IPv4 then is in its v4-mapped form (::ffff:192.0.2.1%wwan0), since netip keeps
// no zone on plain IPv4.

// PlainUnderlay returns a in the one form in which it is compared: IPv4 as IPv4, unless a zone needs the mapped form.
func PlainUnderlay(a netip.AddrPort) netip.AddrPort {
	if ip := a.Addr(); ip.Is4In6() && ip.Zone() == "" {
		return netip.AddrPortFrom(ip.Unmap(), a.Port())
	}
	return a
}

// InZone returns a as an address that is sent to by an interface; an empty zone gives the address without one.
func InZone(a netip.AddrPort, zone string) netip.AddrPort {
	ip := a.Addr()
	switch {
	case zone == "":
		ip = ip.WithZone("").Unmap()
	case ip.Is4():
		ip = netip.AddrFrom16(ip.As16()).WithZone(zone)
	default:
		ip = ip.WithZone(zone)
	}
	return netip.AddrPortFrom(ip, a.Port())
}

// SameUnderlay reports whether a datagram's source is a link's remote address. A zone that the source lacks is ignored.
// It does not allocate.
func SameUnderlay(link, source netip.AddrPort) bool {
	if link == source {
		return true
	}
	l, s := link.Addr(), source.Addr()
	if s.Zone() == "" {
		l = l.WithZone("")
	}
	return link.Port() == source.Port() && l.Unmap() == unmapped(s)
}

func unmapped(a netip.Addr) netip.Addr {
	if a.Zone() != "" {
		return a
	}
	return a.Unmap()
}
