package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"x0tta6bl4/mesh"
)

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
		if err := o.startFRR(ctx, id, unshare, daemons, frrConfigs(i, s.interfaces(i))); err != nil {
			return o, err
		}
	}
	return o, nil
}

// startFRR starts the daemons, each with its configuration.
func (o *overlay) startFRR(ctx context.Context, id mesh.NodeID, unshare program, daemons []program, conf map[string]string) error {
	group, err := o.file(id, "group", "root:x:0:\nfrr:x:1:root\nfrrvty:x:2:root\n")
	if err != nil {
		return err
	}
	for _, d := range daemons {
		name := filepath.Base(d.path)
		file, err := o.file(id, name+".conf", conf[name])
		if err != nil {
			return err
		}
		unshare.env = d.env
		if err := o.daemon(id, unshare, "--mount", "sh", "-c", `mount --bind "$0" /etc/group && exec "$@"`, group, d.path, "-f", file,
			"-u", "root", "-g", "root", "-z", o.home(id)+"/zserv", "-i", o.home(id)+"/"+name+".pid", "--vty_socket", o.home(id), "-P", "0"); err != nil {
			return err
		}
		if name != "zebra" {
			continue
		}
		listens := func() error { _, err := os.Stat(o.home(id) + "/zserv"); return err }
		if err := persist(ctx, listens); err != nil { // the others give up when nobody listens
			return fmt.Errorf("zebra on %s does not listen: %w: %s", id, err, o.lastWords(id))
		}
	}
	return nil
}

// frrConfigs are those of the three daemons of the i-th node.
func frrConfigs(i int, interfaces []string) map[string]string {
	var b strings.Builder
	fmt.Fprintf(&b, "router ospf6\n ospf6 router-id 10.0.0.%d\n timers throttle spf 0 50 5000\n redistribute connected\nexit\n", i+1)
	for _, name := range interfaces {
		fmt.Fprintf(&b, "interface %s\n ipv6 ospf6 area 0\n ipv6 ospf6 network point-to-point\n ipv6 ospf6 hello-interval 1\n"+
			" ipv6 ospf6 dead-interval 4\n ipv6 ospf6 bfd profile fast\nexit\n", name)
	}
	bfd := fmt.Sprintf("bfd\n profile fast\n  transmit-interval %[1]d\n  receive-interval %[1]d\n  detect-multiplier %d\n", bfdInterval.Milliseconds(), bfdMissed)
	return map[string]string{"zebra": "", "bfdd": bfd, "ospf6d": b.String()}
}
