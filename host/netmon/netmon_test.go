package netmon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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
	// Without the addresses that IPv6 makes by itself, and tests for a second, nothing changes but by the test.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
}

// watched makes a cable with one end called a, which has the address 192.0.2.1/24, and a monitor that runs.
func watched(t *testing.T) (a, b netlink.Link, changes chan Change) {
	t.Helper()
	namespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "a"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "b"}); err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		name string
		to   *netlink.Link
	}{{"a", &a}, {"b", &b}} {
		l, err := netlink.LinkByName(end.name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
		*end.to = l
	}
	setAddr(t, a, "192.0.2.1/24", netlink.AddrAdd)
	changes = running(t)
	settle(changes)
	return a, b, changes
}

// running opens a monitor that runs until the test ends.
func running(t *testing.T) chan Change {
	t.Helper()
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	changes := make(chan Change, 64)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(func(c Change) { changes <- c }) }()
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), m.Close()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return changes
}

// settle takes what the making of the cable still causes: neighbours are looked for, addresses are tested.
func settle(changes chan Change) {
	for {
		select {
		case <-changes:
		case <-time.After(6 * quiet):
			return
		}
	}
}

func setAddr(t *testing.T, l netlink.Link, prefix string, do func(netlink.Link, *netlink.Addr) error) {
	t.Helper()
	p := netip.MustParsePrefix(prefix)
	if err := do(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, changes chan Change, what string) Change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(5 * time.Second):
		t.Fatalf("%s: nothing was reported", what)
		return Change{}
	}
}

func has(s State, name, prefix string) bool {
	i, ok := s.Find(name)
	return ok && slices.Contains(i.Addresses, netip.MustParsePrefix(prefix))
}

// An address that is replaced by another is one change: both messages, and those of their routes, come within 50 ms.
func TestReplacedAddressIsOneChange(t *testing.T) {
	a, _, changes := watched(t)
	began := time.Now()
	setAddr(t, a, "192.0.2.1/24", netlink.AddrDel)
	setAddr(t, a, "192.0.2.7/24", netlink.AddrAdd)
	c := next(t, changes, "a replaced address")
	took := time.Since(began)
	if has(c.State, "a", "192.0.2.1/24") || !has(c.State, "a", "192.0.2.7/24") || !c.Routes || len(c.Lost) != 0 {
		t.Errorf("reported %+v", c)
	}
	if i, ok := c.State.Owner(netip.MustParseAddr("::ffff:192.0.2.7")); !ok || i.Name != "a" {
		t.Errorf("the owner of the new address is %+v", i)
	}
	if took < quiet || took > time.Second {
		t.Errorf("reported after %s", took)
	}
	t.Logf("reported after %s", took.Round(time.Millisecond))
	select {
	case c := <-changes:
		t.Errorf("reported again: %+v", c)
	case <-time.After(4 * quiet):
	}
}

func TestCarrier(t *testing.T) {
	a, b, changes := watched(t)
	began := time.Now()
	if err := netlink.LinkSetDown(b); err != nil {
		t.Fatal(err)
	}
	c := next(t, changes, "a cable that is pulled")
	lost, took := c.Lost, time.Since(began)
	for len(lost) < 2 {
		c = next(t, changes, "the other end of it")
		lost = append(lost, c.Lost...)
	}
	slices.Sort(lost)
	if !slices.Equal(lost, []string{"a", "b"}) {
		t.Errorf("lost %v, want both ends: one has no carrier, the other is down", lost)
	}
	if took >= quiet {
		t.Errorf("first reported after %s: a carrier that goes is no matter for waiting", took)
	}
	if i, _ := c.State.Find("a"); i.Carrier || !i.Up || i.Kind != "veth" {
		t.Errorf("a is %+v", i)
	}
	if err := netlink.LinkSetUp(b); err != nil {
		t.Fatal(err)
	}
	for c = next(t, changes, "a cable that is plugged in"); ; c = next(t, changes, "a carrier") {
		if i, _ := c.State.Find("a"); i.Carrier {
			break
		}
	}
	settle(changes)
	if err := netlink.LinkDel(a); err != nil {
		t.Fatal(err)
	}
	c = next(t, changes, "an interface that goes")
	if _, ok := c.State.Find("a"); ok || !slices.Contains(c.Lost, "a") {
		t.Errorf("after its end: %+v", c)
	}
}

// However many carriers go one after the other, the machine is looked at once in a while only; none is missed.
func TestCarriersGoInTurn(t *testing.T) {
	namespace(t)
	const n = 20
	name := func(end string, i int) string { return fmt.Sprintf("%s%d", end, i) }
	for i := range n {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name("a", i)
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name("b", i)})
		for _, end := range []string{"a", "b"} {
			l, lost := netlink.LinkByName(name(end, i))
			if err = errors.Join(err, lost); err == nil {
				err = netlink.LinkSetUp(l)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	changes := running(t)
	settle(changes)
	began := time.Now()
	for i := range n {
		l, err := netlink.LinkByName(name("a", i))
		if err == nil {
			err = netlink.LinkSetDown(l)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause / 10) // the kernel's messages are of now: there is no other clock to move
	}
	reports, lost := 0, 0
	for lost < 2*n { // both ends
		lost += len(next(t, changes, "a carrier that goes").Lost)
		reports++
	}
	if most := int(time.Since(began)/pause) + 2; reports > most {
		t.Errorf("%d reports in %s, want at most %d", reports, time.Since(began), most)
	}
}

// A monitor that never ran can be closed, and then does not run.
func TestCloseWithoutRun(t *testing.T) {
	namespace(t)
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Run(func(Change) { t.Error("a change was reported") }); err != nil {
		t.Error(err)
	}
}

// What goes on without end is reported all the same.
func TestEndlessChange(t *testing.T) {
	a, _, changes := watched(t)
	stop := time.After(3 * longest)
	tick := time.NewTicker(quiet / 5)
	defer tick.Stop()
	began, do := time.Now(), netlink.AddrAdd
	for {
		select {
		case <-changes:
			if took := time.Since(began); took > 2*longest {
				t.Errorf("first reported after %s", took)
			}
			return
		case <-stop:
			t.Fatal("nothing was reported while the changes went on")
		case <-tick.C:
			setAddr(t, a, "198.51.100.1/24", do)
			do = opposite(a)
		}
	}
}

// opposite returns what undoes the last step: the address is there or it is not.
func opposite(l netlink.Link) func(netlink.Link, *netlink.Addr) error {
	as, _ := netlink.AddrList(l, netlink.FAMILY_V4)
	if slices.ContainsFunc(as, func(a netlink.Addr) bool { return a.IP.Equal(net.IPv4(198, 51, 100, 1)) }) {
		return netlink.AddrDel
	}
	return netlink.AddrAdd
}
