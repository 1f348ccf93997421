package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Routing daemons of the underlay: they encrypt nothing and hold no mesh, but they leave a dead link as we do. Each node has
// one address, on its loopback interface, which they make known.

// routed gives every node its address and lets its kernel pass packets on.
func (s *site) routed(ctx context.Context, o *overlay) error {
	o.mtu, o.unfair = 1500, "it routes in the kernel and encrypts nothing"
	for i, id := range s.nodes() {
		o.addrs[id] = address(routeRange, i)
		if err := s.forward(ctx, id); err != nil {
			return err
		}
		if err := s.ip(ctx, id, fmt.Sprintf("-6 addr add %s/128 dev lo nodad", o.addrs[id])); err != nil {
			return err
		}
	}
	return nil
}

// interfaces lists those of a node's links.
func (s *site) interfaces(i int) (names []string) {
	for _, n := range s.neighbours(i) {
		name, _ := s.lab.Interface(s.nodes()[i], n)
		names = append(names, name)
	}
	return names
}

func upBabel(ctx context.Context, s *site) (*overlay, error) {
	return upBabelWith(ctx, s, "babeld", "")
}

func upBabelFast(ctx context.Context, s *site) (*overlay, error) {
	return upBabelWith(ctx, s, "babeld-100ms", " hello-interval 0.1 update-interval 0.4")
}

func upBabelWith(ctx context.Context, s *site, name, intervals string) (*overlay, error) {
	o := s.overlay(name)
	daemon, err := findProgram("babeld")
	if err != nil {
		return o, err
	}
	o.version = daemon.version(ctx, "babeld", "-V")
	o.command = "babeld; default type wired" + intervals
	if err := s.routed(ctx, o); err != nil {
		return o, err
	}
	for i, id := range s.nodes() {
		conf := fmt.Sprintf("default type wired%s\nredistribute local ip %s/64 allow\nredistribute local deny\nredistribute deny\n", intervals, routeRange)
		file, err := o.file(id, "babeld.conf", conf)
		if err != nil {
			return o, err
		}
		args := []string{"-c", file, "-I", o.home(id) + "/pid", "-S", o.home(id) + "/state"}
		if err := o.daemon(id, daemon, append(args, s.interfaces(i)...)...); err != nil {
			return o, err
		}
	}
	return o, nil
}

// BFD as quick as hellos of ours: three of 50 ms may be missed.
const (
	bfdInterval = 50 * time.Millisecond
	bfdMissed   = 3
)

func upBird(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("bird-bfd")
	daemon, err := findProgram("bird")
	if err != nil {
		return o, err
	}
	o.version = daemon.version(ctx, "bird2", "--version")
	o.command = fmt.Sprintf("bird -f; OSPFv3 with BFD, interval %s, multiplier %d, tick 1, ecmp no", bfdInterval, bfdMissed)
	if err := s.routed(ctx, o); err != nil {
		return o, err
	}
	for i, id := range s.nodes() {
		file, err := o.file(id, "bird.conf", birdConfig(i, s.interfaces(i)))
		if err != nil {
			return o, err
		}
		if err := o.daemon(id, daemon, "-f", "-c", file, "-s", o.home(id)+"/control", "-P", o.home(id)+"/pid"); err != nil {
			return o, err
		}
	}
	return o, nil
}

func birdConfig(i int, interfaces []string) string {
	quoted := `"` + strings.Join(interfaces, `", "`) + `"`
	return fmt.Sprintf(`log stderr { warning, error, fatal, bug };
router id 10.0.0.%d;
protocol device { }
protocol direct { ipv6; interface "lo"; }
protocol kernel { ipv6 { import none; export where source = RTS_OSPF_EXT2; }; }
protocol bfd { interface %s { interval %d ms; multiplier %d; }; }
protocol ospf v3 {
  tick 1;
  ecmp no;
  ipv6 { import all; export where source = RTS_DEVICE; };
  area 0 { interface %[2]s { type ptp; cost 10; hello 1; dead count 4; bfd yes; }; };
}
`, i+1, quoted, bfdInterval.Milliseconds(), bfdMissed)
}
