package dataplane

import (
	"net/netip"
	"slices"
	"testing"

	"x0tta6bl4/wire"
)

// Whoever sorts what arrives knows a new session before AddLink returns, and so before the neighbour can.
func TestSessionsAreTold(t *testing.T) {
	var told []uint32
	p := New(Config{
		Self: netip.MustParseAddr("fd00::1"), Prefix: netip.MustParsePrefix("fd00::/48"),
		Send:      func(netip.AddrPort, []byte) error { return nil },
		Callbacks: Callbacks{Sessions: func(rx []uint32) { told = slices.Sorted(slices.Values(rx)) }},
	})
	keys, err := wire.DeriveLinkKeys(make([]byte, wire.SecretSize), true)
	if err != nil {
		t.Fatal(err)
	}
	want := func(indices ...uint32) {
		t.Helper()
		if !slices.Equal(told, indices) {
			t.Errorf("told %v, want %v", told, indices)
		}
	}
	p.AddLink(1, 1, 42, keys, 1452)
	want(42)
	p.AddLink(2, 1, 7, keys, 1452) // its successor
	want(7, 42)
	p.RemoveLink(1)
	want(7)
	p.RemoveLink(1)
	want(7)
	p.RemoveLink(2)
	want()
}
