// Package sim runs the protocol code of many nodes, core/node and wire, in one process on a seeded clock and a
// seeded network. The same seed gives the same run to the bit: TraceHash says so.
//
// What is real: every decision (both machines of core/node), every byte of frames, hellos, announcements and
// control messages, label swapping at relays, forwarding tables. What is modelled: time, the wires between nodes
// (delay and loss; not rate, not MTU), QUIC (a handshake is three crossings of the way, messages are delivered in order
// and repeated until they arrive, a silent connection ends after ten seconds), and signatures (a keyed hash takes
// their place; whether one verifies is decided by the same rule). Nothing else is.
package sim

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// ErrInvariant is in the error of a run that broke an invariant of the protocol. The same Config breaks it again.
var ErrInvariant = errors.New("invariant violated")

// Config says what is simulated.
type Config struct {
	Map      *topology.Map
	Seed     uint64
	Duration time.Duration // simulated
	Faults   []fault.Fault
	Hello    time.Duration // 0 = 50 ms
	Traffic  int           // flows between random pairs; 0 = as many as nodes, at most 32
	Packet   time.Duration // interval of a flow's packets; 0 = 20 ms

	// Progress is called with the simulated time since the start, about every simulated 100 ms; an error ends the run.
	// nil = not wanted.
	Progress func(time.Duration) error

	hooks hooks
}

// epoch is when every simulation begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// domain is the trust domain that simulated nodes live in.
var domain = spiffeid.RequireTrustDomainFromString("sim.mesh")

// World is a running simulation.
type World struct {
	cfg   Config
	rng   *rand.Rand
	now   time.Time
	queue queue
	seq   uint64
	nodes []*simNode
	wires []*wireLink
	byIP  map[netip.Addr]*wireEnd
	conns map[mesh.ConnID]*half
	next  mesh.ConnID
	flows []*trafficFlow
	trace hash.Hash
	buf   []byte
	stats Stats
	check checker

	lossless bool // no link of the map loses frames by itself
}

// Stats is what a run counted.
type Stats struct {
	Events    uint64 `json:"events"`
	Frames    uint64 `json:"frames"`        // link crossings
	Control   uint64 `json:"control_bytes"` // of control messages and hellos
	Sent      uint64 `json:"packets_sent"`  // by the traffic flows
	Delivered uint64 `json:"packets_delivered"`
	NoSession uint64 `json:"packets_waiting"` // offered while a session was being opened
	Looped    uint64 `json:"frames_looped"`   // met a node twice while news was travelling
	Lost      uint64 `json:"packets_lost"`
	Verified  uint64 `json:"announcements_verified"`
}

// wireLink is one physical link of the map.
type wireLink struct {
	index int
	ends  [2]*wireEnd
	delay time.Duration
	loss  float64
	pass  [2]bool // what enters at ends[0] comes out at ends[1], and back
}

type wireEnd struct {
	link *wireLink
	side int
	node *simNode
	addr netip.AddrPort
}

func (e *wireEnd) other() *wireEnd { return e.link.ends[1-e.side] }

// passes reports whether what e sends now arrives, loss apart.
func (e *wireEnd) passes() bool {
	return e.link.pass[e.side] && e.node.alive && e.other().node.alive
}

type simNode struct {
	id          mesh.NodeID
	index       int
	alive       bool
	boots       uint64
	incarnation uint64
	labels      node.LabelState // what its disk holds
	ends        []*wireEnd
	control     *node.Control
	reflex      *node.Reflex
	table       *mesh.Forwarding
	leaf        [32]byte
	chain       [][]byte
	conns       []mesh.ConnID // own halves of live connections, ascending
	lastHeard   map[mesh.Label]time.Time
	dueControl  time.Time
	dueReflex   time.Time
}

// New builds the world: every node exists, none has started.
func New(cfg Config) (*World, error) {
	if len(cfg.Map.Nodes) < 2 {
		return nil, fmt.Errorf("map %s has %d nodes, a simulation needs 2", cfg.Map.Name, len(cfg.Map.Nodes))
	}
	if cfg.Hello <= 0 {
		cfg.Hello = 50 * time.Millisecond
	}
	if cfg.Packet <= 0 {
		cfg.Packet = 20 * time.Millisecond
	}
	if cfg.Traffic <= 0 {
		cfg.Traffic = min(len(cfg.Map.Nodes), 32)
	}
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], cfg.Seed)
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewChaCha8(seed)), now: epoch, byIP: map[netip.Addr]*wireEnd{}, // #nosec G404 -- seeded so that a run can be repeated
		conns: map[mesh.ConnID]*half{}, trace: sha256.New(),
	}
	for i, n := range cfg.Map.Nodes {
		s := &simNode{id: n.ID, index: i, incarnation: w.rng.Uint64() | 1, table: &mesh.Forwarding{}}
		s.chain, s.leaf = fakeChain(s.id)
		w.nodes = append(w.nodes, s)
	}
	for i, l := range cfg.Map.Links {
		w.addLink(i, l)
	}
	w.lossless = !slices.ContainsFunc(w.wires, func(l *wireLink) bool { return l.loss > 0 })
	w.check.init(w)
	w.drawFlows()
	return w, w.addFaults()
}

func (w *World) addLink(i int, l topology.Link) {
	k := &wireLink{index: i, delay: l.Delay, pass: [2]bool{true, true}}
	if l.Quality > 0 && l.Quality < 1 {
		k.loss = 1 - l.Quality
	}
	for side, n := range []int{l.A, l.B} {
		e := &wireEnd{
			link: k, side: side, node: w.nodes[n],
			addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(side + 1)}), 7420),
		}
		k.ends[side] = e
		w.nodes[n].ends = append(w.nodes[n].ends, e)
		w.byIP[e.addr.Addr()] = e
	}
	w.wires = append(w.wires, k)
}

// start boots a node: its machines begin anew with what its disk holds.
func (w *World) start(s *simNode) {
	s.alive = true
	s.boots++
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], w.rng.Uint64())
	cfg := node.Config{
		Self: s.id, Domain: domain, Incarnation: s.incarnation, Boot: uint64(w.now.UnixMilli()), // #nosec G115 -- after 1970
		Rand: rand.New(rand.NewChaCha8(seed)), Labels: s.labels, Hello: w.cfg.Hello, // #nosec G404 -- seeded so that a run can be repeated
	}
	for _, e := range s.ends {
		cfg.Neighbours = append(cfg.Neighbours, e.other().addr)
	}
	s.control = node.NewControl(cfg, w.now)
	binary.BigEndian.PutUint64(seed[8:], w.rng.Uint64())
	cfg.Rand = rand.New(rand.NewChaCha8(seed)) // #nosec G404 -- seeded so that a run can be repeated
	s.reflex = node.NewReflex(cfg)
	s.table = &mesh.Forwarding{}
	s.lastHeard = map[mesh.Label]time.Time{}
	s.dueControl, s.dueReflex = time.Time{}, time.Time{}
	w.control(s, node.Identity{Chain: s.chain, Leaf: s.leaf, NotAfter: epoch.AddDate(10, 0, 0)})
	w.tickReflex(s)
}

// kill ends a node as SIGKILL does: nobody is told.
func (w *World) kill(s *simNode) {
	s.alive = false
	for _, id := range slices.Clone(s.conns) {
		w.abandon(id)
	}
	s.conns = nil
}

// Run simulates the whole duration and returns what came of it.
func (w *World) Run() (*Report, error) {
	for _, s := range w.nodes {
		w.after(time.Duration(w.rng.Int64N(int64(200*time.Millisecond))), func() { w.start(s); w.check.physical(w) })
	}
	w.startTraffic()
	end, told := epoch.Add(w.cfg.Duration), epoch
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(event)
		if e.at.Before(w.now) {
			return nil, fmt.Errorf("time ran backwards from %v to %v", w.now, e.at)
		}
		w.check.instant(w, e.at)
		w.now = e.at
		w.stats.Events++
		e.run()
		w.check.step(w)
		if w.cfg.Progress != nil && w.now.Sub(told) >= 100*time.Millisecond {
			told = w.now
			if err := w.cfg.Progress(w.now.Sub(epoch)); err != nil {
				return nil, err
			}
		}
		if err := w.check.err; err != nil {
			return nil, fmt.Errorf("%w: seed %d, %v after the start, event %d: %w", ErrInvariant, w.cfg.Seed, w.now.Sub(epoch), w.stats.Events, err)
		}
	}
	w.now = end
	return w.report(), nil
}

// note adds a line to the trace that TraceHash sums up.
func (w *World) note(kind byte, who int, what ...uint64) {
	w.buf = append(w.buf[:0], kind)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(w.now.Sub(epoch))) // #nosec G115 -- not negative
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(who))              // #nosec G115 -- an index
	for _, v := range what {
		w.buf = binary.BigEndian.AppendUint64(w.buf, v)
	}
	_, _ = w.trace.Write(w.buf) // a hash never fails
}

// TraceHash returns the hash of everything that happened so far.
func (w *World) TraceHash() string { return hex.EncodeToString(w.trace.Sum(nil)) }

type event struct {
	at  time.Time
	seq uint64 // of two at the same time the earlier made one runs first
	run func()
}

type queue []event

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}
func (q *queue) Push(x any) { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

func (w *World) after(d time.Duration, run func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now.Add(d), w.seq, run})
}
