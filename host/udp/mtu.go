package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	ipv4Overhead = 20 + 8 // IP and UDP header
	ipv6Overhead = 40 + 8
	maxPayload   = 65535 - ipv4Overhead // the length field of IPv4 bounds it, whatever the interface says
)

// PathMTU returns the largest payload in bytes that one datagram to that address can carry unfragmented, as far as
// the kernel knows: the MTU of the route's interface, or less where a router on the way has told so. It sends
// nothing.
func (s *Socket) PathMTU(to netip.AddrPort) (int, error) {
	a := to.Addr().Unmap()
	if !a.IsValid() {
		return 0, fmt.Errorf("udp: path MTU to %s: not an address", to)
	}
	n, err := s.pathMTU(netip.AddrPortFrom(a, to.Port()))
	if err != nil {
		return 0, fmt.Errorf("udp: path MTU to %s: %w", to, err)
	}
	return n, nil
}

// pathMTU asks a socket of its own, connected to the address: only a connected one knows its route.
func (s *Socket) pathMTU(to netip.AddrPort) (int, error) {
	domain, level, option, overhead := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU, ipv6Overhead
	if to.Addr().Is4() {
		domain, level, option, overhead = unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU, ipv4Overhead
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if src := s.local.Addr(); !src.IsUnspecified() && src.Is4() == to.Addr().Is4() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, 0))); err != nil {
			return 0, os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return 0, os.NewSyscallError("connect", err)
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return min(mtu-overhead, maxPayload), nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zoneIndex(a.Addr().Zone())}
}

// zoneIndex is the interface index of a zone given by name or number; 0 = none.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
