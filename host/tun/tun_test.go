package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	own    = netip.MustParsePrefix("fd00:1:2::1/128")
	domain = netip.MustParsePrefix("fd00:1:2::/48")
)

// namespace moves the test to a network namespace of its own, or skips. The thread is never unlocked, so that
// it, and the namespace with it, ends with the test.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace here: %v", err)
	}
	f, err := os.OpenFile(devicePath, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no TUN here: %v", err)
	}
	f.Close()
}

func TestPacketsThroughTheKernel(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest%d", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Name() != "x0ttest0" {
		t.Errorf("name %q", d.Name())
	}
	link, err := netlink.LinkByName(d.Name())
	if err != nil || link.Attrs().MTU != 1360 {
		t.Fatalf("link %+v, %v", link, err)
	}
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: own.Addr().AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer := net.UDPAddr{IP: net.ParseIP("fd00:1:2::2"), Port: 9}
	if _, err := c.WriteToUDP([]byte("ping"), &peer); err != nil {
		t.Fatal(err)
	}
	p := readUDP(t, d)
	header, p := p[:virtio], p[virtio:]
	if src, _ := netip.AddrFromSlice(p[8:24]); src != own.Addr() || string(p[48:]) != "ping" {
		t.Fatalf("packet %x", p)
	}
	swap(p) // now it is the peer's answer: addresses and ports change places, the sum stays right
	if err := d.WritePacket([][]byte{header, p[:44], p[44:]}); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	n, from, err := c.ReadFromUDP(buf)
	if err != nil || string(buf[:n]) != "ping" || from.String() != peer.String() {
		t.Fatalf("%q from %v: %v", buf[:n], from, err)
	}
}

const virtio = 10

// readUDP returns the next UDP packet behind its virtio header; the kernel may send multicast reports of its own before.
func readUDP(t *testing.T, d *Device) []byte {
	t.Helper()
	buf := make([]byte, MaxRead)
	for range 100 {
		n, err := d.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > virtio+48 && buf[virtio]>>4 == 6 && buf[virtio+6] == unix.IPPROTO_UDP {
			return bytes.Clone(buf[:n])
		}
	}
	t.Fatal("no UDP packet among 100")
	return nil
}

func swap(p []byte) {
	src := bytes.Clone(p[8:24])
	copy(p[8:24], p[24:40])
	copy(p[24:40], src)
	sport := binary.BigEndian.Uint16(p[40:])
	copy(p[40:42], p[42:44])
	binary.BigEndian.PutUint16(p[42:], sport)
}

// Hosts that turn IPv6 off for new interfaces still get a mesh.
func TestIPv6OffByDefault(t *testing.T) {
	namespace(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		t.Skipf("cannot turn IPv6 off here: %v", err)
	}
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestCloseEndsRead(t *testing.T) {
	namespace(t)
	d, err := Open("", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		buf := make([]byte, 2048)
		for {
			if _, err := d.Read(buf); err != nil {
				got <- err
				return
			}
		}
	}()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting read: %v", err)
	}
	if _, err := netlink.LinkByName(d.Name()); err == nil {
		t.Error("the interface outlived the device")
	}
}

func TestConflicts(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := Open("x0ttest0", own, domain, 1360); !errors.Is(err, ErrBusy) {
		t.Errorf("same name: %v", err)
	}
	if _, err := Open("x0ttest1", own, domain, 1360); !errors.Is(err, ErrRoute) {
		t.Errorf("same prefix: %v", err)
	}
	if _, err := netlink.LinkByName("x0ttest1"); err == nil {
		t.Error("a failed Open left its interface")
	}
	if err := setup("x0ttest9", own, domain, 1360); err == nil || !strings.Contains(err.Error(), "x0ttest9") {
		t.Errorf("interface that is not there: %v", err)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	for _, tt := range []struct {
		name, ifname string
		addr, prefix netip.Prefix
		mtu          int
	}{
		{"IPv4 address", "x0t0", netip.MustParsePrefix("10.0.0.1/32"), domain, 1360},
		{"no address", "x0t0", netip.Prefix{}, domain, 1360},
		{"foreign prefix", "x0t0", own, netip.MustParsePrefix("fd00:9:9::/48"), 1360},
		{"no prefix", "x0t0", own, netip.Prefix{}, 1360},
		{"small MTU", "x0t0", own, domain, 1279},
		{"large MTU", "x0t0", own, domain, 65536},
		{"long name", "x0t-with-a-long-name", own, domain, 1360},
	} {
		if d, err := Open(tt.ifname, tt.addr, tt.prefix, tt.mtu); err == nil {
			d.Close()
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{&fs.PathError{Op: "open", Path: devicePath, Err: unix.ENOENT}, ErrNoTun},
		{&fs.PathError{Op: "open", Path: devicePath, Err: unix.ENODEV}, ErrNoTun},
		{&fs.PathError{Op: "open", Path: devicePath, Err: unix.EACCES}, ErrPermission},
		{unix.EPERM, ErrPermission},
		{unix.EBUSY, ErrBusy},
		{unix.EINVAL, unix.EINVAL},
	} {
		if got := explain(tt.err); !errors.Is(got, tt.want) || !errors.Is(got, tt.err) {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}
