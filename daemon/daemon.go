// Package daemon is the one place where the deciding half (core/node) and the acting half (host) meet: it opens
// the sockets, runs the two loops, carries effects out, answers the API, and ends all of it in order.
package daemon

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/alarm"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/host/discovery"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/host/systemd"
	"x0tta6bl4/host/tun"
	"x0tta6bl4/host/udp"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Defaults of the data plane.
const (
	MeshMTU = 1360 // inner packets; fits 16 labels into 1452 bytes
	TunName = "x0t0"

	labelsFile   = "labels.json"
	instanceFile = "instance.json"
)

// Options say where a daemon finds what it needs.
type Options struct {
	Config  config.Config
	Given   []string // keys of Config that this node's file gives a value; they beat what nodes share
	State   string   // directory
	Socket  string   // of the API
	Log     *slog.Logger
	Relog   func(config.Log) // makes Log log otherwise; nil = it does not change
	Version string
	Ready   func()            // called once when the API answers; may be nil
	Manager *systemd.Notifier // the service manager that watches this process; nil = none
}

// Daemon is a running node. Its fields are set before any goroutine starts and not changed afterwards, but for
// those that say so.
type Daemon struct {
	opt      Options
	log      *slog.Logger
	self     mesh.NodeID
	domain   spiffeid.TrustDomain
	addr     netip.Addr
	hello    time.Duration
	started  time.Time
	store    *keeper
	identity *Membership
	clock    *labClock // nil but in a lab
	stepped  time.Time // of the slow loop: when it last stepped

	core       *node.Control // touched by the slow loop only
	reflex     *node.Reflex  // touched by the fast loop only
	plane      *dataplane.Plane
	tun        *tun.Device
	sockets    []*udp.Socket
	joins      []net.Listener
	joinServer *authority.Server
	links      []*quicconn.Transport // parallel to sockets
	peers      *quicconn.Transport
	carrier    *carrier
	registry   *registry
	sources    sources
	roaming    roaming
	names      names
	shared     *shared
	tuning     tuning
	following  following
	discovery  *discovery.Discovery // nil = not wanted; its methods know that
	alarm      *alarm.Alarm         // of the fast loop
	turnAt     appointment          // of the fast loop

	events    chan node.ControlEvent
	reports   *mailbox[node.ControlEvent]
	frames    chan node.ReflexEvent
	calm      chan node.HelloHeard // of them, those that can wait for the loop's next turn
	orders    *mailbox[node.ReflexEvent]
	asks      chan func(*node.Control)
	asksFast  *mailbox[func(*node.Reflex)]
	jobs      *mailbox[func()]
	labels    atomic.Pointer[node.LabelState] // that a job is to write; nil = none is
	checks    *turns                          // signatures of others: a flood of them must not hold up our own
	intake    intake
	gathering gathering
	linkLog   *linkLog // of the slow loop
	alarms    lineGate // of the slow loop
	pulse     *pulse
	table     atomic.Pointer[mesh.Forwarding]
	done      chan struct{}

	framesDropped atomic.Uint64
	sendsDropped  atomic.Uint64

	refusalsUntold atomic.Uint64
	nextProbe      atomic.Uint64
	renewals       atomic.Uint64 // attempts

	mu         sync.Mutex // guards what follows
	joinGate   lineGate
	refused    []api.Refusal
	warnings   []string
	pings      map[uint64]ping
	rtts       map[mesh.NodeID]time.Duration
	answers    map[mesh.NodeID]time.Time // when each node last answered a probe
	renewError string
	failures   map[netip.AddrPort]string // why the last dial of a neighbour's address failed
}

// Run runs a node until ctx ends. It returns nil if it ended because of that.
func Run(ctx context.Context, opt Options) error {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	member, err := openMembership(opt)
	if err != nil {
		return err
	}
	defer member.Close()
	member.Store.log = opt.Log
	d := newDaemon(opt, member)
	d.opt.Ready = func() {
		d.tellManager(opt.Manager.Ready())
		if opt.Ready != nil {
			opt.Ready()
		}
	}
	if err := d.open(); err != nil {
		d.close()
		return err
	}
	defer d.close()
	return d.run(ctx)
}

func newDaemon(opt Options, m *Membership) *Daemon {
	d := &Daemon{
		opt: opt, log: opt.Log, self: m.Node, domain: m.Domain, addr: mesh.Addr(m.Domain, m.Node),
		hello: opt.Config.Links.Hello, started: time.Now(), store: m.Store, identity: m,
		registry: newRegistry(),
		events:   make(chan node.ControlEvent, 256),
		reports:  newMailbox[node.ControlEvent](),
		frames:   make(chan node.ReflexEvent, 1024),
		calm:     make(chan node.HelloHeard, 256),
		orders:   newMailbox[node.ReflexEvent](),
		asks:     make(chan func(*node.Control)),
		asksFast: newMailbox[func(*node.Reflex)](),
		jobs:     newMailbox[func()](), checks: newTurns(),
		intake:  intake{last: map[mesh.Label]time.Time{}},
		linkLog: newLinkLog(opt.Log), pulse: newPulse(),
		roaming: roaming{lookUp: make(chan struct{}, 1), names: map[string]string{}},
		done:    make(chan struct{}),
		pings:   map[uint64]ping{}, rtts: map[mesh.NodeID]time.Duration{}, answers: map[mesh.NodeID]time.Time{}, failures: map[netip.AddrPort]string{},
	}
	d.table.Store(&mesh.Forwarding{})
	d.shared = newShared(d.self, d.log, d.table.Load)
	d.shared.meetings.open = d.openStateStream
	d.tuning = newTuning(m.Log)
	m.logged = d.tuning.news
	d.nextProbe.Store(1 << 32) // below: probes of the fast loop; above: pings of operators
	return d
}

// open takes everything from the system that the node needs, and says what is missing.
func (d *Daemon) open() (err error) {
	if d.clock, err = openLabClock(d.log); err != nil {
		return err
	}
	d.identity.clock = d.clock
	if err := errors.Join(d.noMeshNames(), d.watchNetwork()); err != nil {
		return err
	}
	cfg, err := d.nodeConfig()
	if err != nil {
		return err
	}
	d.tun, err = tun.Open(TunName, netip.PrefixFrom(d.addr, 128), mesh.Prefix(d.domain), MeshMTU)
	if err != nil {
		return fmt.Errorf("open the network device %s: %w", TunName, err)
	}
	if err := d.tun.Exposed(); err != nil {
		d.log.Error("the mesh address can be reached past the mesh", "error", err)
		d.warn(d.addr.String() + " can be reached from the underlay, past the mesh and without identity: " + err.Error())
	}
	d.plane = dataplane.New(dataplane.Config{
		Self: d.addr, Prefix: mesh.Prefix(d.domain), Tun: d.tun, Send: d.sendDatagram, SendRun: d.sendRun,
		Protect: d.opt.Config.Routing.Protect, Duplicates: d.opt.Config.Routing.DuplicateBudget,
		Callbacks: d.planeCallbacks(),
	})
	for _, a := range d.opt.Config.Links.Listen {
		r := d.plane.NewReceiver()
		s, err := udp.Listen(a, udp.Handlers{
			Frame: func(_ *udp.Socket, from netip.AddrPort, b []byte) { r.HandleFrame(from, b) },
			Came:  r.Came,
			Flush: r.Flush,
			Hello: func(_ *udp.Socket, from netip.AddrPort, b []byte, at time.Time) { d.plane.HandleWaiting(from, b, at) },
		})
		if err != nil {
			return fmt.Errorf("listen for links on %s: %w", a, err)
		}
		d.sockets = append(d.sockets, s)
		if err := s.Unsorted(); err != nil {
			d.log.Warn("the kernel does not sort what arrives: a flood of garbage can crowd out neighbours", "listen", a, "cause", err)
			d.warn("a flood of garbage can crowd out neighbours at " + s.LocalAddr().String() + ": the kernel does not sort what arrives: " + err.Error())
		}
	}
	d.admit(nil)
	if err := d.openDiscovery(); err != nil {
		return err
	}
	d.joinServer = d.newJoinServer()
	if err := d.listenJoin(); err != nil {
		return err
	}
	d.openNames()
	if d.alarm, err = alarm.New(); err != nil {
		return err
	}
	d.core = node.NewControl(cfg, d.now())
	fast := cfg
	fast.Rand = newRand()
	d.reflex = node.NewReflex(fast)
	d.carrier = newCarrier(d.table.Load, d.plane.SendHandshake)
	for _, s := range d.sockets {
		t, err := d.transport(s.QUIC(), wire.PurposeLink, s.NewConnectionID)
		if err != nil {
			return err
		}
		if err := s.RequireMarks(); err != nil {
			return err
		}
		d.links = append(d.links, t)
	}
	d.peers, err = d.transport(d.carrier, wire.PurposeE2E, nil)
	return err
}

func (d *Daemon) nodeConfig() (node.Config, error) {
	c := d.opt.Config
	cfg := node.Config{
		Self: d.self, Domain: d.domain, Rand: newRand(),
		Hello: c.Links.Hello, Observe: true,
	}
	route(&cfg, c)
	var err error
	if cfg.Incarnation, cfg.Boot, err = d.instance(); err != nil {
		return cfg, err
	}
	if err := d.readState(labelsFile, &cfg.Labels); err != nil {
		return cfg, err
	}
	cfg.Neighbours, cfg.Bootstrap = d.byEachWay(c.Links.Neighbours), d.byEachWay(d.identity.Bootstrap)
	cfg.Contacts = d.readContacts()
	cfg.Addresses = texts(d.advertised())
	cfg.Groups, cfg.InterfaceGroups = riskGroups(c)
	return cfg, nil
}

// instance returns which life of this node begins: the incarnation of its state, and a boot time later than that of
// every life before, also where the clock was set back or does not run while the machine is off.
func (d *Daemon) instance() (incarnation, boot uint64, err error) {
	var inst struct {
		Incarnation uint64 `json:"incarnation"`
		Boot        uint64 `json:"boot"`
	}
	if err := d.readState(instanceFile, &inst); err != nil {
		return 0, 0, err
	}
	if inst.Incarnation == 0 {
		inst.Incarnation = newRand().Uint64() | 1
	}
	inst.Boot = max(inst.Boot+1, uint64(max(d.started.UnixMilli(), 0))) // #nosec G115 -- not negative
	b, err := json.Marshal(inst)
	if err != nil {
		return 0, 0, err
	}
	return inst.Incarnation, inst.Boot, d.store.Write(instanceFile, b)
}

// readState reads a JSON file of the state directory; a file that is not there leaves v as it is.
func (d *Daemon) readState(name string, v any) error {
	b, err := d.store.Read(name)
	if errors.Is(err, errNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("state file %s in %s: %w; restore it, or delete it to start it afresh", name, d.opt.State, err)
	}
	return nil
}

// run starts the loops and servers, and ends them when ctx ends or one of them fails.
func (d *Daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	must := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	loop := func(f func(context.Context)) {
		wg.Go(func() { f(ctx) })
	}
	loop(func(ctx context.Context) { work(ctx, d.jobs) })
	loop(d.checks.work)
	loop(d.fast)
	loop(d.control)
	if d.clock != nil {
		loop(d.serveLabClock)
	}
	d.post(d.identityEvent())
	must("packets from "+TunName, d.plane.RunTUN)
	must("API on "+d.opt.Socket, d.serveAPI)
	loop(d.renewLoop)
	loop(d.usageLoop)
	loop(d.settle)
	must("network monitor", d.networkLoop)
	loop(d.namesLoop)
	loop(d.namesServer)
	loop(d.memberNames)
	loop(d.discoveryLoop)
	loop(d.contactsLoop)
	loop(d.pulseLoop)
	loop(d.stateLoop)
	loop(d.sharedLoop)
	if d.opt.Manager != nil {
		loop(func(ctx context.Context) { d.attend(ctx, d.statusLine) })
	}
	must("join server", d.serveJoin)
	d.log.Info("up", "node", d.self, "domain", d.domain.Name(), "address", d.addr, "listen", d.listening())
	<-ctx.Done()
	err := context.Cause(ctx)
	d.log.Info("going down")
	d.tellManager(d.opt.Manager.Stopping())
	close(d.done)
	d.shared.meetings.end()
	d.sayBye()
	_ = d.tun.Close() // ends the packet loop
	wg.Wait()
	d.flush()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// sayBye closes every connection with a reason, so that neighbours need not wait for their timers.
func (d *Daemon) sayBye() {
	d.discovery.Close()
	for _, t := range d.links {
		_ = t.Close()
	}
	_ = d.peers.Close()
}

func (d *Daemon) close() {
	d.shared.close()
	if m := d.roaming.monitor; m != nil {
		_ = m.Close()
	}
	for _, t := range d.links {
		_ = t.Close()
	}
	if d.peers != nil {
		_ = d.peers.Close()
	}
	for _, l := range d.joins {
		_ = l.Close()
	}
	for _, s := range d.sockets {
		_ = s.Close()
	}
	if d.tun != nil {
		_ = d.tun.Close()
	}
	if d.alarm != nil {
		_ = d.alarm.Close()
	}
	d.clock.close()
}

// work runs what the slow loop must not wait for, in order: signatures and writes.
func work(ctx context.Context, jobs *mailbox[func()]) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-jobs.ready:
			for _, job := range jobs.take() {
				job()
			}
		}
	}
}

// usageLoop tells the slow loop which sessions are in use.
func (d *Daemon) usageLoop(ctx context.Context) {
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			for n, u := range d.plane.PeerUsage() {
				d.post(node.Used{Node: n, At: u.Last()})
			}
		}
	}
}

func (d *Daemon) warn(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.warnings {
		if w == s {
			return
		}
	}
	if d.warnings = append(d.warnings, s); len(d.warnings) > 16 {
		d.warnings = d.warnings[1:]
	}
}

func newRand() *rand.Rand {
	var seed [32]byte
	_, _ = crand.Read(seed[:])             // never fails (crypto/rand)
	return rand.New(rand.NewChaCha8(seed)) // #nosec G404 -- ChaCha8 seeded by the system; a type that core takes
}
