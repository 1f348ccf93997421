package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// upNebula joins the two ends of one link: nebula relays over one node at most, so that a line of several hops is not for it.
func upNebula(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("nebula")
	daemon, err := findProgram("nebula")
	if err != nil {
		return o, err
	}
	cert, err := findProgram("nebula-cert")
	if err != nil {
		return o, err
	}
	if len(s.m.Links) > 1 {
		return o, fmt.Errorf("nebula relays over one node at most, this line has %d hops", len(s.m.Links))
	}
	o.version, o.mtu = daemon.version(ctx, "nebula", "-version"), 1440
	o.command = "nebula -config FILE; cipher aes, tun.mtu 1440, tun.tx_queue 2000, listen.read_buffer and write_buffer 20 MB, routines 1"
	ids := s.nodes()
	ca := filepath.Join(s.dir, o.name)
	if err := os.MkdirAll(ca, 0o700); err != nil {
		return o, err
	}
	if _, err := s.run(ctx, ids[0], cert, "ca", "-name", "bench", "-out-crt", ca+"/ca.crt", "-out-key", ca+"/ca.key"); err != nil {
		return o, err
	}
	for i, id := range ids {
		o.addrs[id] = netip.AddrFrom4([4]byte{10, 98, 0, byte(i + 1)})
	}
	for i, id := range ids {
		if err := s.startNebula(ctx, o, i, daemon, cert, ca); err != nil {
			return o, fmt.Errorf("nebula on %s: %w", id, err)
		}
	}
	return o, nil
}

// startNebula signs the certificate of the i-th node and starts its daemon.
func (s *site) startNebula(ctx context.Context, o *overlay, i int, daemon, cert program, ca string) error {
	id := s.nodes()[i]
	home := o.home(id)
	conf, err := o.file(id, "config.yml", nebulaConfig(s, o, i, ca))
	if err != nil {
		return err
	}
	if _, err := s.run(ctx, id, cert, "sign", "-ca-crt", ca+"/ca.crt", "-ca-key", ca+"/ca.key", "-name", id.String(),
		"-ip", o.addrs[id].String()+"/24", "-out-crt", home+"/host.crt", "-out-key", home+"/host.key"); err != nil {
		return err
	}
	return o.daemon(id, daemon, "-config", conf)
}

func nebulaConfig(s *site, o *overlay, i int, ca string) string {
	ids := s.nodes()
	other := ids[1-i]
	addr, _ := s.lab.Addr(other, ids[i])
	home := o.home(ids[i])
	return fmt.Sprintf(`pki: {ca: %s/ca.crt, cert: %s/host.crt, key: %s/host.key}
static_host_map: {"%s": ["%s"]}
lighthouse: {am_lighthouse: %t, hosts: [%s]}
listen: {host: "0.0.0.0", port: %d, read_buffer: 20000000, write_buffer: 20000000}
punchy: {punch: false}
cipher: aes
tun: {dev: x0tneb, mtu: 1440, tx_queue: 2000}
logging: {level: warning}
firewall:
  outbound: [{port: any, proto: any, host: any}]
  inbound: [{port: any, proto: any, host: any}]
`, ca, home, home, o.addrs[other], netip.AddrPortFrom(netip.MustParseAddr(addr), nebulaPort), i == 0,
		map[bool]string{false: `"10.98.0.1"`}[i == 0], nebulaPort)
}
