package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// site is the ground on which overlays are put up beside each other: the namespaces and links of one lab.
type site struct {
	lab *lab.Lab
	m   *topology.Map
	dir string // for configurations and logs of the peers
}

// overlay is one way to carry packets between the nodes of a site.
type overlay struct {
	name    string
	version string
	command string // how its daemons were started, with what a reader must know of the configuration
	unfair  string // what is not fair in the comparison, "" = nothing that is known
	mtu     int
	device  string // that packets leave by at the first node

	site  *site
	addrs map[mesh.NodeID]netip.Addr           // of the nodes, in the overlay
	usage func(mesh.NodeID) (lab.Usage, error) // of the daemons on a node
	pids  map[mesh.NodeID][]int                // of daemons that the site started
	stops []func()                             // that end them
}

func (s *site) overlay(name string) *overlay {
	o := &overlay{name: name, site: s, addrs: map[mesh.NodeID]netip.Addr{}, pids: map[mesh.NodeID][]int{}}
	o.usage = o.ofDaemons
	return o
}

// ofDaemons adds up what the daemons on a node used.
func (o *overlay) ofDaemons(id mesh.NodeID) (sum lab.Usage, err error) {
	for _, pid := range o.pids[id] {
		u, err := lab.UsageOf(pid)
		if err != nil {
			return sum, fmt.Errorf("%s on %s: %w", o.name, id, err)
		}
		sum.CPU += u.CPU
		sum.RSS += u.RSS
	}
	return sum, nil
}

// close ends the daemons.
func (o *overlay) close() {
	for _, stop := range o.stops {
		stop()
	}
	o.stops = nil
}

// file writes a file of the overlay for one node and returns its path.
func (o *overlay) file(id mesh.NodeID, name, text string) (string, error) {
	dir := o.home(id)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
		return "", err
	}
	mode := os.FileMode(0o600)
	if strings.HasPrefix(text, "#!") {
		mode = 0o700
	}
	at := filepath.Join(dir, name)
	return at, os.WriteFile(at, []byte(text), mode) // #nosec G703 -- a directory of the benchmark's own
}

func (o *overlay) home(id mesh.NodeID) string { return filepath.Join(o.site.dir, o.name, id.String()) }

// daemon starts a daemon of the overlay on a node. What it says goes to a file.
func (o *overlay) daemon(id mesh.NodeID, p program, args ...string) error {
	return o.daemonWith(id, p, nil, args...)
}

func (o *overlay) daemonWith(id mesh.NodeID, p program, env []string, args ...string) error {
	cmd, err := o.site.lab.Command(context.Background(), id, append([]string{p.path}, args...)...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.home(id), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(o.log(id), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Cancel = nil
	cmd.Env = append(append(cmd.Env, p.env...), env...)
	cmd.Dir = o.home(id)
	cmd.Stdout, cmd.Stderr = log, log
	stop, err := o.site.lab.Start(id, cmd)
	if err != nil {
		return err
	}
	o.stops = append(o.stops, stop)
	o.pids[id] = append(o.pids[id], cmd.Process.Pid)
	return nil
}

func (o *overlay) log(id mesh.NodeID) string { return filepath.Join(o.home(id), "log") }

// run runs a program on a node and waits for it.
func (s *site) run(ctx context.Context, id mesh.NodeID, p program, args ...string) ([]byte, error) {
	argv := append([]string{"env"}, p.env...)
	return s.lab.Exec(ctx, id, append(append(argv, p.path), args...)...)
}

// ip runs commands of ip(8) on a node.
func (s *site) ip(ctx context.Context, id mesh.NodeID, lines ...string) error {
	for _, line := range lines {
		if _, err := s.lab.Exec(ctx, id, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
			return err
		}
	}
	return nil
}

// forward lets the kernel of a node pass packets on.
func (s *site) forward(ctx context.Context, id mesh.NodeID) error {
	_, err := s.lab.Exec(ctx, id, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
	return err
}

// nodes lists the nodes in the order of the map.
func (s *site) nodes() []mesh.NodeID { return s.lab.Nodes() }

// neighbours lists the nodes that have a link with the i-th one.
func (s *site) neighbours(i int) (out []mesh.NodeID) {
	for _, k := range s.m.Neighbours(topology.Broken{})[i] {
		out = append(out, s.m.Nodes[k].ID)
	}
	return out
}

// address is the i-th of a range, from ::1 on.
func address(prefix string, i int) netip.Addr {
	a := netip.MustParseAddr(prefix).As16()
	a[15] = byte(i + 1)
	return netip.AddrFrom16(a)
}

// persist calls f until it works, as long as a daemon may take to listen.
func persist(ctx context.Context, f func() error) error {
	limited, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if sleep(limited, 50*time.Millisecond) != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// listenTime is how long a daemon may take until it can be configured.
const listenTime = 5 * time.Second

// look notes by which interface packets leave, and its MTU.
func (o *overlay) look(ctx context.Context, from, to mesh.NodeID) error {
	out, err := o.site.lab.Exec(ctx, from, "ip", "-o", "route", "get", o.addrs[to].String())
	if err != nil {
		return err
	}
	dev := wordAfter(string(out), "dev")
	if out, err = o.site.lab.Exec(ctx, from, "ip", "-o", "link", "show", "dev", dev); err != nil {
		return err
	}
	if mtu, err := strconv.Atoi(wordAfter(string(out), "mtu")); err == nil {
		o.mtu = mtu
	}
	o.device = fmt.Sprintf("%s, qdisc %s, qlen %s", dev, wordAfter(string(out), "qdisc"), wordAfter(string(out), "qlen"))
	return nil
}

// wordAfter is the word behind another one in what a program said, "?" if that does not stand there.
func wordAfter(said, word string) string {
	f := strings.Fields(said)
	if i := slices.Index(f, word); i >= 0 && i+1 < len(f) {
		return strings.TrimSuffix(f[i+1], `\`)
	}
	return "?"
}

// upTime is how long an overlay may take to carry its first packet.
const upTime = 30 * time.Second

// reaches waits until from can ping to.
func (o *overlay) reaches(ctx context.Context, from, to mesh.NodeID) error {
	limited, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	for {
		_, err := o.site.lab.Exec(limited, from, "ping", "-n", "-c", "1", "-W", "1", o.addrs[to].String())
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if dead := o.ended(); dead != "" {
			return errors.New(dead)
		}
		if limited.Err() != nil {
			return fmt.Errorf("%s did not carry a packet from %s to %s within %s; its log ends with: %s", o.name, from, to, upTime, o.lastWords(from))
		}
		if err := sleep(limited, 100*time.Millisecond); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// ended says which daemon is no more, "" if all run.
func (o *overlay) ended() string {
	for _, id := range o.site.nodes() {
		for _, pid := range o.pids[id] {
			if _, err := lab.UsageOf(pid); err != nil {
				return fmt.Sprintf("%s on %s ended; its log ends with: %s", o.name, id, o.lastWords(id))
			}
		}
	}
	return ""
}

func (o *overlay) lastWords(id mesh.NodeID) string {
	said, _ := os.ReadFile(o.log(id))
	return lastLines(said, 3)
}

// lastLines are the last lines of a log, on one line.
func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " / ")
}

// errNoPeer says that there is no peer of a name.
var errNoPeer = errors.New("no such peer")
