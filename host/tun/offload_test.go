package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestOffload(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	t.Logf("large UDP packets: %v", d.LargeUDP())
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: own.Addr().AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, _ := c.SyscallConn()
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 1000) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDP(make([]byte, 20_000), &net.UDPAddr{IP: net.ParseIP("fd00:1:2::2"), Port: 9}); err != nil {
		t.Fatal(err)
	}
	p := readUDP(t, d)
	want := 1000
	if d.LargeUDP() {
		want = 20_000
	}
	if len(p) != virtio+48+want {
		t.Fatalf("a packet of %d bytes, want %d of payload", len(p), want)
	}
	if large := d.LargeUDP(); large && (p[1] != 5 || binary.NativeEndian.Uint16(p[4:]) != 1000) {
		t.Fatalf("virtio header %x", p[:virtio])
	}
}

// TryRead gives what is there, and does not wait, not even for a Read that does.
func TestTryRead(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: own.Addr().AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteToUDP([]byte("ping"), &net.UDPAddr{IP: net.ParseIP("fd00:1:2::2"), Port: 9}); err != nil {
		t.Fatal(err)
	}
	buf, found := make([]byte, MaxRead), false
	for n, ok := d.TryRead(buf); ok; n, ok = d.TryRead(buf) { // the kernel may send multicast reports of its own
		found = found || bytes.HasSuffix(buf[:n], []byte("ping"))
	}
	if !found {
		t.Error("the packet that was sent is not there")
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = d.TryRead(buf) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = d.Read(make([]byte, MaxRead)) }()
	for range 100 {
		d.TryRead(buf)
	}
	if _, ok := d.TryRead(nil); ok {
		t.Error("a packet without room")
	}
	d.Close()
	<-ended
	if _, ok := d.TryRead(buf); ok {
		t.Error("a packet after Close")
	}
}

// The kernel makes no larger packets of TCP than leave in one call.
func TestLargeSize(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	link, err := netlink.LinkByName(d.Name())
	if err != nil || link.Attrs().GSOMaxSize != uint32(largeSize(1360)) {
		t.Errorf("large packets of %d bytes, want %d: %v", link.Attrs().GSOMaxSize, largeSize(1360), err)
	}
	const least, most = 1360 - 40 - 20 - 12, 1360 - 40 - 20 // bytes of a segment, with the option of a time stamp and without
	for _, spare := range []int{193, 321} {                 // MAX_TCP_HEADER+1 in kernels without tunnels and with all
		for _, mss := range []int{least, most} {
			if n := (largeSize(1360) - spare) / mss; n != largeSegments {
				t.Errorf("%d segments of %d bytes", n, mss)
			}
		}
	}
	if got := largeSize(65535); got != 1<<16 {
		t.Errorf("%d bytes with the largest MTU", got)
	}
}

func TestWritePacketRefusesNonsense(t *testing.T) {
	namespace(t)
	d, err := Open("x0ttest0", own, domain, 1360)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, bufs := range map[string][][]byte{
		"nothing":          nil,
		"too many buffers": make([][]byte, maxBuffers+1),
		"short header":     {make([]byte, 5)},
		"no packet":        {make([]byte, virtio)},
		"to be cut at 0":   {{0, 4, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 100)},
		"checksum outside": {{1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0}, append([]byte{0x60}, make([]byte, 99)...)},
	} {
		if err := d.WritePacket(bufs); err == nil {
			t.Errorf("%s: accepted", name)
		} else if name != "nothing" && name != "too many buffers" && !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bufs := [][]byte{make([]byte, virtio), bytes.Repeat([]byte{0x60}, 60)}
	if n := testing.AllocsPerRun(100, func() { _ = d.WritePacket(bufs) }); n > 0 {
		t.Errorf("%v allocations for each packet", n)
	}
	d.Close()
	if err := d.WritePacket([][]byte{make([]byte, virtio), make([]byte, 60)}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
