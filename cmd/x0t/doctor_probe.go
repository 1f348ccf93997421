package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machine is what the doctor asks a system. Files are read below root, so that a test can put others there.
type machine struct {
	root string // "" = the real one
	uid  int

	now      func() time.Time
	synced   func() (bool, error)                                         // whether something keeps the clock right
	openTUN  func() error                                                 // opens and closes /dev/net/tun
	device   func(name string) bool                                       // whether there is a network interface of that name
	rules    func() error                                                 // whether the kernel has policy routing for IPv6
	segments func() error                                                 // whether UDP can send many datagrams by one call
	bind     func(network string, at netip.AddrPort) error                // "udp" or "tcp"
	route    func(to netip.Addr) (mtu int, dev string, err error)         // what the kernel's routing says
	lookup   func(ctx context.Context, host string) ([]netip.Addr, error) // the system's resolver
	space    func(path string) (free uint64, readOnly bool, err error)
}

func (m machine) read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(m.root+"/", path)) // #nosec G304 -- paths are ours
	return string(bytes.TrimSpace(b)), err
}

func systemMachine() machine {
	return machine{
		uid: os.Geteuid(), now: time.Now, synced: clockSynced, openTUN: openTUN, device: hasDevice,
		rules:    func() error { _, err := netlink.RuleList(netlink.FAMILY_V6); return err },
		segments: udpSegments, bind: tryBind, route: routeTo, space: spaceOn,
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
	}
}

// clockSynced asks the kernel whether a time service disciplines the clock (adjtimex(2)).
func clockSynced() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, err
}

func openTUN() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func hasDevice(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

func udpSegments() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return err
}

// tryBind takes an address and gives it back. It is taken as the daemon takes it, so that what would refuse that refuses
// this.
func tryBind(network string, at netip.AddrPort) error {
	if network == "udp" {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	return l.Close()
}

func routeTo(to netip.Addr) (int, string, error) {
	options := &netlink.RouteGetOptions{}
	if zone := to.Zone(); zone != "" {
		options.Oif, to = zone, to.WithZone("")
	}
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), options)
	if err != nil {
		return 0, "", err
	}
	if len(routes) == 0 {
		return 0, "", errors.New("no route")
	}
	if kind := routes[0].Type; kind != 0 && kind != unix.RTN_UNICAST && kind != unix.RTN_LOCAL {
		return 0, "", fmt.Errorf("the route refuses packets (type %d)", kind)
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return 0, "", err
	}
	mtu := link.Attrs().MTU
	if routes[0].MTU > 0 {
		mtu = min(mtu, routes[0].MTU)
	}
	return mtu, link.Attrs().Name, nil
}

func spaceOn(path string) (uint64, bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, false, err
	}
	return st.Bavail * uint64(max(st.Bsize, 0)), st.Flags&unix.ST_RDONLY != 0, nil // #nosec G115 -- not negative
}

// onlyReads is a state directory that is looked at and not opened: a daemon may hold it.
type onlyReads string

func (d onlyReads) Read(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(d), name)) // #nosec G304 -- names are those of host/authority
}

func (d onlyReads) Exists(name string) bool {
	_, err := os.Stat(filepath.Join(string(d), name))
	return err == nil
}

func (d onlyReads) Write(string, []byte) error { return fs.ErrPermission }

// alive reports whether a process of that number runs.
func alive(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && n > 0 && !errors.Is(unix.Kill(n, 0), unix.ESRCH)
}
