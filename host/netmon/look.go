package netmon

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// unfit are addresses that are not to be used for anything new (RFC 4862 §5.5.4), or not yet.
const unfit = unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// Look returns the machine's network as it is now.
func (m *Monitor) Look() (State, error) {
	links, err := m.look.LinkList()
	if err != nil {
		return nil, fmt.Errorf("netmon: list the interfaces: %w", err)
	}
	addrs, err := m.look.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("netmon: list the addresses: %w", err)
	}
	s := make(State, 0, len(links))
	for _, l := range links {
		s = append(s, interfaceOf(l, addrs))
	}
	slices.SortFunc(s, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	return s, nil
}

func interfaceOf(l netlink.Link, addrs []netlink.Addr) Interface {
	at := l.Attrs()
	i := Interface{
		Index: at.Index, Name: at.Name, Master: at.MasterIndex, Kind: l.Type(),
		Up: at.RawFlags&unix.IFF_UP != 0, Carrier: at.RawFlags&unix.IFF_UP != 0 && at.RawFlags&unix.IFF_LOWER_UP != 0,
		Loopback: at.Flags&net.FlagLoopback != 0, Multicast: at.Flags&net.FlagMulticast != 0,
	}
	for _, a := range addrs {
		if a.LinkIndex != at.Index || a.Flags&unfit != 0 || a.IPNet == nil {
			continue
		}
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			i.Addresses = append(i.Addresses, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	slices.SortFunc(i.Addresses, netip.Prefix.Compare)
	return i
}
