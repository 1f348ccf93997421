package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// DefaultDelay is the one-way delay of a link whose map and options name none.
const DefaultDelay = 5 * time.Millisecond

// NoDelay as Options.Delay makes links that only cost what the kernel costs.
const NoDelay time.Duration = -1

// Options say what lab to make. The zero value of every field but Map has a meaning.
type Options struct {
	Map         Map
	Delay       time.Duration // one way, of links whose map names none; 0 = DefaultDelay
	Binary      string        // the x0t to run; "" = this program
	Helper      string        // a program whose main calls Helper; "" = this program
	TrustDomain string        // "" = lab.mesh
	TTL         time.Duration // of SVIDs; 0 = the daemon's default
	Hello       time.Duration // between two hellos on a link; 0 = the daemon's default, longer in labs that crowd the machine
	Faults      []Fault       // for Run
	Duration    time.Duration // of the probes of Run; 0 = 10 s if there are faults, none otherwise
	Keep        string        // directory for the daemons' logs and configurations; "" = they are removed
	Page        string        // file for Run's report page, or directory to put one in; "" = none
	Config      string        // further lines of every node's configuration, of sections that the lab does not write itself
	Progress    io.Writer     // one line per step; nil = silence

	guest   mesh.NodeID // a machine that is no member, zero = none
	guestAt mesh.NodeID // the node that it has a link with, and that has it among its neighbours
}

// Lab is a set of nodes that run. Its methods may be called at the same time.
type Lab struct {
	opt    Options
	m      Map
	work   *workspace
	nodes  map[mesh.NodeID]*node
	wires  []*wire // in the order of the map's links
	relays []*process
	spaces []*space // of the relays

	controls []*controller // of the relays
	nft      error         // why packets on a veth pair cannot be dropped by rule, nil if they can

	mu     sync.Mutex
	others []*process // started by Start
	closed bool

	record *recorder // nil = no page is wanted

	injecting sync.Mutex
	injector  injector

	// Converged is how long it took from the first start of a daemon, when all were started at once, until all agreed
	// on the whole topology and every link was up.
	Converged time.Duration
}

// node is one namespace and the daemon in it.
type node struct {
	id      mesh.NodeID
	space   *space
	dir     string
	logPath string
	client  *api.Client

	mu     sync.Mutex
	daemon *process // nil = not started
}

// Up makes the namespaces and links of opt.Map, provisions every node as a user would, starts all daemons at once and
// returns when they have converged. Close it.
func Up(ctx context.Context, opt Options) (*Lab, error) {
	l, err := build(opt)
	if err != nil {
		return nil, err
	}
	if err = l.provision(ctx); err == nil {
		err = l.launch(ctx)
	}
	if err != nil {
		err = l.explain(err)
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// build makes the network without any daemon.
func build(opt Options) (*Lab, error) {
	opt, err := opt.filled()
	if err != nil {
		return nil, err
	}
	if err := Probe(); err != nil {
		return nil, err
	}
	// Orphans of what ran in a node come to us, so that Close can end them.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("adopt orphans: %w", err)
	}
	l := &Lab{opt: opt, m: opt.Map, nodes: map[mesh.NodeID]*node{}}
	l.injector.lab = l
	if opt.Page != "" {
		l.record = &recorder{}
	}
	l.nft = probeNFT()
	if l.work, err = newWorkspace(); err != nil {
		return nil, err
	}
	if err := l.wireUp(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (o Options) filled() (Options, error) {
	if o.Delay == 0 {
		o.Delay = DefaultDelay
	}
	links := make([]MapLink, len(o.Map.Links))
	for i, k := range o.Map.Links {
		if k.Delay == 0 {
			k.Delay = max(0, o.Delay)
		}
		links[i] = k
	}
	o.Map.Links = links
	if o.Hello == 0 {
		o.Hello = crowdedHello(len(o.Map.Nodes), runtime.NumCPU())
	}
	if o.TrustDomain == "" {
		o.TrustDomain = "lab.mesh"
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("path of this program: %w", err)
	}
	for _, p := range []*string{&o.Binary, &o.Helper} {
		if *p == "" {
			*p = self
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return o, err
		}
	}
	if o.Keep != "" {
		if err := os.MkdirAll(o.Keep, 0o700); err != nil {
			return o, fmt.Errorf("directory to keep logs in: %w", err)
		}
		if o.Keep, err = filepath.Abs(o.Keep); err != nil {
			return o, err
		}
	}
	return o, o.Map.check()
}

// What one processor carries: so many daemons at the default pace of hellos.
const (
	daemonsPerCPU = 10
	normalHello   = 50 * time.Millisecond
)

// crowdedHello is the time between hellos in a lab of so many daemons on so many processors; 0 = the daemon's default. A
// link counts as dead after about three, and a daemon that waits that long for its turn on a processor would look like one.
func crowdedHello(nodes, cpus int) time.Duration {
	if crowd := float64(nodes) / float64(daemonsPerCPU*cpus); crowd > 1 {
		return time.Duration(crowd * crowd * float64(normalHello)).Round(10 * time.Millisecond)
	}
	return 0
}

func (l *Lab) wireUp() error {
	l.say("%s: %d namespaces, %d links", l.m.Name, len(l.m.Nodes), len(l.m.Links))
	for i, id := range l.m.Nodes {
		if err := l.addNode(id, i); err != nil {
			return err
		}
	}
	for i, k := range l.m.Links {
		if err := l.addWire(i, k); err != nil {
			return err
		}
	}
	if !l.opt.guest.IsZero() {
		if err := l.addNode(l.opt.guest, len(l.m.Nodes)); err != nil {
			return err
		}
		if err := l.addWire(len(l.m.Links), MapLink{A: l.opt.guestAt, B: l.opt.guest, Delay: max(0, l.opt.Delay)}); err != nil {
			return err
		}
	}
	if err := l.relay(l.wires); err != nil {
		return err
	}
	return l.weather()
}

func (l *Lab) addNode(id mesh.NodeID, index int) error {
	n := &node{id: id}
	var err error
	if n.dir, err = l.work.node(id, index); err != nil {
		return err
	}
	n.logPath = filepath.Join(n.dir, "log")
	if l.opt.Keep != "" {
		n.logPath = filepath.Join(l.opt.Keep, id.String()+".log")
	}
	n.client = api.NewClient(n.socket())
	if n.space, err = newSpace(id.String()); err != nil {
		return err
	}
	l.nodes[id] = n
	return nil
}

// addWire makes link number i. A TAP's relay must be started before frames pass.
func (l *Lab) addWire(i int, k MapLink) error {
	addrs := underlay(i)
	w := &wire{delay: k.Delay, loss: k.Loss,
		relayed: k.Delay > 0 || l.opt.reshapes(k, l.nft) || k.Loss > 0 && l.nft != nil}
	for side, n := range []mesh.NodeID{k.A, k.B} {
		other := []mesh.NodeID{k.B, k.A}[side]
		w.ends[side] = end{node: n, space: l.nodes[n].space, iface: l.freeName(n, other, i), addr: addrs[side]}
	}
	if err := w.create(); err != nil {
		return err
	}
	l.wires = append(l.wires, w)
	return nil
}

// freeName is ifaceName unless a parallel link has that name already.
func (l *Lab) freeName(n, to mesh.NodeID, i int) string {
	name := ifaceName(to, i)
	for _, w := range l.wires {
		if here, _ := w.at(n); here.node == n && here.iface == name {
			return fmt.Sprintf("link%d", i)
		}
	}
	return name
}

// relay starts a process that delays the frames of those of wires that have a delay. It belongs to no node: it runs
// in a namespace of its own, without any interface.
func (l *Lab) relay(wires []*wire) error {
	home, err := newSpace("relay")
	if err != nil {
		return err
	}
	l.spaces = append(l.spaces, home)
	log, err := os.OpenFile(filepath.Join(l.work.dir, "relay.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p, c, err := startRelay(l.opt.Helper, wires, home, log)
	if p != nil {
		l.relays, l.controls = append(l.relays, p), append(l.controls, c)
	}
	return err
}

func (n *node) config() string { return filepath.Join(n.dir, "x0t.yaml") }
func (n *node) state() string  { return filepath.Join(n.dir, "state") }
func (n *node) socket() string { return filepath.Join(n.dir, "x0t.sock") }

// node returns the node called id.
func (l *Lab) node(id mesh.NodeID) (*node, error) {
	n, ok := l.nodes[id]
	if !ok {
		return nil, fmt.Errorf("the lab has no node %q; it has %s", id, l.some())
	}
	return n, nil
}

// some lists nodes of the map for an error, not more than can be read.
func (l *Lab) some() string {
	var names []string
	for i, n := range l.m.Nodes {
		if i == 8 {
			names = append(names, fmt.Sprintf("%d more", len(l.m.Nodes)-i))
			break
		}
		names = append(names, n.String())
	}
	return strings.Join(names, ", ")
}

// Nodes lists the nodes of the map.
func (l *Lab) Nodes() []mesh.NodeID { return l.m.Nodes }

// Client returns a client of the daemon on a node of the map.
func (l *Lab) Client(id mesh.NodeID) *api.Client { return l.nodes[id].client }

// NewClient returns another client of a node's daemon, with connections of its own; the caller closes it.
func (l *Lab) NewClient(id mesh.NodeID) (*api.Client, error) {
	n, err := l.node(id)
	if err != nil {
		return nil, err
	}
	return api.NewClient(n.socket()), nil
}

// Addr returns the underlay address of a node towards its neighbour.
func (l *Lab) Addr(id, neighbour mesh.NodeID) (string, bool) {
	for _, w := range l.wires {
		if w.joins(id, neighbour) {
			here, _ := w.at(id)
			return here.addr.Addr().String(), true
		}
	}
	return "", false
}

// Command prepares a command that Exec or Start will run on a node: x0t stands for the lab's binary, and the
// environment leads to the node's own configuration, state and socket.
func (l *Lab) Command(ctx context.Context, id mesh.NodeID, argv ...string) (*exec.Cmd, error) {
	n, err := l.node(id)
	if err != nil {
		return nil, err
	}
	if len(argv) == 0 {
		return nil, errors.New("no command to run")
	}
	if argv[0] == "x0t" {
		argv = append([]string{l.opt.Binary}, argv[1:]...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) // #nosec G204 -- running commands is what the lab is for
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "X0T_CONFIG="+n.config(), "X0T_STATE="+n.state(), "X0T_SOCKET="+n.socket())
	return cmd, nil
}

// nodeEnv is how many variables Command puts at the end of the environment.
const nodeEnv = 3

// Exec runs a command on a node, waits for it and returns what it wrote to its standard output. The error tells the
// end of what it wrote to its standard error.
func (l *Lab) Exec(ctx context.Context, id mesh.NodeID, argv ...string) ([]byte, error) {
	cmd, err := l.Command(ctx, id, argv...)
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	stop, err := l.start(id, cmd)
	if err != nil {
		return nil, err
	}
	<-stop.done
	if ctx.Err() != nil {
		stop.sweep()
	}
	l.forget(stop)
	if stop.err != nil {
		return out.Bytes(), fmt.Errorf("on %s: %s: %w: %s", id, strings.Join(argv, " "), stop.err, tail(errs.Bytes(), 10))
	}
	return out.Bytes(), nil
}

// Start starts a command made by Command and leaves it running; stop ends it, and so does Close.
func (l *Lab) Start(id mesh.NodeID, cmd *exec.Cmd) (stop func(), err error) {
	p, err := l.start(id, cmd)
	if err != nil {
		return nil, err
	}
	return func() { p.stop(); l.forget(p) }, nil
}

func (l *Lab) start(id mesh.NodeID, cmd *exec.Cmd) (*process, error) {
	n, err := l.node(id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errSpaceClosed
	}
	p, err := startProcess(filepath.Base(cmd.Path), n.space, cmd)
	if err == nil {
		l.others = append(l.others, p)
	}
	return p, err
}

func (l *Lab) forget(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range l.others {
		if o == p {
			l.others = append(l.others[:i], l.others[i+1:]...)
			return
		}
	}
}

// Status asks a node's daemon how it is.
func (l *Lab) Status(ctx context.Context, id mesh.NodeID) (api.Status, error) {
	n, err := l.node(id)
	if err != nil {
		return api.Status{}, err
	}
	return n.client.Status(ctx)
}

// Usage tells what a node's daemon used since it was started.
func (l *Lab) Usage(id mesh.NodeID) (Usage, error) {
	n, err := l.node(id)
	if err != nil {
		return Usage{}, err
	}
	p := n.running()
	if p == nil {
		return Usage{}, fmt.Errorf("no daemon runs on %s", id)
	}
	return p.usage()
}

// Close ends everything that the lab started and removes its directory. It may be called twice.
func (l *Lab) Close() error {
	l.mu.Lock()
	closed, others := l.closed, l.others
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	var wg sync.WaitGroup
	for _, p := range others {
		wg.Go(p.stop)
	}
	for _, n := range l.nodes {
		wg.Go(n.stop)
	}
	wg.Wait() // daemons say goodbye while the links still carry it
	l.injector.close()
	for i, p := range l.relays {
		p.expect()
		_ = p.signal(syscall.SIGKILL)
		<-p.done
		l.controls[i].conn.Close()
	}
	for _, n := range l.nodes {
		n.client.Close()
		n.space.close()
	}
	for _, s := range l.spaces {
		s.close()
	}
	for _, w := range l.wires {
		w.close()
	}
	return l.work.close()
}

// say reports progress.
func (l *Lab) say(format string, args ...any) {
	fmt.Fprintf(l.opt.Progress, "lab: "+format+"\n", args...)
}

// tail returns the last lines of b on one line each.
func tail(b []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
