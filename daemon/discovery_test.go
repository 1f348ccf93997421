package daemon

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/discovery"
	"x0tta6bl4/host/netmon"
	"x0tta6bl4/host/udp"
	"x0tta6bl4/mesh"
)

// testNetwork has an interface of every kind that matters.
var testNetwork = netmon.State{
	{Index: 1, Name: "lo", Carrier: true, Multicast: true, Loopback: true, Addresses: prefixes("::1/128", "fe80::1/64")},
	{Index: 2, Name: "eth0", Carrier: true, Multicast: true, Addresses: prefixes("192.0.2.1/24", "fe80::2/64")},
	{Index: 3, Name: "eth1", Multicast: true, Addresses: prefixes("fe80::3/64")},
	{Index: 4, Name: "wlan0", Carrier: true, Multicast: true, Addresses: prefixes("192.0.2.9/24")},
	{Index: 5, Name: "br0", Kind: "bridge", Carrier: true, Multicast: true, Addresses: prefixes("fe80::5/64")},
	{Index: 6, Name: "eth2", Master: 5, Carrier: true, Multicast: true, Addresses: prefixes("fe80::6/64")},
	{Index: 7, Name: "tun0", Kind: "tun", Carrier: true, Multicast: true, Addresses: prefixes("fe80::7/64")},
	{Index: 8, Name: TunName, Kind: "tun", Carrier: true, Multicast: true, Addresses: prefixes("fe80::8/64")},
	{Index: 9, Name: "ppp0", Carrier: true, Addresses: prefixes("fe80::9/64")},
}

func withInterfaces(names ...string) *Daemon {
	d := &Daemon{discovery: discovery.New(discovery.Config{Log: slog.New(slog.DiscardHandler)})}
	d.opt.Config = config.Default()
	d.opt.Config.Links.Interfaces = names
	d.roaming.state.Store(&testNetwork)
	return d
}

func TestBeaconInterfaces(t *testing.T) {
	for _, tc := range []struct {
		named, want, silent []string
	}{
		{nil, nil, nil},
		{[]string{"all"}, []string{"eth0", "br0"}, nil},
		{[]string{"eth0", "eth2", "tun0"}, []string{"eth0", "eth2", "tun0"}, nil},
		{
			[]string{"eth0", "eth1", "wlan0", "ppp0", "gone", TunName},
			[]string{"eth0"},
			[]string{"eth1: it is down", "wlan0: it has no IPv6 link-local", "ppp0: it does no multicast", "gone: there is no such", TunName + ": it is the mesh's own"},
		},
	} {
		d := withInterfaces(tc.named...)
		var got []string
		for _, i := range d.beaconInterfaces(testNetwork) {
			got = append(got, i.Name)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v: beacons on %v, want %v", tc.named, got, tc.want)
		}
		silent := d.silentInterfaces()
		if len(silent) != len(tc.silent) {
			t.Errorf("%v: warnings %q", tc.named, silent)
			continue
		}
		for i, w := range tc.silent {
			if !strings.Contains(silent[i], w) {
				t.Errorf("%v: warning %q, want %q", tc.named, silent[i], w)
			}
		}
	}
}

func TestByEachWay(t *testing.T) {
	ap := netip.MustParseAddrPort
	given := []netip.AddrPort{ap("192.0.2.7:7420"), ap("[2001:db8::7]:7420"), ap("[fe80::7%eth1]:7420"), ap("127.0.0.1:7421")}
	for _, named := range [][]string{nil, {"eth0"}, {"all"}} {
		if got := withInterfaces(named...).byEachWay(given); !slices.Equal(got, given) {
			t.Errorf("%v: %v", named, got)
		}
	}
	want := []netip.AddrPort{
		ap("[::ffff:192.0.2.7%eth0]:7420"), ap("[::ffff:192.0.2.7%wlan0]:7420"),
		ap("[2001:db8::7%eth0]:7420"), ap("[2001:db8::7%wlan0]:7420"), ap("[fe80::7%eth1]:7420"), ap("127.0.0.1:7421"),
	}
	if got := withInterfaces("eth0", "wlan0").byEachWay(given); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLinkedTo(t *testing.T) {
	d := withInterfaces("eth0")
	a, b := netip.MustParseAddrPort("[fe80::7%eth0]:7420"), netip.MustParseAddrPort("[fe80::7%wlan0]:7420")
	d.table.Store(&mesh.Forwarding{Links: []mesh.ForwardLink{{Remote: a, Usable: true}, {Remote: b}}})
	if !d.linkedTo(a) || d.linkedTo(b) {
		t.Errorf("linked to %s: %v; to %s, which is down: %v", a, d.linkedTo(a), b, d.linkedTo(b))
	}
}

// A node that takes links over IPv4 only cannot be found by beacons, and says so.
func TestBeaconsNeedIPv6(t *testing.T) {
	s, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := withInterfaces("eth0")
	d.discovery, d.log, d.sockets = nil, slog.New(slog.DiscardHandler), []*udp.Socket{s}
	if err := d.openDiscovery(); err != nil || d.discovery != nil {
		t.Errorf("%v, %v", d.discovery, err)
	}
	if len(d.warnings) != 1 || !strings.Contains(d.warnings[0], `add "[::]:7420" to links.listen`) {
		t.Errorf("warnings %q", d.warnings)
	}
}

// IPv4 with a zone is of the family of IPv4, whatever its form.
func TestSocketForZone(t *testing.T) {
	d := &Daemon{}
	for _, a := range []string{"[::1]:0", "127.0.0.1:0"} {
		s, err := udp.Listen(netip.MustParseAddrPort(a), udp.Handlers{})
		if err != nil {
			t.Skipf("sockets of both families are not tried: no %s here: %v", a, err)
		}
		defer s.Close()
		d.sockets = append(d.sockets, s)
	}
	d.sources.socket = d.sockets[0]
	for a, want := range map[string]int{"::1": 0, "fe80::1%lo": 0, "127.0.0.1": 1, "::ffff:127.0.0.1%lo": 1} {
		if got := d.socketFor(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s by socket %d, want %d", a, got, want)
		}
	}
}
