// Package sim runs the protocol code of many nodes, core/node and wire, in one process on a seeded clock and a
// seeded network. The same seed gives the same run to the bit: TraceHash says so. Time is counted in whole microseconds.
//
// What is real: every decision (both machines of core/node), every byte of data frames, announcements and their
// lengths, label swapping at relays, forwarding tables. What is modelled: time, the wires between nodes (delay, loss,
// rate, MTU and the order of packets), QUIC (a handshake is three crossings of the way, messages are delivered in order
// and repeated until they arrive, a silent connection ends after ten seconds), and signatures (a keyed hash takes
// their place; whether one verifies is decided by the same rule). Nothing else is.
//
// A thousand nodes say the same things to each other millions of times, so a run takes short cuts, and
// Config.Stepwise takes none: a hello that changes nothing before its receiver's next turn waits there without an event
// of its own (as it does in the daemon); a link at rest, of which no hello says anything new, has no hellos at all until
// something happens to it, and then the state that they would have led to (link.Steady); announcements are taken apart, and their signatures checked, once for all nodes;
// one that a node holds already is counted and not offered again; graphs and digests of equal databases are shared;
// control messages are measured, not encoded. A run with and one without have the same trace.
package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/core/lsdb"
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
	Churn    Churn
	Hello    time.Duration // 0 = 50 ms
	Traffic  int           // flows between random pairs; 0 = as many as nodes, at most 32
	Between  []Pair        // the flows, if they are not to be between random pairs
	Protect  bool          // each flow has a twin between the same ends whose packets are of the protected class
	Packet   time.Duration // interval of a flow's packets; 0 = 20 ms
	Liars    []mesh.NodeID // members that announce links which they have as the best there can be, and some that they do not have
	Slander  float64       // about such a share of the packets that they forward liars tell the source that the next link failed
	Promises bool          // what flows are promised is checked too: see promise

	// Stepwise makes a run without short cuts: slow, and the same to the bit. See the package comment.
	Stepwise bool

	// Progress is called with the simulated time since the start, about every simulated 100 ms; an error ends the run.
	// nil = not wanted.
	Progress func(time.Duration) error

	hooks hooks
}

// Pair is the two ends of a flow.
type Pair struct{ From, To mesh.NodeID }

// String is what ParsePair reads.
func (p Pair) String() string { return p.From.String() + ":" + p.To.String() }

// ErrPair is in every error about a pair of nodes that cannot be.
var ErrPair = errors.New("not two nodes")

// ParsePair reads FROM:TO.
func ParsePair(s string) (Pair, error) {
	from, to, _ := strings.Cut(s, ":")
	a, errA := mesh.ParseNodeID(from)
	b, errB := mesh.ParseNodeID(to)
	if errA != nil || errB != nil || a == b {
		return Pair{}, fmt.Errorf("%w: %q: write FROM:TO, such as n1:n7", ErrPair, s)
	}
	return Pair{a, b}, nil
}

// epoch is when every simulation begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// forever is when the SVIDs of simulated nodes end.
var forever = epoch.AddDate(10, 0, 0)

// domain is the trust domain that simulated nodes live in.
var domain = spiffeid.RequireTrustDomainFromString("sim.mesh")

// World is a running simulation.
type World struct {
	cfg    Config
	rng    *rand.Rand
	now    time.Time
	at     int64 // now, ns since epoch
	queue  queue
	seq    uint64
	nodes  []*simNode
	byID   map[mesh.NodeID]*simNode
	wires  []*wireLink
	byIP   map[netip.Addr]*wireEnd
	conns  []*half // by mesh.ConnID; nil once they have ended
	flows  []*trafficFlow
	trace  trace
	stats  Stats
	check  checker
	churn  churner
	shared *node.Shared // nil in a stepwise run
	press  press

	hellos  []node.HelloHeard // scratch of turn
	heards  []node.Heard
	waits   node.Waits
	tired   []*wireLink // that may be put to rest
	changes uint64      // of what links carry: cuts, faults, processes that end, stand still, begin
	turner  int         // whose turn is being taken: the index of a node; -1 = nobody's
	times   []int64     // of transit
	spare   []*parcel   // that were delivered
	loose   []letter    // scratch of sendMessages
}

// Stats is what a run counted. Bytes are those of frames (without IP and UDP) and of control messages (without QUIC).
type Stats struct {
	Events    uint64 `json:"events"`
	Frames    uint64 `json:"frames"`        // link crossings
	Control   uint64 `json:"control_bytes"` // of control messages and hellos
	Sent      uint64 `json:"packets_sent"`  // by the traffic flows
	Delivered uint64 `json:"packets_delivered"`
	NoSession uint64 `json:"packets_waiting"` // offered while a session was being opened
	Looped    uint64 `json:"frames_looped"`   // met a node twice while news was travelling
	Slandered uint64 `json:"false_errors"`    // that liars sent
	Rerouted  uint64 `json:"frames_rerouted"` // sent by a relay's detour: around a link that is down, or a copy around one in doubt
	Lost      uint64 `json:"packets_lost"`
	Verified  uint64 `json:"announcements_verified"`

	kinds  [kinds]tally
	before [kinds]tally // until marked
	marked int64        // ns since epoch: tail after the mesh had converged, if it ran for so long
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
		cfg: cfg, rng: rand.New(rand.NewChaCha8(seed)), now: epoch, // #nosec G404 -- seeded so that a run can be repeated
		byIP: map[netip.Addr]*wireEnd{}, byID: map[mesh.NodeID]*simNode{}, conns: make([]*half, 1), trace: newTrace(),
	}
	w.turner = -1
	w.press = newPress(len(cfg.Map.Nodes), !cfg.Stepwise)
	if !cfg.Stepwise {
		w.shared = node.NewShared()
	}
	for i, n := range cfg.Map.Nodes {
		s := &simNode{id: n.ID, index: i, incarnation: w.rng.Uint64() | 1, table: &mesh.Forwarding{}}
		s.chain, s.leaf = fakeChain(s.id)
		w.nodes = append(w.nodes, s)
		w.byID[s.id] = s
	}
	for i, l := range cfg.Map.Links {
		w.addLink(i, l)
	}
	w.check.init(w)
	if err := errors.Join(w.addLiars(), w.addFlows(), w.churn.init(w)); err != nil {
		return nil, err
	}
	return w, w.addFaults()
}

func (w *World) addLink(i int, l topology.Link) {
	k := &wireLink{index: i, delay: l.Delay, rate: l.Rate}
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

// Run simulates the whole duration and returns what came of it.
func (w *World) Run() (*Report, error) {
	for _, s := range w.nodes {
		w.after(time.Duration(w.rng.Int64N(int64(200*time.Millisecond))), func() { w.start(s); w.check.physical(w) })
	}
	w.startTraffic()
	w.check.look(w)
	end, told := int64(w.cfg.Duration), int64(0)
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.queue.pop()
		if e.at < w.at {
			return nil, fmt.Errorf("time ran backwards from %v to %v", time.Duration(w.at), time.Duration(e.at))
		}
		w.check.instant(w, e.at)
		w.at, w.now = e.at, epoch.Add(time.Duration(e.at))
		w.stats.Events++
		w.happen(&e)
		if w.cfg.Progress != nil && w.at-told >= int64(100*time.Millisecond) {
			told = w.at
			if err := w.cfg.Progress(time.Duration(w.at)); err != nil {
				return nil, err
			}
		}
		if err := w.check.err; err != nil {
			err.At = time.Duration(w.at)
			return nil, fmt.Errorf("%w: seed %d, %v after the start, event %d: %w", ErrInvariant, w.cfg.Seed, time.Duration(w.at), w.stats.Events, err)
		}
	}
	w.at, w.now, w.turner = end, epoch.Add(w.cfg.Duration), len(w.nodes)
	return w.report(), nil
}

// happen does what an event says, unless the process that it belongs to has ended.
func (w *World) happen(e *event) {
	s := e.who
	if s != nil {
		if !s.alive || s.boots != e.boot {
			return
		}
		if s.frozen {
			s.backlog = append(s.backlog, *e)
			return
		}
	}
	switch e.do {
	case doCall:
		e.what.(func())()
	case doTurn:
		w.turner = s.index
		w.turnDue(s)
		w.turner = -1
	case doTick:
		w.tickDue(s)
	case doReport:
		w.reported(s, e.what.(node.ControlEvent))
	case doChecked:
		w.control(s, w.press.verify(e.what.(*lsdb.VerifyJob)))
	case doDeliver:
		w.unpack(e.what.(*parcel))
	case doArrive:
		w.arrive(e.what.(*flight))
	case doHello:
		w.greet(e.what.(*greeting))
	}
}

// TraceHash returns the hash of everything that happened so far.
func (w *World) TraceHash() string { return w.trace.sum() }
