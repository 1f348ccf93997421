package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// DemoOptions say how the demo runs. The zero value of every field has a meaning.
type DemoOptions struct {
	Map    Map       // no nodes = six nodes, two ways between the ends
	Binary string    // as in Options
	Helper string    // as in Options
	Keep   string    // as in Options
	Out    io.Writer // nil = standard output
	TTY    bool      // Out is a terminal: show a live picture
}

// What the demo does.
const (
	demoSize      = 32 << 20
	demoRate      = 6 << 20 // bytes a second that curl is held to, so that there is a middle of the download to cut in
	demoPort      = "8080"
	demoLimit     = 60 * time.Second
	demoDomain    = "demo.mesh"
	foreignName   = "stranger"
	foreignDomain = "other.mesh"
	foreignLimit  = 20 * time.Second
	drawPeriod    = 100 * time.Millisecond
)

// demo is one run of it.
type demo struct {
	*view
	lab       *Lab
	near, far mesh.NodeID
	stranger  mesh.NodeID
	file      string // on the far node
	sum       string
	prober    *Prober
	flows     []*Flow
	probesAt  time.Duration // when the probes began
	cutLink   Target        // zero until it is cut
	cutAt     time.Duration
}

// Demo shows a mesh that heals: a download across several hops goes on while the link in use is cut, and a node with a
// foreign identity is turned away. Its error says what did not work.
func Demo(ctx context.Context, opt DemoOptions) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoLimit, fmt.Errorf("the demo took longer than %s", demoLimit))
	defer cancel()
	if opt.Out == nil {
		opt.Out = os.Stdout
	}
	if _, err := exec.LookPath("curl"); err != nil {
		return fmt.Errorf("the demo downloads with curl: install it (apt-get install curl): %w", err)
	}
	d := &demo{view: &view{out: opt.Out, tty: opt.TTY, began: time.Now()}}
	err := d.run(ctx, opt)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

func (d *demo) run(ctx context.Context, opt DemoOptions) (err error) {
	if len(opt.Map.Nodes) == 0 {
		builtin, err := topology.Builtin("demo")
		if err != nil {
			return err
		}
		opt.Map = FromTopology(builtin)
	}
	if d.stranger, err = d.choose(opt.Map); err != nil {
		return err
	}
	lo := Options{Map: opt.Map, Binary: opt.Binary, Helper: opt.Helper, Keep: opt.Keep, TrustDomain: demoDomain,
		Progress: d.view, guest: d.stranger, guestAt: d.near}
	d.say("%s", d.colour(ansiBold, fmt.Sprintf("a mesh of %d nodes on this machine: %s", len(opt.Map.Nodes), opt.Map.Name)))
	for _, l := range opt.Map.Links {
		d.say("  %s -- %s", l.A, l.B)
	}
	if d.lab, err = Up(ctx, lo); err != nil {
		return err
	}
	defer func() {
		if d.prober != nil {
			d.prober.Close()
		}
		err = errors.Join(err, d.lab.Close())
		d.say("everything is cleaned up")
	}()
	for _, step := range []func(context.Context) error{d.startStranger, d.startServer, d.startProbes, d.download, d.refused} {
		if err := step(ctx); err != nil {
			return d.lab.explain(err)
		}
	}
	return nil
}

// choose finds the ends of the download: the farthest two nodes that no single cut parts. It returns a name for the
// stranger that no node has.
func (d *demo) choose(m Map) (stranger mesh.NodeID, err error) {
	if err := m.check(); err != nil {
		return stranger, err
	}
	var ok bool
	if d.near, d.far, ok = m.farthest(func(a, b mesh.NodeID) bool {
		_, direct := m.linkBetween(a, b)
		return !direct && m.survives(a, b)
	}); !ok {
		d.near, d.far, ok = m.farthest(m.survives)
	}
	if !ok {
		return stranger, fmt.Errorf("map %s has no two nodes with two ways between them: a cut would part them, there is nothing to show", m.Name)
	}
	name := foreignName
	for slices.Contains(m.Nodes, mesh.MustNodeID(name)) {
		name += "x"
	}
	return mesh.MustNodeID(name), nil
}

// startStranger founds a second trust domain on the machine that is no member, with a member as its neighbour.
func (d *demo) startStranger(ctx context.Context) error {
	if err := d.lab.writeConfig(d.stranger); err != nil {
		return err
	}
	if _, err := d.lab.Exec(ctx, d.stranger, "x0t", "init", "--trust-domain", foreignDomain, "--name", d.stranger.String()); err != nil {
		return err
	}
	return d.lab.startDaemon(d.stranger)
}

// startServer puts a file of random bytes on the far node.
func (d *demo) startServer(ctx context.Context) error {
	n := d.lab.nodes[d.far]
	d.file = filepath.Join(n.dir, "demo.bin")
	sum, err := randomFile(d.file, demoSize)
	if err != nil {
		return err
	}
	d.sum = sum
	s, err := d.lab.Status(ctx, d.far)
	if err != nil {
		return err
	}
	at := net.JoinHostPort(s.Address.String(), demoPort)
	d.say("%s serves %d MiB of random bytes at http://%s/", d.far, demoSize>>20, at)
	d.say("  sha256 %s", d.sum)
	return d.lab.serve(d.far, at, d.file)
}

// randomFile writes a file of random bytes and returns its SHA-256.
func randomFile(name string, size int64) (string, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- in the lab's directory
	if err != nil {
		return "", err
	}
	h := sha256.New()
	seed := sha256.Sum256([]byte(time.Now().String()))
	_, err = io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8(seed), size)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// startProbes lets an application on each end probe the other one.
func (d *demo) startProbes(ctx context.Context) error {
	p, err := d.lab.Prober(ctx)
	if err != nil {
		return err
	}
	d.prober = p
	took, err := p.Knock(ctx, d.far, d.near, knockPeriod)
	if err != nil {
		return err
	}
	d.say("the first packet from %s to %s took %s", d.far, d.near, ms(api.Millis(took)))
	d.flows = []*Flow{p.Flow(d.near, d.far), p.Flow(d.far, d.near)}
	d.probesAt = p.Now()
	return nil
}

// download fetches the file, cuts the link in use in the middle of it and judges the result.
func (d *demo) download(ctx context.Context) error {
	probing, stop := context.WithCancel(ctx)
	streamed := make(chan struct{})
	go func() { d.prober.Stream(probing, d.flows); close(streamed) }()
	defer func() { stop(); <-streamed }()

	s, err := d.lab.Status(ctx, d.far)
	if err != nil {
		return err
	}
	url := "http://" + net.JoinHostPort(s.Address.String(), demoPort) + "/demo.bin"
	got := filepath.Join(d.lab.nodes[d.near].dir, "downloaded.bin")
	d.say("%s downloads it: curl --limit-rate %dM %s", d.near, demoRate>>20, url)
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := d.lab.Exec(ctx, d.near, "curl", "-sS", "--fail", "--limit-rate", fmt.Sprint(demoRate), "-o", got, url)
		done <- err
	}()
	if err := d.watch(ctx, got, done); err != nil {
		return err
	}
	end := d.prober.Now()
	d.say("the download is complete after %.1f s", time.Since(began).Seconds())
	return d.verdict(ctx, got, end)
}

// watch draws until the download ends, and cuts the link in use at its middle.
func (d *demo) watch(ctx context.Context, got string, done <-chan error) error {
	tick := time.NewTicker(drawPeriod)
	defer tick.Stop()
	said := 0
	for {
		select {
		case err := <-done:
			if err == nil && d.cutLink == (Target{}) {
				err = errors.New("the download ended before its link could be cut")
			}
			return err
		case <-tick.C:
		}
		size := fileSize(got)
		if quarter := int(4 * size / demoSize); quarter > said && quarter < 4 {
			said = quarter
			d.say("download: %d %%", 25*quarter)
		}
		if size > demoSize*2/5 && d.cutLink == (Target{}) {
			if err := d.cut(ctx); err != nil {
				return err
			}
		}
		d.draw(d.picture(ctx, size))
	}
}

// cut takes down the middle link of the path on which the file is being sent.
func (d *demo) cut(ctx context.Context) error {
	path, err := d.lab.pathInUse(ctx, d.far, d.near)
	if err != nil {
		return err
	}
	d.say("the file travels %s", way(path))
	f := Fault{Kind: fault.Cut, Target: middleLink(path)}
	d.cutAt = d.prober.Now()
	if err := d.lab.Inject(f); err != nil {
		return err
	}
	d.cutLink = f.Target
	d.say("%s", d.colour(ansiRed, fmt.Sprintf("CUT: the link between %s and %s is down", f.Target.A, f.Target.B)))
	return nil
}

// verdict tells the outage, the path after the cut, and whether the file is whole.
func (d *demo) verdict(ctx context.Context, got string, end time.Duration) error {
	path, err := d.lab.pathInUse(ctx, d.far, d.near)
	if err != nil {
		return err
	}
	var outage time.Duration
	var sent, lost int
	back := true
	for _, f := range d.flows {
		w := f.Look(d.cutAt, end)
		outage, sent, lost = max(outage, w.Outage), sent+w.Sent, lost+w.Lost
		back = back && f.returned(d.cutAt, end)
	}
	d.say("%s", d.colour(ansiGreen, fmt.Sprintf("switched to %s; outage %s (probes every 1 ms both ways: %d of %d lost)",
		way(path), ms(api.Millis(outage)), lost, sent)))
	switch {
	case onPath(d.cutLink, path):
		return fmt.Errorf("%s still sends by the link that was cut: %s", d.far, way(path))
	case !back:
		return errors.New("probes did not come back after the cut")
	}
	sum, err := fileSum(got)
	if err != nil {
		return err
	}
	d.say("sha256 of what arrived: %s", sum)
	if sum != d.sum {
		return fmt.Errorf("the file changed on its way: sha256 %s, want %s", sum, d.sum)
	}
	d.say("%s", d.colour(ansiGreen, "the same: no byte was lost"))
	return nil
}

// refused waits until the stranger's neighbour has turned it away.
func (d *demo) refused(ctx context.Context) error {
	d.say("%s has an SVID of another trust domain, %s, and a link to %s", d.stranger, foreignDomain, d.near)
	ctx, cancel := context.WithTimeout(ctx, foreignLimit)
	defer cancel()
	addr, _ := d.lab.Addr(d.stranger, d.near)
	tick := time.NewTicker(drawPeriod)
	defer tick.Stop()
	for {
		s, err := d.lab.Status(ctx, d.near)
		if err != nil {
			return err
		}
		for _, r := range s.Refused {
			// Either end may turn the other one away first. What is to be seen is the member's own verdict.
			host, _, err := net.SplitHostPort(r.Remote)
			if err == nil && host == addr && strings.Contains(r.Reason, foreignDomain) {
				d.say("%s", d.colour(ansiGreen, fmt.Sprintf("%s refused it: %s", d.near, r.Reason)))
				return d.stayedOut(ctx, s)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s did not report that it refused %s at %s: %w", d.near, d.stranger, addr, ctx.Err())
		}
	}
}

// stayedOut checks that the stranger became no part of the mesh.
func (d *demo) stayedOut(ctx context.Context, member api.Status) error {
	s, err := d.lab.Status(ctx, d.stranger)
	if err != nil {
		return err
	}
	if s.LinksUp != 0 || member.LSDBNodes > len(d.lab.m.Nodes) {
		return fmt.Errorf("%s has %d links up, %s knows %d nodes: the foreign node got in", d.stranger, s.LinksUp, d.near, member.LSDBNodes)
	}
	return nil
}

// picture is the live block.
func (d *demo) picture(ctx context.Context, size int64) []string {
	lines := []string{""}
	if ps, err := d.lab.nodes[d.far].client.Paths(ctx, d.near); err == nil {
		for _, p := range ps.Paths {
			s := fmt.Sprintf("  %-8s %s", p.State, way(p.Nodes))
			if p.State == api.PathActive {
				s = d.colour(ansiBold, s)
			}
			lines = append(lines, s)
		}
	}
	links := fmt.Sprintf("  links    %d", len(d.lab.m.Links))
	if d.cutLink != (Target{}) {
		links += d.colour(ansiRed, fmt.Sprintf(", of which %s-%s is CUT", d.cutLink.A, d.cutLink.B))
	}
	begin := d.probesAt
	if d.cutLink != (Target{}) {
		begin = d.cutAt
	}
	var gap time.Duration
	for _, f := range d.flows {
		gap = max(gap, f.Look(begin, d.prober.Now()-2*drawPeriod).Outage)
	}
	return append(lines,
		links,
		fmt.Sprintf("  download %s %.1f of %d MiB", bar(float64(size)/demoSize, 40), float64(size)/(1<<20), demoSize>>20),
		fmt.Sprintf("  probes   longest gap %s", ms(api.Millis(gap))))
}

func way(nodes []mesh.NodeID) string {
	var s []string
	for _, n := range nodes {
		s = append(s, n.String())
	}
	return strings.Join(s, " -> ")
}

func fileSize(name string) int64 {
	i, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return i.Size()
}

func fileSum(name string) (string, error) {
	f, err := os.Open(name) // #nosec G304 -- in the lab's directory
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
