package bench

import (
	"context"
	"fmt"
	"strings"
)

// upTinc makes tinc daemons that know their neighbours and pass on for each other.
func upTinc(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("tinc")
	daemon, err := findProgram("tincd")
	if err != nil {
		return o, err
	}
	o.version, o.mtu = daemon.version(ctx, "tinc", "--version"), 1500
	o.command = "tincd -D; Mode router, IndirectData yes, Cipher aes-128-cbc, Digest sha1, PingInterval 1, PingTimeout 1"
	ids := s.nodes()
	hosts := map[string]string{}
	for i, id := range ids {
		o.addrs[id] = address(tincRange, i)
		if _, err := o.file(id, "tinc.conf", tincConfig(s, i)); err != nil {
			return o, err
		}
		if _, err := o.file(id, "hosts/"+tincName(i), ""); err != nil {
			return o, err
		}
		if _, err := s.run(ctx, id, daemon, "-c", o.home(id), "-K2048"); err != nil {
			return o, err
		}
		key, err := s.lab.Exec(ctx, id, "cat", o.home(id)+"/hosts/"+tincName(i))
		if err != nil {
			return o, err
		}
		hosts[tincName(i)] = tincHost(s, o, i) + string(key)
	}
	for _, id := range ids {
		for name, text := range hosts {
			if _, err := o.file(id, "hosts/"+name, text); err != nil {
				return o, err
			}
		}
		up := fmt.Sprintf("#!/bin/sh\nip link set dev $INTERFACE mtu 1500 up\nip -6 addr add %s/128 dev $INTERFACE nodad\nip -6 route add %s/64 dev $INTERFACE\n", o.addrs[id], tincRange)
		if _, err := o.file(id, "tinc-up", up); err != nil {
			return o, err
		}
		if err := o.daemon(id, daemon, "-D", "-c", o.home(id), "--pidfile="+o.home(id)+"/pid"); err != nil {
			return o, err
		}
	}
	return o, nil
}

func tincName(i int) string { return fmt.Sprintf("node%d", i) }

func tincConfig(s *site, i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Name = %s\nInterface = x0ttinc\nDeviceType = tun\nMode = router\nPort = %d\nPingInterval = 1\nPingTimeout = 1\n", tincName(i), tincPort)
	for _, n := range s.neighbours(i) {
		k, _ := s.m.Find(n)
		fmt.Fprintf(&b, "ConnectTo = %s\n", tincName(k))
	}
	return b.String()
}

// tincHost is what all others know of a node. Without IndirectData nodes that have no link would be tried directly.
func tincHost(s *site, o *overlay, i int) string {
	var b strings.Builder
	id := s.nodes()[i]
	for _, n := range s.neighbours(i) {
		addr, _ := s.lab.Addr(id, n)
		fmt.Fprintf(&b, "Address = %s %d\n", addr, tincPort)
	}
	fmt.Fprintf(&b, "Subnet = %s/128\nPort = %d\nCipher = aes-128-cbc\nDigest = sha1\nIndirectData = yes\n", o.addrs[id], tincPort)
	return b.String()
}
