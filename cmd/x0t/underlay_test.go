package main

import (
	"net/netip"
	"testing"
)

func TestUnderlay(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:7420":                "192.0.2.1:7420",
		"[::ffff:192.0.2.1%wlan0]:7420": "192.0.2.1%wlan0:7420",
		"[fe80::1%wlan0]:7420":          "[fe80::1%wlan0]:7420",
		"[2001:db8::1%wlan0]:7420":      "[2001:db8::1%wlan0]:7420",
	} {
		if got := underlay(netip.MustParseAddrPort(in)); got != want {
			t.Errorf("%s is shown as %s, want %s", in, got, want)
		}
	}
}
