package mesh

import (
	"net/netip"
	"testing"
)

func TestUnderlayZones(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, tc := range []struct{ in, want string }{
		{"192.0.2.1:1", "192.0.2.1:1"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1:1"},
		{"[::ffff:192.0.2.1%eth0]:1", "[::ffff:192.0.2.1%eth0]:1"},
		{"[fe80::1%eth0]:1", "[fe80::1%eth0]:1"},
	} {
		if got := PlainUnderlay(ap(tc.in)); got != ap(tc.want) {
			t.Errorf("PlainUnderlay(%s) = %s, want %s", tc.in, got, tc.want)
		}
	}
	for _, tc := range []struct{ in, zone, want string }{
		{"192.0.2.1:1", "eth0", "[::ffff:192.0.2.1%eth0]:1"},
		{"[2001:db8::1]:1", "eth0", "[2001:db8::1%eth0]:1"},
		{"[::ffff:192.0.2.1%eth0]:1", "eth1", "[::ffff:192.0.2.1%eth1]:1"},
		{"[::ffff:192.0.2.1%eth0]:1", "", "192.0.2.1:1"},
	} {
		if got := InZone(ap(tc.in), tc.zone); got != ap(tc.want) {
			t.Errorf("InZone(%s, %q) = %s, want %s", tc.in, tc.zone, got, tc.want)
		}
	}
	for _, tc := range []struct {
		link, source string
		same         bool
	}{
		{"192.0.2.1:1", "192.0.2.1:1", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[::ffff:192.0.2.1%eth0]:1", "192.0.2.1:1", true},
		{"[::ffff:192.0.2.1%eth0]:1", "[::ffff:192.0.2.1%eth0]:1", true},
		{"[2001:db8::1%eth0]:1", "[2001:db8::1]:1", true},
		{"[::ffff:192.0.2.1%eth0]:1", "192.0.2.1:2", false},
		{"[::ffff:192.0.2.1%eth0]:1", "192.0.2.2:1", false},
		{"[::ffff:192.0.2.1%eth0]:1", "[::ffff:192.0.2.1%eth1]:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1%eth1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", false},
	} {
		link, source := ap(tc.link), ap(tc.source)
		if got := SameUnderlay(link, source); got != tc.same {
			t.Errorf("SameUnderlay(%s, %s) = %v", tc.link, tc.source, got)
		}
		if n := testing.AllocsPerRun(100, func() { SameUnderlay(link, source) }); n > 0 {
			t.Errorf("SameUnderlay(%s, %s): %.0f allocations", tc.link, tc.source, n)
		}
	}
}
