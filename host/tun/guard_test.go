package tun

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Who shares a wire with the host must not reach its mesh address past the mesh: that is no way in without identity.
func TestMeshAddressIsReachedThroughTheMeshOnly(t *testing.T) {
	namespace(t)
	wire := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wire0"}, PeerName: "wire1"}
	if err := netlink.LinkAdd(wire); err != nil {
		t.Skipf("no veth here: %v", err)
	}
	for _, name := range []string{"lo", "wire0", "wire1"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a second life finds the host as the first found it
		d, err := Open("x0ttest0", own, domain, 1360)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Exposed(); err != nil {
			t.Fatal(err)
		}
		for iif, want := range map[string]bool{"x0ttest0": true, "lo": true, "wire0": false} {
			if got := local(t, iif); got != want {
				t.Errorf("a packet by %s is for this host: %t, want %t", iif, got, want)
			}
		}
		// A life that was killed leaves its rules: the next takes them over.
		if err := guard("x0ttest0", own); err != nil || guarding(t) != 2 {
			t.Errorf("%d rules, %v", guarding(t), err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if n := guarding(t); n != 0 {
			t.Errorf("%d rules left behind", n)
		}
	}
}

func guarding(t *testing.T) (n int) {
	t.Helper()
	rules, err := netlink.RuleList(unix.AF_INET6)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Table == guardTable {
			n++
		}
	}
	return n
}

// local reports whether the host takes a packet for its mesh address that comes by an interface.
func local(t *testing.T, iif string) bool {
	t.Helper()
	var opt *netlink.RouteGetOptions
	if iif != "lo" {
		opt = &netlink.RouteGetOptions{Iif: iif, SrcAddr: []byte{0: 0xfd, 3: 1, 5: 2, 15: 9}}
	}
	routes, err := netlink.RouteGetWithOptions(own.Addr().AsSlice(), opt)
	return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
}
