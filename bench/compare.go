package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// ThroughputOptions say what Throughput compares. The zero value of every field has a meaning.
type ThroughputOptions struct {
	Binary    string        // the x0t to measure; "" = this program
	Hops      int           // links between the two ends; 0 = 1
	NoOffload bool          // the links carry packets of 1500 bytes, as real ones do, and not whole segments of 64 KiB
	Peers     []string      // of ThroughputPeers; none = all, NoPeers = nobody
	Runs      int           // of each; 0 = MinRuns
	Time      time.Duration // of the TCP stream in each run; 0 = 5 s
	Streams   int           // TCP streams at once; 0 = 1
	Progress  io.Writer     // one line per step; nil = silence
}

const maxHops = 16

func (o ThroughputOptions) filled() (ThroughputOptions, error) {
	o.Hops, o.Runs, o.Streams = orElse(o.Hops, 1), orElse(o.Runs, MinRuns), orElse(o.Streams, 1)
	if o.Time == 0 {
		o.Time = 5 * time.Second
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	switch {
	case o.Hops < 1 || o.Hops > maxHops:
		return o, fmt.Errorf("%d hops: this compares lines of 1 to %d", o.Hops, maxHops)
	case o.Time < time.Second:
		return o, fmt.Errorf("a TCP stream of %s tells nothing: it needs 1 s", o.Time)
	case o.Streams < 1 || o.Streams > 128 || o.Runs < 1:
		return o, fmt.Errorf("%d streams in %d runs: use 1 to 128 streams, and at least one run", o.Streams, o.Runs)
	}
	return o, nil
}

// Check reports what makes no sense in the options.
func (o ThroughputOptions) Check() error {
	o, err := o.filled()
	if err == nil {
		_, err = choosePeers(o.Peers, ThroughputPeers())
	}
	return err
}

func orElse(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}

// comparison is a Throughput in the making.
type comparison struct {
	opt      ThroughputOptions
	report   *ThroughputReport
	site     *site
	overlays []*overlay // x0t, then the peers that are up
	results  []*Carried // of the same
}

// Throughput puts x0t and its peers up on one line of namespaces and measures them in turn, run by run. A peer that is not
// here or does not work is left out, and the report says why.
func Throughput(ctx context.Context, opt ThroughputOptions) (*ThroughputReport, error) {
	opt, err := opt.filled()
	if err != nil {
		return nil, err
	}
	chosen, err := choosePeers(opt.Peers, ThroughputPeers())
	if err != nil {
		return nil, err
	}
	tools, err := measuringTools(ctx, opt)
	if err != nil {
		return nil, err
	}
	c := &comparison{opt: opt, report: &ThroughputReport{Peers: map[string]*Carried{}, Ratio: map[string]float64{}, Hops: opt.Hops,
		Offload: !opt.NoOffload, Runs: opt.Runs, StreamTime: opt.Time.Seconds(), Streams: opt.Streams, Tools: tools,
		Machine: thisMachine(), Began: time.Now(), Notes: []string{}}}
	dir, err := os.MkdirTemp("", "x0t-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := c.build(ctx, dir); err != nil {
		return nil, err
	}
	err = c.measureAll(ctx, chosen)
	for _, o := range c.overlays {
		o.close()
	}
	err = errors.Join(err, c.site.lab.Close())
	c.report.Took = time.Since(c.report.Began).Seconds()
	return c.report, err
}

// measuringTools names the programs that measure, with their versions; without one of them nothing is measured at all.
func measuringTools(ctx context.Context, opt ThroughputOptions) (out []string, err error) {
	for name, ask := range map[string]string{"iperf3": "--version", "ping": "-V", "ip": "-V", "ethtool": "--version"} {
		if name == "ethtool" && !opt.NoOffload {
			continue
		}
		p, err := findProgram(name)
		if err != nil {
			return nil, fmt.Errorf("%s %w: scripts/deps installs it", name, ErrNoProgram)
		}
		out = append(out, p.version(ctx, "", ask))
	}
	return sorted(out), nil
}

func (c *comparison) say(format string, args ...any) {
	fmt.Fprintf(c.opt.Progress, "bench: "+format+"\n", args...)
}

// build makes the line and puts x0t up on it.
func (c *comparison) build(ctx context.Context, dir string) error {
	m, err := topology.Builtin(fmt.Sprintf("line:%d", c.opt.Hops+1))
	if err != nil {
		return err
	}
	opt := lab.Options{Map: lab.FromTopology(m), Delay: lab.NoDelay, Binary: c.opt.Binary, Progress: c.opt.Progress}
	for i := range opt.Map.Links {
		opt.Map.Links[i].Delay = 0 // as Options say
	}
	l, err := lab.Up(ctx, opt)
	if err != nil {
		return err
	}
	c.site = &site{lab: l, m: m, dir: dir}
	if c.opt.NoOffload {
		for _, n := range m.Nodes {
			if err := offloadOff(ctx, l, n.ID); err != nil {
				return errors.Join(err, l.Close())
			}
		}
	}
	x0t, err := c.site.ours(ctx)
	if err == nil {
		c.report.TCP, err = tcpSettings(ctx, l, m.Nodes[0].ID)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	c.overlays, c.results = []*overlay{x0t}, []*Carried{&c.report.Carried}
	x0t.describe(&c.report.Carried)
	return nil
}

// ours is x0t itself as an overlay.
func (s *site) ours(ctx context.Context) (*overlay, error) {
	o := s.overlay("x0t")
	o.usage, o.command = s.lab.Usage, "x0t up, default settings"
	for _, id := range s.nodes() {
		st, err := s.lab.Status(ctx, id)
		if err != nil {
			return o, err
		}
		o.addrs[id], o.mtu, o.version = st.Address, st.MTU, st.Version
	}
	return o, o.look(ctx, s.nodes()[0], s.nodes()[len(s.nodes())-1])
}

// tcpSettings says what the kernel's TCP does at a node.
func tcpSettings(ctx context.Context, l *lab.Lab, id mesh.NodeID) (string, error) {
	out, err := l.Exec(ctx, id, "sh", "-c", "cd /proc/sys/net/ipv4 && cat tcp_congestion_control tcp_rmem tcp_wmem")
	lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(string(out)), "\t", " "), "\n")
	if err != nil || len(lines) != 3 {
		return "", fmt.Errorf("settings of TCP: %q: %w", out, err)
	}
	return fmt.Sprintf("%s, rmem %s, wmem %s", lines[0], lines[1], lines[2]), nil
}

func (o *overlay) describe(r *Carried) {
	r.Version, r.Command, r.MTU, r.Device, r.Unfair = o.version, o.command, o.mtu, o.device, o.unfair
}

// measureAll puts the peers up and takes all runs, one contender after the other in each.
func (c *comparison) measureAll(ctx context.Context, chosen []peer) error {
	for _, p := range chosen {
		if err := c.join(ctx, p); err != nil {
			return err
		}
	}
	noise := listen()
	defer func() {
		c.report.Noise = noise.stop()
		c.conclude() // also of what was measured before an error
	}()
	for run := range c.opt.Runs {
		for i, o := range c.overlays {
			if c.results[i].Unmeasured != "" {
				continue
			}
			got, err := c.run(ctx, o)
			if err != nil && (i == 0 || ctx.Err() != nil) {
				return fmt.Errorf("run %d: %w", run+1, err)
			}
			if err != nil {
				c.drop(o.name, c.results[i], fmt.Sprintf("run %d failed: %v", run+1, err))
				continue
			}
			c.say("run %d of %d: %s %.2f Gbit/s, RTT %.0f µs, loaded %.2f ms, %.2f cores, %.0f MB", run+1, c.opt.Runs, o.name, got.Gbps, got.RTT, got.RTTLoad, got.CPU, got.RSS)
			c.results[i].Samples = append(c.results[i].Samples, got)
		}
	}
	return nil
}

// join puts a peer up beside those that are.
func (c *comparison) join(ctx context.Context, p peer) error {
	r := &Carried{Samples: []Carry{}}
	c.report.Peers[p.name] = r
	c.report.order = append(c.report.order, p.name)
	o, err := p.line(ctx, c.site)
	ids := c.site.nodes()
	if err == nil {
		if err = o.reaches(ctx, ids[0], ids[len(ids)-1]); err == nil {
			err = o.look(ctx, ids[0], ids[len(ids)-1])
		}
	}
	o.describe(r)
	if err != nil {
		o.close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.drop(p.name, r, err.Error())
		return nil
	}
	c.say("%s is up: %s", p.name, o.version)
	c.overlays, c.results = append(c.overlays, o), append(c.results, r)
	return nil
}

// drop leaves a peer out from now on.
func (c *comparison) drop(name string, r *Carried, why string) {
	c.say("%s is not measured: %s", name, why)
	r.Unmeasured, r.Samples = why, []Carry{}
}

func (c *comparison) conclude() {
	relays := c.opt.Hops > 1
	for _, r := range c.results {
		r.sumUp(relays)
	}
	for name, r := range c.report.Peers {
		if q := ratios(c.report.Samples, r.Samples); len(q) > 0 {
			c.report.Ratio[name] = percentile(q, 50)
		}
	}
	if c.opt.Runs < MinRuns {
		c.report.Notes = append(c.report.Notes, fmt.Sprintf("%d runs are too few to judge by: %d are needed", c.opt.Runs, MinRuns))
	}
	c.report.Notes = append(c.report.Notes, "senders, receivers and all daemons share the machine's cores; the daemons of the other contenders are up, and idle, while one is measured")
}
