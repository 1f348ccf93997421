package discovery

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/wire"
)

// ends is two network namespaces with a cable between them. The test's thread is in the near one.
type ends struct{ near, far int }

func newEnds(t *testing.T) ends {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespaces with it
	e := ends{far: newNamespace(t), near: newNamespace(t)}
	up(t, "lo") // package net takes a machine without ::1 for one without IPv6
	veth := netlink.NewLinkAttrs()
	veth.Name = "near"
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: veth, PeerName: "far"}))
	far, err := netlink.LinkByName("far")
	check(t, err)
	check(t, netlink.LinkSetNsFd(far, e.far))
	up(t, "near", "fe80::1/64")
	e.in(t, func() { up(t, "far", "fe80::2/64", "2001:db8::2/64") })
	return e
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newNamespace(t *testing.T) int {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace here: %v", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// in runs f in the far namespace.
func (e ends) in(t *testing.T, f func()) {
	t.Helper()
	check(t, unix.Setns(e.far, unix.CLONE_NEWNET))
	defer func() { check(t, unix.Setns(e.near, unix.CLONE_NEWNET)) }()
	f()
}

func up(t *testing.T, name string, addrs ...string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	check(t, err)
	_ = netlink.LinkSetIP6AddrGenMode(link, 1) // none: the test gives them
	check(t, netlink.LinkSetUp(link))
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		check(t, err)
		a.Flags = unix.IFA_F_NODAD
		check(t, netlink.AddrAdd(link, a))
	}
}

func here(t *testing.T, name string) Interface {
	t.Helper()
	link, err := netlink.LinkByName(name)
	check(t, err)
	return Interface{name, link.Attrs().Index}
}

type hint struct {
	addr netip.AddrPort
	via  string
}

// start looks for neighbours in the thread's namespace.
func start(t *testing.T, linkPort uint16, on ...Interface) (*Discovery, <-chan hint) {
	t.Helper()
	found := make(chan hint, 4096)
	d := New(Config{
		Domain: ours, LinkPort: linkPort, Log: slog.New(slog.DiscardHandler), Linked: nobody,
		Found: func(a netip.AddrPort, via string) { found <- hint{a, via} },
	})
	t.Cleanup(d.Close)
	d.Use(on)
	return d, found
}

func next(t *testing.T, found <-chan hint) hint {
	t.Helper()
	select {
	case h := <-found:
		return h
	case <-time.After(5 * time.Second):
		t.Fatal("nobody found in 5 s")
		return hint{}
	}
}

// Two nodes find each other by multicast; the one that begins later does so at once, by an answer.
func TestFindEachOther(t *testing.T) {
	e := newEnds(t)
	a, nearFound := start(t, 7420, here(t, "near"))
	var b *Discovery
	var farFound <-chan hint
	began := time.Now()
	e.in(t, func() { b, farFound = start(t, 7499, here(t, "far")) })
	if got, want := next(t, nearFound), (hint{netip.MustParseAddrPort("[fe80::2%near]:7499"), "near"}); got != want {
		t.Errorf("near found %v, want %v", got, want)
	}
	if got, want := next(t, farFound), (hint{netip.MustParseAddrPort("[fe80::1%far]:7420"), "far"}); got != want {
		t.Errorf("far found %v, want %v", got, want)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if ca, cb := a.Counters(), b.Counters(); ca["beacon_answers_sent"] == 0 || cb["beacon_sent"] == 0 || ca["beacon_own"]+cb["beacon_own"] != 0 {
		t.Errorf("counters %v and %v", ca, cb)
	}
	b.Close()
	b.Use([]Interface{{"far", 1}}) // too late: no effect
	if b.Interfaces() != 0 {
		t.Error("closed and in use")
	}
}

// An interface that goes ends its beacons; when it is back, they begin again.
func TestInterfaceComesAndGoes(t *testing.T) {
	e := newEnds(t)
	near := here(t, "near")
	d, found := start(t, 7420)
	e.in(t, func() { start(t, 7420, here(t, "far")) })
	if len(found) != 0 || d.Interfaces() != 0 {
		t.Fatal("found without an interface")
	}
	d.Use([]Interface{{"gone", 99}})
	if ts := d.Troubles(); len(ts) != 1 || !strings.Contains(ts[0], "gone") || d.Counters()["beacon_open_errors"] != 1 {
		t.Errorf("an interface that is not there: %v", ts)
	}
	d.Use([]Interface{near})
	if d.Interfaces() != 1 || len(d.Troubles()) != 0 {
		t.Fatalf("%d interfaces, %v", d.Interfaces(), d.Troubles())
	}
	next(t, found)
	d.Use(nil)
	for len(found) > 0 {
		<-found
	}
	sent := d.Counters()["beacon_sent"]
	d.Use([]Interface{near})
	next(t, found)
	if d.Counters()["beacon_sent"] == sent {
		t.Error("no beacon after the interface came back")
	}
	d.Hurry()
}

// A neighbour that floods the segment with beacons costs what the limits say, and with all else that it sends, nothing
// is sent back that is larger, or to anything but a link-local address.
func TestFloodOnTheWire(t *testing.T) {
	e := newEnds(t)
	d, _ := start(t, 7420, here(t, "near"))
	var global, local *net.UDPConn
	e.in(t, func() {
		global = sender(t, "[2001:db8::2]:7421", "far")
		local = sender(t, "[fe80::2%far]:7421", "far")
	})
	b := wire.Beacon{Port: 7420, Nonce: 1, Salt: [16]byte{9}}
	b.Hash = wire.DomainHash(b.Salt, ours)
	to := netip.AddrPortFrom(Group.WithZone("far"), Port)
	count := func(name string, while func()) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); d.Counters()[name] == 0; while() {
			if time.Now().After(end) {
				t.Fatalf("%s stays 0: %v", name, d.Counters())
			}
		}
	}
	var strangers uint64
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	count("beacon_not_link_local", func() { // until the kernel has noticed that the cable is plugged in
		_, err := global.WriteToUDPAddrPort(b.Append(nil), to)
		check(t, err)
		strangers++
		<-again.C
	})
	began := time.Now()
	for range 20_000 {
		_, err := local.WriteToUDPAddrPort(b.Append(nil), to)
		check(t, err)
	}
	count("beacon_source_limited", runtime.Gosched)
	c := d.Counters()
	took := time.Since(began).Seconds()
	read, most := c["beacon_heard"]-c["beacon_limited"], uint64(heardBurst+heardRate*took)+2
	rests := uint64(took/floodedPause.Seconds()) + 2
	if read > most || c["beacon_limited"] > rests || c["beacon_answers_sent"] > 20 || c["beacon_not_link_local"] > strangers {
		t.Errorf("in %.1f s, of 20,000: looked at %d (at most %d), counters %v", took, read, most, c)
	}
}

func sender(t *testing.T, at, iface string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	check(t, err)
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, iface)
	}))
	check(t, err)
	return c
}

func TestPortTaken(t *testing.T) {
	newEnds(t)
	taken, err := net.ListenUDP("udp6", &net.UDPAddr{Port: Port})
	check(t, err)
	defer taken.Close()
	d, _ := start(t, 7420, here(t, "near"))
	if ts := d.Troubles(); len(ts) != 1 || !strings.Contains(ts[0], fmt.Sprint("UDP port ", Port)) || !strings.Contains(ts[0], "stop the program") {
		t.Errorf("troubles %v", ts)
	}
}
