package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// upYggdrasil makes yggdrasil nodes that peer with their neighbours.
func upYggdrasil(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("yggdrasil")
	daemon, err := findProgram("yggdrasil")
	if err != nil {
		return o, err
	}
	o.version = daemon.version(ctx, "yggdrasil", "-version")
	o.command, o.mtu = "yggdrasil -useconffile FILE; peers over TLS on TCP, IfMTU 65535", 65535
	o.unfair = "its packets are larger than 50 kB, which no packet of a network behind it is"
	for i, id := range s.nodes() {
		if err := s.startYggdrasil(ctx, o, i, daemon); err != nil {
			return o, fmt.Errorf("yggdrasil on %s: %w", id, err)
		}
	}
	return o, nil
}

// startYggdrasil makes the i-th node's key and configuration, learns its address, and starts its daemon.
func (s *site) startYggdrasil(ctx context.Context, o *overlay, i int, daemon program) error {
	id := s.nodes()[i]
	out, err := s.run(ctx, id, daemon, "-genconf", "-json")
	if err != nil {
		return err
	}
	var conf map[string]any
	if err := json.Unmarshal(out, &conf); err != nil {
		return fmt.Errorf("yggdrasil -genconf: %w", err)
	}
	var listen, to []string
	for _, n := range s.neighbours(i) {
		here, _ := s.lab.Addr(id, n)
		there, _ := s.lab.Addr(n, id)
		listen = append(listen, "tls://"+netip.AddrPortFrom(netip.MustParseAddr(here), yggPort).String())
		to = append(to, "tls://"+netip.AddrPortFrom(netip.MustParseAddr(there), yggPort).String())
	}
	conf["Listen"], conf["Peers"], conf["AdminListen"] = listen, to, "none"
	conf["IfName"], conf["IfMTU"], conf["MulticastInterfaces"] = "x0tygg", 65535, []any{}
	text, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	file, err := o.file(id, "yggdrasil.conf", string(text))
	if err != nil {
		return err
	}
	if out, err = s.run(ctx, id, daemon, "-useconffile", file, "-address"); err != nil {
		return err
	}
	if o.addrs[id], err = netip.ParseAddr(strings.TrimSpace(string(out))); err != nil {
		return fmt.Errorf("yggdrasil -address: %w", err)
	}
	return o.daemon(id, daemon, "-useconffile", file)
}
