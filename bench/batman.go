package bench

import (
	"context"
	"fmt"
	"strings"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
)

const batRange = "fd99:0:0:5::"

// upBatman makes a mesh of the kernel's own, with its default pace.
func upBatman(ctx context.Context, s *site) (*overlay, error) {
	return upBatmanWith(ctx, s, "batman-adv", "")
}

// upBatmanFast has nodes make themselves known five times as often.
func upBatmanFast(ctx context.Context, s *site) (*overlay, error) {
	return upBatmanWith(ctx, s, "batman-adv-200ms", "200")
}

func upBatmanWith(ctx context.Context, s *site, name, interval string) (*overlay, error) {
	o := s.overlay(name)
	o.version, o.mtu = "Linux "+thisMachine().Kernel, 1500
	o.command = "ip link add bat0 type batadv; BATMAN_IV, originator interval " + strings.TrimSpace(orText(interval, "1000")) + " ms"
	o.unfair = "it forwards in the kernel and encrypts nothing"
	var batctl program
	if interval != "" {
		var err error
		if batctl, err = findProgram("batctl"); err != nil {
			return o, err
		}
	}
	for i, id := range s.nodes() {
		o.addrs[id] = address(batRange, i)
		lines := []string{"link add bat0 type batadv"}
		for _, name := range s.interfaces(i) {
			lines = append(lines, "link set dev "+name+" master bat0")
		}
		lines = append(lines, "link set dev bat0 up", fmt.Sprintf("-6 addr add %s/64 dev bat0 nodad", o.addrs[id]))
		if err := s.ip(ctx, id, lines...); err != nil {
			return o, err
		}
		if interval == "" {
			continue
		}
		if _, err := s.run(ctx, id, batctl, "meshif", "bat0", "orig_interval", interval); err != nil {
			return o, err
		}
	}
	return o, nil
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// noBatman says why the kernel cannot make a mesh in a namespace of l, nil if it can.
func noBatman(ctx context.Context, l *lab.Lab, id mesh.NodeID) error {
	if _, err := l.Exec(ctx, id, "ip", "link", "add", "trial0", "type", "batadv"); err != nil {
		return fmt.Errorf("this kernel has no batman-adv: %w", err)
	}
	_, err := l.Exec(ctx, id, "ip", "link", "del", "trial0")
	return err
}
