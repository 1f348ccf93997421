package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"x0tta6bl4/mesh"
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
		if err := s.ip(ctx, id, fmt.Sprintf("-6 addr add %s/128 dev lo", o.addrs[id])); err != nil {
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
protocol kernel { ipv6 { import none; export all; }; }
protocol bfd { interface %s { interval %d ms; multiplier %d; }; }
protocol ospf v3 {
  tick 1;
  ecmp no;
  ipv6 { import all; export none; };
  area 0 {
    interface %[2]s { type ptp; cost 10; hello 1; dead count 4; bfd yes; };
    interface "lo" { stub yes; };
  };
}
`, i+1, quoted, bfdInterval.Milliseconds(), bfdMissed)
}

// upFRR starts three daemons on each node. FRR looks up users and groups that its package makes: here they are shown to it in
// a mount namespace of its own.
func upFRR(ctx context.Context, s *site) (*overlay, error) {
	o := s.overlay("frr-bfd")
	var daemons []program
	for _, name := range []string{"zebra", "bfdd", "ospf6d"} {
		p, err := findProgram(name)
		if err != nil {
			return o, err
		}
		daemons = append(daemons, p)
	}
	unshare, err := findProgram("unshare")
	if err != nil {
		return o, err
	}
	o.version = daemons[0].version(ctx, "frr", "--version")
	o.command = fmt.Sprintf("zebra, bfdd, ospf6d; OSPFv3 with BFD, interval %s, multiplier %d, timers throttle spf 0 50 5000", bfdInterval, bfdMissed)
	if err := s.routed(ctx, o); err != nil {
		return o, err
	}
	for i, id := range s.nodes() {
		if err := o.startFRR(ctx, id, unshare, daemons, frrConfig(i, s.interfaces(i))); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *overlay) startFRR(ctx context.Context, id mesh.NodeID, unshare program, daemons []program, conf string) error {
	file, err := o.file(id, "frr.conf", conf)
	if err != nil {
		return err
	}
	group, err := o.file(id, "group", "root:x:0:\nfrr:x:1:\nfrrvty:x:2:\n")
	if err != nil {
		return err
	}
	for _, d := range daemons {
		unshare.env = d.env
		name := d.path[strings.LastIndexByte(d.path, '/')+1:]
		script := `mount --bind "$0" /etc/group && exec "$@"`
		if err := o.daemon(id, unshare, "--mount", "sh", "-c", script, group, d.path, "-f", file, "-u", "root", "-g", "root",
			"-z", o.home(id)+"/zserv", "-i", o.home(id)+"/"+name+".pid", "--vty_socket", o.home(id), "-P", "0", "--log", "stdout"); err != nil {
			return err
		}
		if name == "zebra" { // the others give up when nobody listens
			if err := persist(ctx, func() error { _, err := os.Stat(o.home(id) + "/zserv"); return err }); err != nil {
				return err
			}
		}
	}
	return nil
}

func frrConfig(i int, interfaces []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bfd\n profile fast\n  transmit-interval %[1]d\n  receive-interval %[1]d\n  detect-multiplier %d\n", bfdInterval.Milliseconds(), bfdMissed)
	fmt.Fprintf(&b, "router ospf6\n ospf6 router-id 10.0.0.%d\n timers throttle spf 0 50 5000\n", i+1)
	for _, name := range append(interfaces, "lo") {
		fmt.Fprintf(&b, "interface %s\n ipv6 ospf6 area 0\n", name)
		if name != "lo" {
			b.WriteString(" ipv6 ospf6 network point-to-point\n ipv6 ospf6 hello-interval 1\n ipv6 ospf6 dead-interval 4\n ipv6 ospf6 bfd profile fast\n")
		}
	}
	return b.String()
}
