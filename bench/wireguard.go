package bench

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"x0tta6bl4/mesh"
)

// upWireguard makes a tunnel of every link, and has the kernel route from one to the next.
func upWireguard(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("wireguard-go")
	daemon, err := findProgram("wireguard-go")
	if err != nil {
		return o, err
	}
	wg, err := findProgram("wg")
	if err != nil {
		return o, err
	}
	o.version = daemon.version(ctx, "wireguard-go", "--version")
	o.command, o.mtu = "wireguard-go -f DEVICE, one for each node with its neighbours as peers; UDP and TUN offloads as it finds them", wgMTU
	if len(s.m.Links) > 1 {
		o.unfair = "it has no relays that only pass on: every hop decrypts and encrypts"
	}
	ids := s.nodes()
	public := make([]string, len(ids))
	private := make([]string, len(ids))
	for i, id := range ids {
		o.addrs[id] = address(wgRange, i)
		if private[i], public[i], err = wireguardKey(); err != nil {
			return o, err
		}
	}
	for i := range s.m.Links {
		if err := s.wireguardLink(ctx, i); err != nil {
			return o, err
		}
	}
	for i := range ids {
		if err := s.startWireguard(ctx, o, i, daemon, wg, private[i], public); err != nil {
			return o, err
		}
	}
	return o, nil
}

// startWireguard starts and configures the daemon of the i-th node.
func (s *site) startWireguard(ctx context.Context, o *overlay, i int, daemon, wg program, private string, public []string) error {
	id := s.nodes()[i]
	if err := s.forward(ctx, id); err != nil {
		return err
	}
	dev := fmt.Sprintf("x0tw%d-%d", os.Getpid()%10_000_000, i) // its control socket has this name for the whole machine
	if err := o.daemonWith(id, daemon, []string{"LOG_LEVEL=error"}, "-f", dev); err != nil {
		return err
	}
	conf, err := o.file(id, "wg.conf", wireguardConfig(s, o, i, private, public))
	if err != nil {
		return err
	}
	return s.wireguardUp(ctx, o, id, wg, dev, conf)
}

// wireguardUnderlay is the address of an end of the i-th link of a line for the tunnels: links of a lab take turns in using IPv4
// and IPv6, but this wireguard-go sends to wrong addresses where peers of both families alternate.
func wireguardUnderlay(i int, far bool) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 99, byte(i), map[bool]byte{false: 1, true: 2}[far]})
}

// wireguardLink gives the ends of the i-th link their addresses for the tunnels.
func (s *site) wireguardLink(ctx context.Context, i int) error {
	ids := s.nodes()
	for _, far := range []bool{false, true} {
		here, there := ids[i], ids[i+1]
		if far {
			here, there = there, here
		}
		iface, _ := s.lab.Interface(here, there)
		if err := s.ip(ctx, here, fmt.Sprintf("addr add %s/30 dev %s", wireguardUnderlay(i, far), iface)); err != nil {
			return err
		}
	}
	return nil
}

// wireguardUp configures a device as soon as its daemon listens.
func (s *site) wireguardUp(ctx context.Context, o *overlay, id mesh.NodeID, wg program, dev, conf string) error {
	listens := func() error { _, err := os.Stat("/var/run/wireguard/" + dev + ".sock"); return err }
	if err := persist(ctx, listens); err != nil {
		return err
	}
	if err := persist(ctx, func() error { _, err := s.run(ctx, id, wg, "setconf", dev, conf); return err }); err != nil {
		return err
	}
	return s.ip(ctx, id, fmt.Sprintf("-6 addr add %s/128 dev %s nodad", o.addrs[id], dev),
		fmt.Sprintf("link set dev %s mtu %d up", dev, wgMTU), fmt.Sprintf("-6 route add %s/64 dev %s", wgRange, dev))
}

// wireguardKey makes a key pair as wg genkey and wg pubkey do.
func wireguardKey() (private, public string, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	text := base64.StdEncoding.EncodeToString
	return text(key.Bytes()), text(key.PublicKey().Bytes()), nil
}

// wireguardConfig is that of the i-th node of a line: what lies towards an end goes to the neighbour on that side.
func wireguardConfig(s *site, o *overlay, i int, private string, public []string) string {
	ids := s.nodes()
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nListenPort = %d\n", private, wgPort)
	for _, side := range []int{-1, 1} {
		n := i + side
		if n < 0 || n >= len(ids) {
			continue
		}
		var allowed []string
		for k := n; k >= 0 && k < len(ids); k += side {
			allowed = append(allowed, o.addrs[ids[k]].String()+"/128")
		}
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nEndpoint = %s\nAllowedIPs = %s\n", public[n],
			netip.AddrPortFrom(wireguardUnderlay(min(i, n), n > i), wgPort), strings.Join(allowed, ", "))
	}
	return b.String()
}
