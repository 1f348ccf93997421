package udp

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

const (
	ipv4Overhead = 20 + 8 // IP and UDP header
	ipv6Overhead = 40 + 8
	maxPayload   = 65535 - ipv4Overhead // the length field of IPv4 bounds it, whatever the interface says
)

// PathMTU returns the largest payload in bytes that one datagram to that address can carry unfragmented, as far as
// the kernel knows: the MTU of the route's interface, or less where a router on the way has told so. A zone in the
// address is the interface to go by, and ErrNoInterface if there is none of that name. It sends nothing.
func (s *Socket) PathMTU(to netip.AddrPort) (int, error) {
	to = mesh.PlainUnderlay(to)
	if !to.IsValid() {
		return 0, fmt.Errorf("udp: path MTU to %s: not an address", to)
	}
	n, err := s.pathMTU(to)
	if err != nil {
		return 0, fmt.Errorf("udp: path MTU to %s: %w", to, err)
	}
	return n, nil
}

// Source returns the address of this machine that datagrams to another would leave from, and that goes by the same
// interface if the address has a zone. It sends nothing.
func (s *Socket) Source(to netip.Addr) (netip.Addr, error) {
	fd, err := s.connected(mesh.PlainUnderlay(netip.AddrPortFrom(to, discard)), netip.Addr{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("udp: source of what is sent to %s: %w", to, err)
	}
	defer unix.Close(fd)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("udp: source of what is sent to %s: %w", to, os.NewSyscallError("getsockname", err))
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr), nil
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).Unmap(), nil
	}
	return netip.Addr{}, nil
}

const discard = 9 // a port must be given and does not matter

func (s *Socket) pathMTU(to netip.AddrPort) (int, error) {
	level, option, overhead := unix.IPPROTO_IPV6, unix.IPV6_MTU, ipv6Overhead
	if to.Addr().Unmap().Is4() {
		level, option, overhead = unix.IPPROTO_IP, unix.IP_MTU, ipv4Overhead
	}
	var from netip.Addr
	if src := s.local.Addr(); !src.IsUnspecified() {
		from = src
	}
	fd, err := s.connected(to, from)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return min(mtu-overhead, maxPayload), nil
}

// connected returns a socket of its own, connected to the address: only a connected one knows its route. A from that is
// not zero, and of the same family, is the address to go from.
func (s *Socket) connected(to netip.AddrPort, from netip.Addr) (int, error) {
	ip, name := to.Addr(), to.Addr().Zone()
	zone := uint32(0)
	if name != "" {
		if zone = s.out.zones.index(name); zone == 0 {
			return -1, noInterface(name)
		}
		ip = ip.WithZone("").Unmap()
	}
	domain := unix.AF_INET6
	if ip.Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := connect(fd, netip.AddrPortFrom(ip, to.Port()), from, zone); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func connect(fd int, to netip.AddrPort, from netip.Addr, zone uint32) error {
	if zone != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, int(zone)); err != nil {
			return os.NewSyscallError("set SO_BINDTOIFINDEX", err)
		}
	}
	if from.IsValid() && from.Is4() == to.Addr().Is4() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0), zone)); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	return os.NewSyscallError("connect", unix.Connect(fd, sockaddr(to, zone)))
}

func sockaddr(a netip.AddrPort, zone uint32) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone}
}
