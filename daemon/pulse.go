package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/tun"
	"x0tta6bl4/mesh"
)

// pulseEvery is how often a node looks at itself. What it finds is also looked at anew whenever somebody asks.
const pulseEvery = 5 * time.Second

// pulse is what a node remembers of itself from one look to the next.
type pulse struct {
	mu      sync.Mutex
	tracks  peerTracks
	unseen  time.Time // since when no neighbour announces us though a link is up; zero = one does
	sockets map[string]socketLook
	ailing  []string // what ails each socket through which nothing passes
	last    time.Time
	health  api.Health
	since   time.Time
	gate    lineGate
}

// socketLook is what a socket had counted at the last look.
type socketLook struct{ in, inErrors, out, outErrors uint64 }

func newPulse() *pulse { return &pulse{tracks: peerTracks{}, sockets: map[string]socketLook{}} }

// census is what the slow loop knows, as far as health and status need it.
type census struct {
	digest    string
	members   int
	up, total int
	sessions  int
	observers []node.Observation // of this node
	clocks    []node.ClockView
	thin      []node.LinkView           // links that their neighbours announce as too thin to be believed
	facts     map[mesh.NodeID]peerFacts // of all other members
}

func (d *Daemon) census(ctx context.Context) (census, error) {
	var c census
	err := d.ask(ctx, func(m *node.Control) { c = takeCensus(m, d.self, d.now()) })
	if err != nil {
		return c, err
	}
	usage := d.plane.PeerUsage()
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, f := range c.facts {
		u := usage[n]
		f.rx, f.tx = latest(u.LastRx, d.answers[n]), u.LastTx
		c.facts[n] = f
	}
	return c, nil
}

func takeCensus(m *node.Control, self mesh.NodeID, now time.Time) census {
	db := m.Database()
	digest := db.Digest()
	nodes := db.Nodes()
	c := census{
		digest: hex.EncodeToString(digest[:]), members: len(nodes), total: len(m.Waiting()),
		observers: m.ObserversOf(self), clocks: settledClocks(m, now), facts: make(map[mesh.NodeID]peerFacts, len(nodes)),
	}
	for _, l := range m.Links() {
		c.total++
		if l.LowCapacity > 0 {
			c.thin = append(c.thin, l)
		}
		if l.Status.State != mesh.LinkDown {
			c.up++
		}
	}
	for _, n := range nodes {
		if n.ID != self {
			c.facts[n.ID] = peerFacts{}
		}
	}
	for _, n := range m.Reachable() {
		if f, ok := c.facts[n]; ok {
			f.reachable = true
			c.facts[n] = f
		}
	}
	for _, p := range m.Peers() {
		if p.Session != 0 {
			c.sessions++
		}
		if f, ok := c.facts[p.Node]; ok {
			f.session, f.opening, f.established = p.Session != 0, p.Opening, p.Established
			c.facts[p.Node] = f
		}
	}
	return c
}

// settled is how long a link must be up before its neighbour's announcement tells that our clock is ahead, if there has
// been one only: the first may have lain in its database, the next is made because of the link.
const settled = 30 * time.Second

func settledClocks(m *node.Control, now time.Time) []node.ClockView {
	return slices.DeleteFunc(m.Clocks(), func(c node.ClockView) bool {
		return c.Ahead < 0 && !c.Fresh && !slices.ContainsFunc(m.Links(), func(l node.LinkView) bool {
			return l.Neighbour == c.Neighbour && l.Status.State == mesh.LinkUp && now.Sub(l.Status.Since) >= settled
		})
	})
}

// examine judges the node by a census, and remembers what the next look needs.
func (d *Daemon) examine(now time.Time, c census, warnings []string) (h api.Health, since time.Time, reasons []string) {
	device := d.tun.Check()
	p := d.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracks.step(now, c.facts)
	v := vitals{
		now: now, svid: d.identity.svid(), up: c.up, total: c.total, members: c.members, unseen: p.unseenFor(now, c),
		tun: device, sockets: p.ailing, of: len(d.sockets), clocks: c.clocks, warnings: warnings,
	}
	v.used, v.stalled = p.tracks.recent(now)
	h, reasons = v.judge()
	if h != p.health {
		d.logHealth(now, p, h, reasons)
		p.health, p.since = h, now
	}
	return h, p.since, reasons
}

// unseenFor returns for how long no neighbour has confirmed any link with us, although one is up.
func (p *pulse) unseenFor(now time.Time, c census) time.Duration {
	seen := slices.ContainsFunc(c.observers, func(o node.Observation) bool { return o.Mutual })
	switch {
	case seen || c.up == 0:
		p.unseen = time.Time{}
		return 0
	case p.unseen.IsZero():
		p.unseen = now
	}
	return now.Sub(p.unseen)
}

// logHealth tells a change of health; p is locked.
func (d *Daemon) logHealth(now time.Time, p *pulse, h api.Health, reasons []string) {
	omitted, ok := p.gate.pass(now)
	if !ok {
		return
	}
	args := []any{"state", h, "was", p.health}
	if len(reasons) > 0 {
		args = append(args, "reasons", reasons)
	}
	if omitted > 0 {
		args = append(args, "omitted", omitted)
	}
	switch h {
	case api.HealthOK:
		d.log.Info("health", args...)
	case api.HealthDegraded:
		d.log.Warn("health", args...)
	default:
		d.log.Error("health", args...)
	}
}

// pulseLoop looks at the node now and then, asks peers that gave no answer, and repairs the network device.
func (d *Daemon) pulseLoop(ctx context.Context) {
	t := time.NewTicker(pulseEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			d.look(ctx, d.now())
		}
	}
}

func (d *Daemon) look(ctx context.Context, now time.Time) {
	_ = d.ask(ctx, func(c *node.Control) { d.linkLog.note(now, c.Links(), "its session ended") })
	if stepped := d.pulse.stepped(now); stepped.Abs() > time.Second {
		d.log.Info("the clock was set, or this machine slept", "by", stepped.Round(time.Millisecond).String())
	}
	d.lookAtSockets(now)
	if err := d.tun.Check(); errors.Is(err, tun.ErrBare) && ctx.Err() == nil {
		d.restoreTUN(err)
	}
	c, err := d.census(ctx)
	if err != nil {
		return // going down
	}
	d.examine(now, c, d.allWarnings(c))
	d.pulse.mu.Lock()
	doubtful := d.pulse.tracks.doubtful(now)
	d.pulse.mu.Unlock()
	table := d.table.Load()
	for _, n := range doubtful {
		if p, ok := table.Peer(n); ok && p.Session != 0 && len(p.Ways) > 0 {
			d.sendProbe(node.SendProbe{Node: n, Path: p.Ways[0].Path, ID: d.nextProbe.Add(1)})
		}
	}
}

// stepped returns by how much the wall clock went further than time did since the last call.
func (p *pulse) stepped(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.last
	p.last = now
	if last.IsZero() {
		return 0
	}
	return wallStep(last, now)
}

func (d *Daemon) restoreTUN(why error) {
	if err := d.tun.Restore(); err != nil {
		d.log.Error("the network device cannot be restored", "device", TunName, "error", err)
		return
	}
	d.log.Warn("the network device was restored", "device", TunName, "cause", why)
}

// lookAtSockets finds sockets through which nothing passes any more.
func (d *Daemon) lookAtSockets(now time.Time) {
	p := d.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ailing = nil
	for _, s := range d.sockets {
		c := s.Counters()
		name := s.LocalAddr().String()
		was, known := p.sockets[name]
		is := socketLook{c["udp_frames"] + c["udp_quic"] + c["udp_garbage"] + c["udp_refused"], c["udp_receive_errors"], c["udp_sent"], c["udp_send_errors"]}
		p.sockets[name] = is
		if why := is.ails(was); known && why != "" {
			p.ailing = append(p.ailing, name+": "+why)
		}
	}
}

// The errors of one look that make a socket dead if nothing passed it meanwhile. A socket that fails reads a hundred
// times a second; errors that concern one neighbour come with its hellos, and those of others pass.
const (
	deadReads  = 200
	deadWrites = 5
)

// ails says what keeps traffic from a socket, by what it counted since was.
func (s socketLook) ails(was socketLook) string {
	switch reads, writes := s.inErrors-was.inErrors, s.outErrors-was.outErrors; {
	case s.in == was.in && reads >= deadReads:
		return fmt.Sprintf("nothing was received and %d times an error since %s ago", reads, pulseEvery)
	case s.out == was.out && writes >= deadWrites:
		return fmt.Sprintf("the system refused all %d datagrams of the last %s", writes, pulseEvery)
	}
	return ""
}

// allWarnings returns what an operator should know beside what is measured.
func (d *Daemon) allWarnings(c census) []string {
	d.mu.Lock()
	ws := slices.Clone(d.warnings)
	if d.renewError != "" {
		ws = append(ws, "the SVID was not renewed: "+d.renewError)
	}
	d.mu.Unlock()
	return slices.Concat(ws, d.store.Troubles(), d.shared.troubles(), d.following.troubles(), d.unresolved(), d.nameTroubles(), d.silentInterfaces(), thinLinks(c.thin))
}
