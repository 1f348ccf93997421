// Package tun gives the node its network device: a layer 3 TUN interface that holds the node's mesh address and
// the route of the mesh prefix.
package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The reasons why a device cannot be opened, or ends, that an operator can act upon.
var (
	ErrNoTun      = errors.New("no TUN support: load it with \"modprobe tun\", or give the container the device /dev/net/tun")
	ErrPermission = errors.New("not permitted: run as root or with CAP_NET_ADMIN and access to /dev/net/tun")
	ErrBusy       = errors.New("interface in use: stop the program that holds it or configure another name")
	ErrRoute      = errors.New("the mesh prefix is already routed elsewhere: remove that route")
	ErrGone       = errors.New("the interface was deleted by another program: find out which, and start x0t again")
)

const devicePath = "/dev/net/tun"

// Device is an open TUN interface with offload: what it carries are packets of up to 64 KiB, each behind a virtio header
// (see package segment). The interface vanishes when the Device is closed. Its methods may be called from any goroutine.
type Device struct {
	file    *os.File
	raw     syscall.RawConn
	writes  sync.Pool // of *writeCall
	reads   sync.Pool // of *readCall
	udp     bool      // large UDP packets, too
	name    string
	guarded bool
	exposed error // why it is not

	addr, prefix netip.Prefix // as Open was told
	mtu          int
	other        netip.Addr // of the prefix: what the route is asked for
}

// Open makes the interface name ("" or a pattern like "x0t%d" lets the kernel number it), gives it the address
// addr (the node's own /128) and the route of prefix (the domain's /48), the MTU in bytes, and sets it up. The address is reached through it only:
// see Exposed.
func Open(name string, addr, prefix netip.Prefix, mtu int) (*Device, error) {
	if err := validate(addr, prefix, mtu); err != nil {
		return nil, err
	}
	d, err := create(name)
	if err != nil {
		return nil, err
	}
	if err := setup(d.name, addr, prefix, mtu); err != nil {
		d.Close()
		return nil, err
	}
	d.addr, d.prefix, d.mtu, d.other = addr, prefix, mtu, elsewhere(prefix, addr)
	d.exposed = guard(d.name, addr)
	d.guarded = d.exposed == nil
	return d, nil
}

func validate(addr, prefix netip.Prefix, mtu int) error {
	switch {
	case !addr.IsValid() || !addr.Addr().Is6() || addr.Addr().Is4In6():
		return fmt.Errorf("tun: address %s is not IPv6", addr)
	case !prefix.IsValid() || !prefix.Contains(addr.Addr()):
		return fmt.Errorf("tun: address %s is outside of the prefix %s", addr, prefix)
	case mtu < 1280 || mtu > 65535:
		return fmt.Errorf("tun: MTU %d: IPv6 needs 1280 to 65535 bytes (RFC 8200 §5)", mtu)
	}
	return nil
}

// create opens and attaches the device. The descriptor joins Go's poller only once attached: before, it polls as
// an error for ever.
func create(name string) (*Device, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("tun: interface name %q: use at most %d bytes", name, unix.IFNAMSIZ-1)
	}
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tun: %w", explain(&fs.PathError{Op: "open", Path: devicePath, Err: err}))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun: create interface %q: %w", name, explain(err))
	}
	d := &Device{file: os.NewFile(uintptr(fd), devicePath), name: ifr.Name()}
	d.writes.New = func() any { return newWriteCall() }
	d.reads.New = func() any { return newReadCall() }
	if d.udp, err = offload(fd); err == nil {
		d.raw, err = d.file.SyscallConn()
	}
	if err != nil {
		d.file.Close()
		return nil, fmt.Errorf("tun: interface %q: %w", name, err)
	}
	return d, nil
}

// explain puts the sentinel that tells what to do in front of an error of the system.
func explain(err error) error {
	for _, e := range []struct {
		cause  error
		reason error
	}{
		{fs.ErrNotExist, ErrNoTun}, {unix.ENODEV, ErrNoTun}, {unix.ENXIO, ErrNoTun},
		{fs.ErrPermission, ErrPermission},
		{unix.EBUSY, ErrBusy},
	} {
		if errors.Is(err, e.cause) {
			return fmt.Errorf("%w (%w)", e.reason, err)
		}
	}
	return err
}

// Exposed returns why the address can also be reached by other interfaces than this one, past the mesh; nil if it cannot.
func (d *Device) Exposed() error { return d.exposed }

// Name returns the name of the interface.
func (d *Device) Name() string { return d.name }

// Read waits for the next packet that the host sends into the mesh and copies it to b, behind its virtio header; what
// exceeds b is lost: MaxRead bytes hold any. After Close it returns an error that wraps net.ErrClosed, after somebody else
// deleted the interface ErrGone.
func (d *Device) Read(b []byte) (int, error) {
	n, err := d.file.Read(b)
	if err != nil && d.gone() {
		return n, fmt.Errorf("tun: %s: %w (%w)", d.name, ErrGone, err)
	}
	return n, closed(err)
}

// gone reports whether the interface was taken from the descriptor. Read cannot tell by its error: it is the kernel's or the
// poller's, whichever of them notices first.
func (d *Device) gone() bool {
	var err error
	if cerr := d.raw.Control(func(fd uintptr) {
		var ifr *unix.Ifreq
		if ifr, err = unix.NewIfreq(d.name); err == nil {
			err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr) // #nosec G115 -- a descriptor
		}
	}); cerr != nil {
		return false // closed
	}
	return errors.Is(err, unix.EBADFD)
}

// closed gives a closed file the error that closed sockets have, so that one test serves every seam.
func closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("tun: %w", net.ErrClosed)
	}
	return err
}

// Close removes the interface and ends a waiting Read.
func (d *Device) Close() error {
	err := closed(d.file.Close())
	if err == nil && d.guarded {
		unguard(d.name)
	}
	return err
}
