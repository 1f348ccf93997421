package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type frame struct {
	from netip.AddrPort
	data []byte
}

// open listens and returns the frames that arrive.
func open(t *testing.T, addr string) (*Socket, <-chan frame) {
	t.Helper()
	ch := make(chan frame, 4096)
	s, err := Listen(netip.MustParseAddrPort(addr), Handlers{Frame: func(_ *Socket, from netip.AddrPort, b []byte) {
		ch <- frame{from, bytes.Clone(b)}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, ch
}

func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 loopback here: %v", err)
	}
	l.Close()
}

func receive(t *testing.T, ch <-chan frame, about ...any) frame {
	t.Helper()
	select {
	case f := <-ch:
		return f
	case <-time.After(5 * time.Second):
		t.Fatal(append([]any{"nothing arrived in 5 s "}, about...)...)
		return frame{}
	}
}

func at(host string, s *Socket) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), s.LocalAddr().Port())
}

func TestFramesBothFamilies(t *testing.T) {
	for _, tt := range []struct{ listen, host string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"[::]:0", "127.0.0.1"},
		{"[::]:0", "::1"},
	} {
		t.Run(tt.listen+" "+tt.host, func(t *testing.T) {
			if strings.Contains(tt.listen+tt.host, "::1") {
				needIPv6(t)
			}
			a, _ := open(t, tt.listen)
			b, got := open(t, tt.listen)
			if err := a.Send(at(tt.host, b), []byte("0hello")); err != nil {
				t.Fatal(err)
			}
			f := receive(t, got)
			if string(f.data) != "0hello" || f.from != at(tt.host, a) {
				t.Fatalf("got %q from %s, want from %s", f.data, f.from, at(tt.host, a))
			}
		})
	}
}

func TestZeroAddressIsWildcard(t *testing.T) {
	s, err := Listen(netip.AddrPort{}, Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if a := s.LocalAddr(); !a.Addr().IsUnspecified() || a.Port() == 0 {
		t.Fatalf("bound to %s", a)
	}
}

func TestDemultiplexByFirstByte(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	b, frames := open(t, "127.0.0.1:0")
	to := at("127.0.0.1", b)
	var wantFrames, wantQUIC, wantGarbage uint64
	for first := range 256 {
		switch {
		case first >= 0x30 && first <= 0x3f:
			wantFrames++
		case first&0xc0 != 0:
			wantQUIC++
		default:
			wantGarbage++
		}
		if err := a.Send(to, []byte{byte(first), 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Send(to, nil); err != nil {
		t.Fatal(err)
	}
	wantGarbage++
	if err := a.Send(to, []byte{0x3f, 0xff}); err != nil { // marks the end
		t.Fatal(err)
	}
	for range wantFrames + 1 {
		f := receive(t, frames)
		if f.data[0]&0xf0 != 0x30 {
			t.Fatalf("frame handler got %x", f.data)
		}
	}
	buf := make([]byte, 8)
	for range wantQUIC {
		if _, _, err := b.QUIC().ReadFrom(buf); err != nil || buf[0]&0xc0 == 0 {
			t.Fatalf("QUIC got %x, %v", buf[0], err)
		}
	}
	c := b.Counters()
	if c["udp_frames"] != wantFrames+1 || c["udp_quic"] != wantQUIC || c["udp_garbage"]+c["udp_refused"] != wantGarbage {
		t.Fatalf("counters %v, want %d frames %d QUIC %d garbage", c, wantFrames+1, wantQUIC, wantGarbage)
	}
	if got := a.Counters()["udp_sent"]; got != 258 {
		t.Fatalf("sent %d", got)
	}
}

func TestQUICConn(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	b, _ := open(t, "127.0.0.1:0")
	pa, pb := a.QUIC(), b.QUIC()
	if n, err := pa.WriteTo([]byte{0xc0, 7}, pb.LocalAddr()); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	buf := make([]byte, 100)
	n, from, err := pb.ReadFrom(buf)
	if err != nil || !bytes.Equal(buf[:n], []byte{0xc0, 7}) || from.String() != pa.LocalAddr().String() {
		t.Fatalf("%x from %v: %v", buf[:n], from, err)
	}
	if _, err := pa.WriteTo([]byte{0xc0}, &net.TCPAddr{}); err == nil {
		t.Error("wrote to a TCP address")
	}
	unreachable := &net.UDPAddr{IP: net.IPv4(240, 0, 0, 1), Port: 9}
	if n, err := pa.WriteTo([]byte{0xc0}, unreachable); n != 1 || err != nil {
		t.Errorf("an unreachable peer must look like loss, got %d, %v", n, err)
	}
	pb.Close()
	if _, _, err := pb.ReadFrom(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := pb.WriteTo(buf, pa.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestQUICQueueIsBounded(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	from := at("127.0.0.1", a)
	for range quicQueue + 5 {
		a.quic.deliver(from, []byte{0x40})
	}
	if c := a.Counters(); c["udp_quic"] != quicQueue || c["udp_quic_dropped"] != 5 {
		t.Fatalf("counters %v", c)
	}
	a.quic.Close()
	a.quic.deliver(from, []byte{0x40})
	if c := a.Counters(); c["udp_quic_dropped"] != 6 {
		t.Fatalf("counters %v", c)
	}
}

func TestQUICDeadlines(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	p := a.QUIC()
	expired := func(what string) {
		t.Helper()
		_, _, err := p.ReadFrom(make([]byte, 1))
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("%s: %v", what, err)
		}
	}
	p.SetReadDeadline(time.Now().Add(-time.Second))
	expired("past deadline")
	p.SetDeadline(time.Now().Add(time.Millisecond))
	expired("near deadline")

	p.SetReadDeadline(time.Time{})
	p.SetWriteDeadline(time.Now().Add(-time.Second))
	got := make(chan error, 1)
	go func() {
		_, _, err := p.ReadFrom(make([]byte, 1))
		got <- err
	}()
	a.quic.deliver(at("127.0.0.1", a), []byte{0x40})
	if err := <-got; err != nil {
		t.Fatalf("read without deadline: %v", err)
	}
	go func() {
		_, _, err := p.ReadFrom(make([]byte, 1))
		got <- err
	}()
	p.SetReadDeadline(time.Now()) // as quic-go ends its reader
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	p.SetReadDeadline(time.Now().Add(time.Hour))
	p.SetReadDeadline(time.Time{})
}

func TestTooBig(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	err := a.Send(at("127.0.0.1", a), make([]byte, 65535))
	if !errors.Is(err, ErrTooBig) || !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("got %v", err)
	}
	if _, err := a.QUIC().WriteTo(make([]byte, 65535), a.QUIC().LocalAddr()); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("QUIC must see EMSGSIZE, got %v", err)
	}
}

func TestNothingIsFragmented(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		s, _ := open(t, addr)
		raw, err := s.port.file.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); err != nil || v != unix.IP_PMTUDISC_PROBE {
				t.Errorf("%s: IPv4: %d, %v", addr, v, err)
			}
			if d, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); d != unix.AF_INET6 {
				return
			}
			if v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER); err != nil || v != unix.IPV6_PMTUDISC_PROBE {
				t.Errorf("%s: IPv6: %d, %v", addr, v, err)
			}
		})
	}
}

func TestMappedAddressIsIPv4(t *testing.T) {
	a, frames := open(t, "127.0.0.1:0")
	if err := a.Send(at("::ffff:127.0.0.1", a), []byte("0")); err != nil {
		t.Fatal(err)
	}
	receive(t, frames)
}

func TestTruncatedIsDropped(t *testing.T) {
	a, frames := open(t, "127.0.0.1:0")
	big := bytes.Repeat([]byte("0"), MaxDatagram+1)
	for _, b := range [][]byte{big, big[:MaxDatagram]} {
		if err := a.Send(at("127.0.0.1", a), b); err != nil {
			t.Fatal(err)
		}
	}
	if f := receive(t, frames); len(f.data) != MaxDatagram {
		t.Fatalf("got %d bytes", len(f.data))
	}
	if c := a.Counters(); c["udp_truncated"] != 1 {
		t.Fatalf("counters %v", c)
	}
}

// A port that nobody holds answers by ICMP; the socket must go on, in both directions.
func TestRefusalDoesNotEndTheLoop(t *testing.T) {
	a, frames := open(t, "127.0.0.1:0")
	gone, _ := open(t, "127.0.0.1:0")
	to := at("127.0.0.1", gone)
	gone.Close()
	for range 10 {
		_ = a.Send(to, []byte("0"))
	}
	if err := a.Send(netip.MustParseAddrPort("240.0.0.1:9"), []byte("0")); err == nil {
		t.Log("240.0.0.1 is routed here") // then there is no error to survive
	} else if a.Counters()["udp_send_errors"] == 0 {
		t.Error("send error not counted")
	}
	if err := a.Send(at("127.0.0.1", a), []byte("0alive")); err != nil {
		t.Fatal(err)
	}
	if f := receive(t, frames); string(f.data) != "0alive" {
		t.Fatalf("got %q", f.data)
	}
}

// A read error that is not of the socket's end is counted, and reading goes on.
func TestReadErrorIsSurvived(t *testing.T) {
	a, frames := open(t, "127.0.0.1:0")
	if err := a.port.arrived.SetReadDeadline(time.Now().Add(-time.Second)); err != nil { // makes every read fail
		t.Fatal(err)
	}
	for a.count.receiveErrors.Load() == 0 {
		runtime.Gosched() // the read loop runs on the real clock
	}
	a.port.arrived.SetReadDeadline(time.Time{})
	if err := a.Send(at("127.0.0.1", a), []byte("0alive")); err != nil {
		t.Fatal(err)
	}
	receive(t, frames)
}

func TestPathMTU(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip("no interface lo")
	}
	want := min(lo.MTU-ipv4Overhead, maxPayload)
	if n, err := a.PathMTU(netip.MustParseAddrPort("127.0.0.1:9")); err != nil || n != want {
		t.Errorf("got %d, %v, want %d", n, err, want)
	}
	if n, err := a.PathMTU(netip.MustParseAddrPort("[::ffff:127.0.0.1]:9")); err != nil || n != want {
		t.Errorf("v4-mapped: got %d, %v", n, err)
	}
	if _, err := a.PathMTU(netip.AddrPort{}); err == nil {
		t.Error("the zero address has no path")
	}
	needIPv6(t)
	want = min(lo.MTU-ipv6Overhead, maxPayload)
	if n, err := a.PathMTU(netip.MustParseAddrPort("[::1]:9")); err != nil || n != want {
		t.Errorf("IPv6: got %d, %v, want %d", n, err, want)
	}
}

func TestListenErrors(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	if _, err := Listen(a.LocalAddr(), Handlers{}); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("port in use: %v", err)
	}
	if _, err := Listen(netip.MustParseAddrPort("192.0.2.1:0"), Handlers{}); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("foreign address: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	var calls atomic.Int64
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{Frame: func(*Socket, netip.AddrPort, []byte) { calls.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, _, err := s.QUIC().ReadFrom(make([]byte, 1))
		got <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting QUIC read: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := s.Send(s.LocalAddr(), []byte("0")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
	if n, err := s.QUIC().WriteTo([]byte{0x40}, s.QUIC().LocalAddr()); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("QUIC write after close: %d, %v", n, err)
	}
}

func TestLinkLocalSource(t *testing.T) {
	a, _ := open(t, "127.0.0.1:0")
	r := reader{from: sources{zones: a.out.zones, named: &a.out.zones.named}}
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: netip.MustParseAddr("fe80::1").As16(), Scope_id: 1 << 30}
	for range 2 { // the second from the cache
		if got := r.source(&sa).Addr().String(); got != "fe80::1%1073741824" {
			t.Errorf("got %s", got)
		}
	}
	sa.Scope_id = 1
	if got := r.source(&sa).Addr().String(); got != "fe80::1%lo" {
		t.Errorf("got %s", got)
	}
	for i := range 3 * maxSources {
		sa.Addr[8], sa.Addr[9] = byte(i>>8), byte(i)
		if r.source(&sa); len(r.from.known) > maxSources {
			t.Fatalf("%d sources remembered", len(r.from.known))
		}
	}
	if n := testing.AllocsPerRun(100, func() { r.source(&sa) }); n > 0 {
		t.Errorf("%.1f allocations for a known source", n)
	}
	if got := r.source(&unix.RawSockaddrInet6{Family: unix.AF_UNIX}); got.IsValid() {
		t.Errorf("got %s from a unix address", got)
	}
}

func TestSendAllocatesNothing(t *testing.T) {
	a, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	to, b := at("127.0.0.1", a), make([]byte, 1400)
	if n := testing.AllocsPerRun(1000, func() { _ = a.Send(to, b) }); n > 0.01 {
		t.Errorf("%.2f allocations per datagram sent and received", n)
	}
}

func BenchmarkLoopback(b *testing.B) {
	var got atomic.Int64
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{Frame: func(*Socket, netip.AddrPort, []byte) { got.Add(1) }})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	p := bytes.Repeat([]byte("0"), 1400)
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(s.LocalAddr(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(got.Load())/float64(b.N), "received/sent")
}
