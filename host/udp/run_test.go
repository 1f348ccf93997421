package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// toPlain opens a socket, and a plain one to send to, at dest.
func toPlain(t *testing.T, at, plain string) (s *Socket, to *net.UDPConn, dest netip.AddrPort) {
	t.Helper()
	to, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(plain)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	if s, err = Listen(netip.MustParseAddrPort(at), Handlers{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, to, to.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A run arrives as the datagrams that it consists of, over either family and with an interface of its own.
func TestSendRun(t *testing.T) {
	for name, at := range map[string]string{"IPv6": "[::1]:0", "IPv4": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			s, to, dest := toPlain(t, "[::]:0", at)
			zoned := netip.AddrPortFrom(netip.AddrFrom16(dest.Addr().As16()).WithZone("lo"), dest.Port())
			for what, tt := range map[string]struct {
				to         netip.AddrPort
				len, size  int
				want, runs int
			}{
				"even":         {dest, 5000, 1000, 5, 1},
				"shorter last": {dest, 4100, 1000, 5, 1},
				"one":          {dest, 700, 1000, 1, 0},
				"the most":     {dest, 64 * 1000, 1000, 64, 1},
				"too many":     {dest, 65 * 100, 100, 65, 1},
				"twice":        {dest, 130*100 - 1, 100, 130, 3},
				"too long":     {dest, 64 * 1020, 1020, 64, 1}, // 63 and one
				"just so":      {dest, 64*1020 - 300, 1020, 64, 1},
				"very large":   {dest, 1500, 70_000, 1, 0},
				"far too long": {dest, 70 * 1400, 1400, 70, 2},
				"by interface": {zoned, 3000, 1000, 3, 1},
				"nothing":      {dest, 0, 1000, 0, 0},
			} {
				before := s.Counters()
				run := make([]byte, tt.len)
				for i := range run {
					run[i] = byte(i / max(tt.size, 1))
				}
				if err := s.SendRun(tt.to, run, tt.size); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				b := make([]byte, 2000)
				for i := range tt.want {
					_ = to.SetReadDeadline(time.Now().Add(5 * time.Second))
					n, err := to.Read(b)
					if err != nil {
						t.Fatalf("%s: datagram %d: %v", what, i, err)
					}
					if want := run[i*tt.size : min((i+1)*tt.size, len(run))]; !bytes.Equal(b[:n], want) {
						t.Errorf("%s: datagram %d has %d bytes, want %d", what, i, n, len(want))
					}
				}
				after := s.Counters()
				if got := after["udp_runs"] - before["udp_runs"]; got != uint64(tt.runs) {
					t.Errorf("%s: %d runs, want %d", what, got, tt.runs)
				}
				if got := after["udp_sent"] - before["udp_sent"]; got != uint64(tt.want) {
					t.Errorf("%s: %d sent, want %d", what, got, tt.want)
				}
			}
			if err := s.SendRun(dest, make([]byte, 10), 0); err == nil {
				t.Error("datagrams of no size")
			}
			run := make([]byte, 3000)
			if n := testing.AllocsPerRun(100, func() { _ = s.SendRun(dest, run, 1000) }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// What the kernel does not take as a run goes datagram by datagram, each with its own error.
func TestRunThatTheKernelRefuses(t *testing.T) {
	s, _, dest := toPlain(t, "127.0.0.1:0", "127.0.0.1:0")
	// The kernel cuts no datagrams for which no checksum is wanted (udp_send_skb).
	if err := s.port.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }); err != nil {
		t.Fatal(err)
	}
	if err := s.SendRun(dest, make([]byte, 3000), 1000); err != nil {
		t.Error(err)
	}
	if c := s.Counters(); c["udp_runs"] != 0 || c["udp_runs_refused"] != 1 || c["udp_sent"] != 3 {
		t.Errorf("%v", c)
	}
	// A run that fails for another reason is not tried again piece by piece: each might wait for room.
	if err := s.SendRun(netip.MustParseAddrPort("[::1]:9"), make([]byte, 3000), 1000); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("IPv6 by a socket of IPv4: %v", err)
	}
	if c := s.Counters(); c["udp_runs_refused"] != 1 || c["udp_send_errors"] != 1 {
		t.Errorf("%v", c)
	}
}

// What the kernel joined comes apart again: each datagram once, in order, those of one call in one buffer, before one Flush.
func TestReceiveRun(t *testing.T) {
	type got struct {
		b     []byte
		flush bool
	}
	seen := make(chan got, 300)
	joined := 0
	var last []byte
	s, err := Listen(netip.MustParseAddrPort("[::]:0"), Handlers{
		Frame: func(_ *Socket, _ netip.AddrPort, b []byte) {
			if n := len(last); n > 0 && cap(last) > n && &last[:n+1][n] == &b[0] {
				joined++
			}
			last = b
			seen <- got{bytes.Clone(b), false}
		},
		Flush: func() { last = nil; seen <- got{nil, true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	from, err := Listen(netip.MustParseAddrPort("[::]:0"), Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to := netip.AddrPortFrom(netip.IPv6Loopback(), s.LocalAddr().Port())
	run := make([]byte, 30*1200+500)
	for i := range run {
		run[i] = byte(i / 1200)
		if i%1200 == 0 {
			run[i] = 0x30 // a frame
		}
	}
	if err := from.SendRun(to, run, 1200); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for len(all) < len(run) {
		select {
		case g := <-seen:
			all = append(all, g.b...)
		case <-time.After(5 * time.Second):
			t.Fatalf("%d bytes of %d", len(all), len(run))
		}
	}
	if !bytes.Equal(all, run) {
		t.Error("not what was sent")
	}
	if g := <-seen; !g.flush {
		t.Error("no flush after the last")
	}
	c := s.Counters()
	if c["udp_frames"] != 31 || c["udp_truncated"] != 0 || c["udp_received_bytes"] != uint64(len(run)) {
		t.Errorf("%v", c)
	}
	t.Logf("%d of 30 datagrams lay behind the one before", joined)
	if joined == 0 {
		t.Error("nothing was joined")
	}

	// Joined datagrams that are longer than any frame are counted and dropped, and the next ones come.
	long := bytes.Repeat([]byte{0x30}, 3*(MaxDatagram+1))
	if err := from.SendRun(to, long, MaxDatagram+1); err != nil {
		t.Fatal(err)
	}
	if err := from.Send(to, []byte{0x30, 1, 2}); err != nil {
		t.Fatal(err)
	}
	for g := range seen {
		if len(g.b) == 3 {
			break
		}
	}
	if c := s.Counters(); c["udp_truncated"] == 0 || c["udp_frames"] != 32 {
		t.Errorf("%v", c)
	}
}
