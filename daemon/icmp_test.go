package daemon

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sys/unix"

	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/host/tun"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// tunnelled runs a data plane on a real TUN in a network namespace that ends with the test. Nobody has the addresses that it
// is asked for.
func tunnelled(t *testing.T) (*dataplane.Plane, netip.Addr, spiffeid.TrustDomain) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("ICMPv6 with the kernel is not tried: no network namespace here: %v", err)
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("ICMPv6 with the kernel is not tried: no TUN here: %v", err)
	}
	f.Close()
	td := spiffeid.RequireTrustDomainFromString("example.mesh")
	self := mesh.Addr(td, mesh.MustNodeID("alpha"))
	dev, err := tun.Open("x0ttest%d", netip.PrefixFrom(self, 128), mesh.Prefix(td), MeshMTU)
	if err != nil {
		t.Fatal(err)
	}
	var p *dataplane.Plane
	p = dataplane.New(dataplane.Config{
		Self: self, Prefix: mesh.Prefix(td), Tun: dev, Send: func(netip.AddrPort, []byte) error { return nil },
		Callbacks: dataplane.Callbacks{Need: func(a netip.Addr) { p.Unreachable(a) }},
	})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.RunTUN(t.Context()) }()
	t.Cleanup(func() { dev.Close(); <-ended })
	return p, self, td
}

// wait waits for an event on a socket.
func wait(t *testing.T, fd int, events int16) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		n, err := unix.Poll(fds, int((5 * time.Second).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing happened on the socket: %d, %v", n, err)
		}
		return
	}
}

func TestConnectToAnAddressOfNobodyFailsAtOnce(t *testing.T) {
	p, _, td := tunnelled(t)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	began := time.Now()
	err = unix.Connect(fd, &unix.SockaddrInet6{Port: 80, Addr: mesh.Addr(td, mesh.MustNodeID("nobody")).As16()})
	if !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	wait(t, fd, unix.POLLOUT)
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || unix.Errno(got) != unix.EHOSTUNREACH {
		t.Errorf("connect: %v, %v; counters %v", unix.Errno(got), err, p.Counters())
	}
	t.Logf("failed after %v", time.Since(began))
}

// The kernel believes our Packet Too Big: the next packet to a destination behind 32 relays has a length that fits.
func TestKernelLearnsTheLengthThatFits(t *testing.T) {
	p, _, td := tunnelled(t)
	zeta := mesh.MustNodeID("zeta")
	secret := bytes.Repeat([]byte{1}, 32)
	link, err := wire.DeriveLinkKeys(secret, true)
	if err != nil {
		t.Fatal(err)
	}
	data, err := wire.DeriveDataKeys(secret, true)
	if err != nil {
		t.Fatal(err)
	}
	p.AddLink(1, 1, 11, link, 1452)
	p.SetLinkTx(1, 12)
	if err := p.AddPeer(2, zeta, mesh.Addr(td, zeta), 21, data); err != nil {
		t.Fatal(err)
	}
	p.SetPeerTx(2, 22)
	path := mesh.Path{Nodes: []mesh.NodeID{mesh.MustNodeID("alpha")}}
	for i := range 33 {
		path.Labels = append(path.Labels, mesh.Label(i+1))
		path.Nodes = append(path.Nodes, mesh.MustNodeID("n"+string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
	path.Nodes[33] = zeta
	p.Publish(&mesh.Forwarding{
		Links: []mesh.ForwardLink{{Label: 1, Neighbour: path.Nodes[1], Session: 1, Remote: netip.MustParseAddrPort("192.0.2.1:7420"), MTU: 1452, Usable: true}},
		Peers: []mesh.ForwardPeer{{Node: zeta, Addr: mesh.Addr(td, zeta), Session: 2, Ways: []mesh.Way{{Path: path}}}},
	})

	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, o := range []struct{ option, value int }{{unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO}, {unix.IPV6_RECVERR, 1}} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, o.option, o.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: 9, Addr: mesh.Addr(td, zeta).As16()}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, make([]byte, MeshMTU-48)); err != nil {
		t.Fatal(err)
	}
	wait(t, fd, unix.POLLERR)
	if mtu, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU); err != nil || mtu != 1336 {
		t.Fatalf("path MTU %d, %v; counters %v", mtu, err, p.Counters())
	}
	if _, err := unix.Write(fd, make([]byte, 1336-48)); err != nil && !errors.Is(err, unix.EMSGSIZE) {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, make([]byte, 1336-48)); err != nil { // the first one may return the pending error
		t.Errorf("a packet that fits: %v", err)
	}
	for end := time.Now().Add(5 * time.Second); p.Counters()["tun_sent"] == 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not sent: %v", p.Counters())
		}
	}
}
