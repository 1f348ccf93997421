package bench

import (
	"context"
	"fmt"
	"net/netip"

	"x0tta6bl4/mesh"
)

// Ranges of addresses inside of the peers, and where they listen. The ranges are unique local ones (RFC 4193), no domain's.
const (
	vethRange  = "fd99:0:0:1::"
	wgRange    = "fd99:0:0:2::"
	tincRange  = "fd99:0:0:3::"
	routeRange = "fd99:0:0:4::"
	wgPort     = 7431
	tincPort   = 7432
	nebulaPort = 7433
	yggPort    = 7434
	wgMTU      = 1420
)

// upVeth has the kernel alone route between the ends of a line.
func upVeth(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("veth")
	o.version, o.command, o.mtu = "Linux "+thisMachine().Kernel, "ip -6 route add ADDRESS via NEIGHBOUR", 1500
	o.unfair = "it encrypts nothing and authenticates nobody"
	ids := s.nodes()
	local := make(map[mesh.NodeID]map[mesh.NodeID]string) // link-local address of a node towards a neighbour
	for i, id := range ids {
		o.addrs[id] = address(vethRange, i)
		if err := s.forward(ctx, id); err != nil {
			return o, err
		}
		if err := s.ip(ctx, id, fmt.Sprintf("-6 addr add %s/128 dev lo nodad", o.addrs[id])); err != nil {
			return o, err
		}
		local[id] = map[mesh.NodeID]string{}
		for _, n := range s.neighbours(i) {
			iface, _ := s.lab.Interface(id, n)
			out, err := s.lab.Exec(ctx, id, "ip", "-6", "-o", "addr", "show", "dev", iface, "scope", "link")
			if err != nil {
				return o, err
			}
			if local[id][n], err = linkLocal(string(out)); err != nil {
				return o, fmt.Errorf("%s of %s: %w", iface, id, err)
			}
		}
	}
	for i, id := range ids { // every end's address, the way along the line
		for _, end := range []int{0, len(ids) - 1} {
			if i == end {
				continue
			}
			next := ids[i+sign(end-i)]
			iface, _ := s.lab.Interface(id, next)
			route := fmt.Sprintf("-6 route add %s via %s dev %s src %s", o.addrs[ids[end]], local[next][id], iface, o.addrs[id])
			if err := s.ip(ctx, id, route); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// linkLocal reads the address in what `ip -o addr` says of an interface.
func linkLocal(said string) (string, error) {
	p, err := netip.ParsePrefix(wordAfter(said, "inet6"))
	if err != nil {
		return "", fmt.Errorf("no link-local address in %q", said)
	}
	return p.Addr().String(), nil
}
