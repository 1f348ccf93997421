package daemon

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/host/netmon"
	"x0tta6bl4/mesh"
)

func prefixes(ss ...string) (ps []netip.Prefix) {
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// What a machine tells others of itself: addresses that may mean it to them, of interfaces that packets can leave.
func TestAdvertisedAddresses(t *testing.T) {
	d := bareDaemon()
	wild := netip.MustParseAddrPort("[::]:7420")
	d.opt.Config.Links.Listen = []netip.AddrPort{wild}
	s := netmon.State{
		{Index: 1, Name: "lo", Up: true, Carrier: true, Loopback: true, Addresses: prefixes("127.0.0.1/8", "192.0.2.99/32")},
		{Index: 2, Name: "eth0", Up: true, Carrier: true, Addresses: prefixes("192.0.2.1/24", "fe80::1/64", "2001:db8::1/64")},
		{Index: 3, Name: "eth1", Up: true, Addresses: prefixes("198.51.100.1/24")},
		{Index: 4, Name: "docker0", Kind: "bridge", Up: true, Carrier: true, Addresses: prefixes("172.17.0.1/16")},
		{Index: 5, Name: "veth1", Kind: "veth", Master: 4, Up: true, Carrier: true},
		{Index: 6, Name: "br0", Kind: "bridge", Up: true, Carrier: true, Addresses: prefixes("203.0.113.1/24")},
		{Index: 7, Name: "eth2", Kind: "device", Master: 6, Up: true, Carrier: true},
		{Index: 8, Name: TunName, Kind: "tun", Up: true, Carrier: true, Addresses: []netip.Prefix{netip.PrefixFrom(mesh.Addr(testDomain, testAlpha), 128)}},
	}
	d.roaming.state.Store(&s)
	want := []string{"192.0.2.1:7420", "203.0.113.1:7420", "[2001:db8::1]:7420"}
	if got := texts(d.advertised()); !slices.Equal(got, want) {
		t.Errorf("advertised %v, want %v", got, want)
	}
	d.opt.Config.Links.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:7420")}
	if got := texts(d.advertised()); !slices.Equal(got, want[:2]) {
		t.Errorf("an IPv4 socket is advertised at %v", got)
	}
	d.opt.Config.Links.Advertise = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:7420")}
	if got := texts(d.advertised()); !slices.Equal(got, []string{"198.51.100.1:7420"}) {
		t.Errorf("advertised %v in spite of the configuration", got)
	}
	if i := d.interfaceTo(netip.MustParseAddr("fe80::9%eth0")); i != "eth0" {
		t.Errorf("the interface of a zone is %q", i)
	}
	if i := d.interfaceTo(netip.MustParseAddr("fe80::9%none")); i != "" {
		t.Errorf("the interface of a zone that is none is %q", i)
	}
}

// A change of the network is told to the slow loop; one that leads nowhere is not, and routes alone not all the time.
func TestNetworkChanged(t *testing.T) {
	d := bareDaemon()
	d.events, d.done = make(chan node.ControlEvent, 16), make(chan struct{})
	d.roaming.lookUp = make(chan struct{}, 1)
	d.opt.Config.Links.Listen = []netip.AddrPort{netip.MustParseAddrPort("[::]:7420")}
	with := func(prefix string) netmon.State {
		return netmon.State{{Index: 2, Name: "eth0", Up: true, Carrier: true, Addresses: prefixes(prefix)}}
	}
	told := func() (n int, last node.ControlEvent) {
		for ; len(d.events) > 0; n++ {
			last = <-d.events
		}
		return n, last
	}
	d.networkChanged(netmon.Change{State: with("192.0.2.1/24")})
	n, ev := told()
	if a, ok := ev.(node.LocalAddresses); n != 1 || !ok || !slices.Equal(a.Addresses, []string{"192.0.2.1:7420"}) {
		t.Errorf("%d events, the last %+v", n, ev)
	}
	if len(d.roaming.lookUp) != 1 {
		t.Error("names are not looked up again")
	}
	d.networkChanged(netmon.Change{State: append(with("192.0.2.1/24"), netmon.Interface{Index: 9, Name: "veth9", Carrier: true, Addresses: prefixes("fe80::9/64")})})
	if n, ev := told(); n != 0 {
		t.Errorf("a container's interface: %d events, %+v", n, ev)
	}
	for range 10 {
		d.networkChanged(netmon.Change{State: with("192.0.2.1/24"), Routes: true})
	}
	if n, _ := told(); n != 1 {
		t.Errorf("%d events about ten changes of routes", n)
	}
	d.networkChanged(netmon.Change{State: netmon.State{}, Lost: []string{"eth0"}})
	if n, ev := told(); n != 2 {
		t.Errorf("an interface that goes: %d events, %+v", n, ev)
	}
}

// A carrier that goes takes its routes along, and the kernel tells of them a moment later: that is one change.
func TestRoutesOfALostCarrierAreNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bareDaemon()
		d.events, d.done = make(chan node.ControlEvent, 16), make(chan struct{})
		d.roaming.lookUp = make(chan struct{}, 1)
		two := netmon.State{
			{Index: 2, Name: "eth0", Up: true, Carrier: true, Addresses: prefixes("192.0.2.1/24")},
			{Index: 3, Name: "eth1", Up: true, Carrier: true, Addresses: prefixes("198.51.100.1/24")},
		}
		d.networkChanged(netmon.Change{State: two})
		for _, tt := range []struct {
			after time.Duration
			ch    netmon.Change
			want  int
		}{
			{time.Minute, netmon.Change{State: two[:1], Lost: []string{"eth1"}}, 2},
			{50 * time.Millisecond, netmon.Change{State: two[:1], Routes: true}, 0},
			{routesOfLoss, netmon.Change{State: two[:1], Routes: true}, 1}, // another way out was found
			{50 * time.Millisecond, netmon.Change{State: two}, 1},
		} {
			for len(d.events) > 0 {
				<-d.events
			}
			time.Sleep(tt.after)
			d.networkChanged(tt.ch)
			if len(d.events) != tt.want {
				t.Errorf("%d events about %+v, want %d", len(d.events), tt.ch, tt.want)
			}
		}
	})
}

// The contacts survive; a file that is damaged, or of a newer version, costs only what is in it.
func TestContactsFile(t *testing.T) {
	dir, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	d := bareDaemon()
	d.store = newKeeper(dir)
	if cs := d.readContacts(); len(cs) != 0 {
		t.Errorf("contacts of nothing: %v", cs)
	}
	want := []node.Contact{{Node: testBeta, Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:7420")}}}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir.Path(), contactsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"version":1,"members":[{"node":"` + testBeta.String() + `","addresses":["192.0.2.7:7420"]}]}`)
	if cs := d.readContacts(); len(cs) != 1 || cs[0].Node != want[0].Node || !slices.Equal(cs[0].Addresses, want[0].Addresses) {
		t.Errorf("contacts %v, want %v", cs, want)
	}
	for _, bad := range []string{`{"version":2,"members":[{"node":"beta"}]}`, `{"version":1,"members":[{"node":"No Name"}]}`, `{`, ``} {
		write(bad)
		if cs := d.readContacts(); len(cs) != 0 {
			t.Errorf("%s: %v", bad, cs)
		}
	}
}

// Contacts that say nothing new are not written again, and none at all never replace some.
func TestSaveContacts(t *testing.T) {
	dir, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	d := bareDaemon()
	d.store, d.done, d.asks = newKeeper(dir), make(chan struct{}), make(chan func(*node.Control))
	c := node.NewControl(node.Config{Self: testAlpha, Domain: testDomain, Incarnation: 1, Boot: 1, Rand: newRand()}, time.Now())
	go func() {
		for ask := range d.asks {
			ask(c)
		}
	}()
	defer close(d.asks)
	if b := d.saveContacts(t.Context(), []byte("before")); string(b) != "before" {
		t.Errorf("saved %s of a mesh of one", b)
	}
	if _, err := dir.Read(contactsFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
}

// A neighbour's name in the mesh's own zone is refused at the start, whether the configuration names the domain or not.
func TestNamesOfTheMeshAreRefused(t *testing.T) {
	d := bareDaemon()
	for name, good := range map[string]bool{
		"gate.example.net": true, testDomain.Name(): false, "beta." + testDomain.Name(): false,
		"BETA." + strings.ToUpper(testDomain.Name()) + ".": false, "x" + testDomain.Name(): true,
	} {
		d.opt.Config.Links.Names = []config.HostPort{{Host: name, Port: 7420}}
		if err := d.noMeshNames(); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A name that is not found is told once, and is a warning until it is.
func TestUnresolvedNames(t *testing.T) {
	d := bareDaemon()
	d.roaming.names = map[string]string{}
	d.noteName("gate:7420", errors.New("no such host"))
	d.noteName("gate:7420", errors.New("no such host"))
	if ws := d.unresolved(); len(ws) != 1 || !strings.Contains(ws[0], "gate:7420") || !strings.Contains(ws[0], "no such host") {
		t.Errorf("warnings %q", ws)
	}
	d.noteName("gate:7420", nil)
	if ws := d.unresolved(); len(ws) != 0 {
		t.Errorf("warnings %q of a name that was found", ws)
	}
}

// A process that stood still says so; a loop that is merely late does not.
func TestStandstill(t *testing.T) {
	d := bareDaemon()
	d.reports, d.jobs = newMailbox[node.ControlEvent](), newMailbox[func()]()
	d.standstill(longStop - time.Millisecond)
	if evs := d.reports.take(); len(evs) != 0 {
		t.Errorf("told %v", evs)
	}
	d.standstill(time.Minute)
	if evs := d.reports.take(); len(evs) != 1 || evs[0] != (node.Woke{Slept: time.Minute}) {
		t.Errorf("told %v", evs)
	}
	if jobs := d.jobs.take(); len(jobs) != 1 {
		t.Errorf("%d jobs: the log and the beacons are no work for the fast loop", len(jobs))
	}
}

// The loop that looks names up ends at once where there are none.
func TestNoNames(t *testing.T) {
	bareDaemon().namesLoop(context.Background())
}

// The network changes many times a second: names are looked up once a second, and once more after the last change.
func TestNamesAreNotAskedForWithEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := bareDaemon()
		d.roaming.lookUp, d.done = make(chan struct{}, 1), make(chan struct{})
		d.asks, d.events = make(chan func(*node.Control)), make(chan node.ControlEvent, 100)
		d.opt.Config.Links.Names = []config.HostPort{{Host: "192.0.2.1", Port: 7420}}
		c := node.NewControl(node.Config{Self: testAlpha, Domain: testDomain, Rand: newRand()}, time.Now())
		go func() {
			for f := range d.asks {
				f(c)
			}
		}()
		ended := make(chan struct{})
		go func() { defer close(ended); d.namesLoop(ctx) }()
		for range 100 {
			time.Sleep(50 * time.Millisecond)
			select {
			case d.roaming.lookUp <- struct{}{}:
			default:
			}
		}
		time.Sleep(1500 * time.Millisecond) // of the test's own clock: not at a whole second, when the next would be due
		if n := len(d.events); n < 5 || n > 7 {
			t.Errorf("looked up %d times in five seconds of changes", n)
		}
		cancel()
		<-ended
		close(d.asks)
	})
}
