package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dataWith is a frame of data with an ECN code point.
func dataWith(ecn uint8, size int) []byte {
	b := frameOf(7, size)
	b[0], b[ecnOffset] = dataFrame, ecn<<ecnShift|0xcf
	return b
}

// asksForECN has a plain socket say with which code point datagrams come.
func asksForECN(t *testing.T, c *net.UDPConn) (read func() (n int, ecn uint8)) {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1) != nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
		}
	}))
	check(t, err)
	return func() (int, uint8) {
		t.Helper()
		var oob told
		b := make([]byte, 2000)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, said, _, _, err := c.ReadMsgUDP(b, oob.b[:])
		check(t, err)
		return n, oob.read(said).ecn
	}
}

// The IP header has the code point of the data behind it, in either family, also of runs and by an interface; other frames have
// none.
func TestECNOutside(t *testing.T) {
	for name, at := range map[string]string{"IPv6": "[::1]:0", "IPv4": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			for listen, skip := range map[string]bool{"[::]:0": false, "0.0.0.0:0": name == "IPv6"} {
				if skip {
					continue
				}
				s, to, dest := toPlain(t, listen, at)
				read := asksForECN(t, to)
				zoned := netip.AddrPortFrom(netip.AddrFrom16(dest.Addr().As16()).WithZone("lo"), dest.Port())
				for ecn := range uint8(4) {
					for _, to := range []netip.AddrPort{dest, zoned} {
						check(t, s.Send(to, dataWith(ecn, 100)))
						if n, got := read(); got != ecn || n != 100 {
							t.Errorf("data with %d: %d bytes came with %d", ecn, n, got)
						}
						check(t, s.SendRun(to, append(dataWith(ecn, 100), dataWith(ecn, 60)...), 100))
						for _, want := range []int{100, 60} {
							if n, got := read(); got != ecn || n != want {
								t.Errorf("a run with %d: %d bytes came with %d", ecn, n, got)
							}
						}
					}
				}
				hello := helloOf(7, true)
				hello[ecnOffset] = 0xff
				check(t, s.Send(dest, hello))
				if _, got := read(); got != 0 {
					t.Errorf("a hello came with %d", got)
				}
				b := dataWith(2, 1200)
				if n := testing.AllocsPerRun(100, func() { _ = s.Send(dest, b) }); n > 0 {
					t.Errorf("%v allocations", n)
				}
			}
		})
	}
}

// Marks that the network makes are told, in either family.
func TestECNIsHeard(t *testing.T) {
	for name, from := range map[string]string{"IPv6": "[::1]:0", "IPv4": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			type frame struct{ marked bool }
			frames, marked := make(chan frame, 16), false
			s, err := Listen(netip.MustParseAddrPort("[::]:0"), Handlers{
				Came:  func(_ time.Time, _, m bool) { marked = m },
				Frame: func(_ *Socket, _ netip.AddrPort, _ []byte) { frames <- frame{marked} },
			})
			check(t, err)
			t.Cleanup(func() { s.Close() })
			a, _ := open(t, from)
			to := netip.AddrPortFrom(netip.MustParseAddrPort(from).Addr(), s.LocalAddr().Port())
			for ecn := range uint8(4) {
				check(t, a.Send(to, dataWith(ecn, 100)))
				if got := receiveFrom(t, frames); got.marked != (ecn == 3) {
					t.Errorf("code point %d: marked %v", ecn, got.marked)
				}
			}
		})
	}
}
