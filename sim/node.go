package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// simNode is one node: its two machines, and what of it outlives its process.
type simNode struct {
	id          mesh.NodeID
	index       int
	alive       bool
	boots       uint32
	incarnation uint64
	labels      node.LabelState // what its disk holds
	ends        []*wireEnd
	control     *node.Control
	reflex      *node.Reflex
	table       *mesh.Forwarding
	leaf        [32]byte
	chain       [][]byte
	conns       []mesh.ConnID // own halves of live connections, ascending
	byLabel     []labelled    // ends by the label that this process gave them
	dueControl  alarm
	dueReflex   alarm
	frozen      bool
	frozenAt    time.Time
	thawedAt    time.Time
	dozes       bool          // its fast loop has turns to catch up with
	backlog     []event       // what happened to it while it was frozen
	drops       float64       // of others' data that it forwards: a fault
	lies        bool          // about its links
	clock       time.Duration // by how much its wall clock is ahead: a fault
}

// labelled is an end and the label that it has at its node.
type labelled struct {
	label mesh.Label
	end   *wireEnd
}

// alarm is when a loop wants to be called, and the event in the queue that will. An event that comes too early is put
// off; one is made anew only if it would come too late.
type alarm struct {
	want, set int64 // ns since epoch; 0 = not at all
	instant   int64 // of the last call, and how many there were at it
	calls     int
}

// start boots a node: its machines begin anew with what its disk holds.
func (w *World) start(s *simNode) {
	s.alive = true
	w.changes++
	s.boots++
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], w.rng.Uint64())
	cfg := node.Config{
		Self: s.id, Domain: domain, Incarnation: s.incarnation, Boot: uint64(w.wall(s).UnixMilli()), // #nosec G115 -- after 1970
		Rand: rand.New(rand.NewChaCha8(seed)), Labels: s.labels, Hello: w.cfg.Hello, // #nosec G404 -- seeded so that a run can be repeated
		Shared: w.shared, Protect: w.cfg.Protect,
	}
	for _, e := range s.ends {
		cfg.Neighbours = append(cfg.Neighbours, e.other().addr)
	}
	s.control = node.NewControl(cfg, w.wall(s))
	binary.BigEndian.PutUint64(seed[8:], w.rng.Uint64())
	cfg.Rand = rand.New(rand.NewChaCha8(seed)) // #nosec G404 -- seeded so that a run can be repeated
	s.reflex = node.NewReflex(cfg)
	s.table = &mesh.Forwarding{}
	s.dozes = false
	s.byLabel = s.byLabel[:0]
	for _, e := range s.ends {
		e.quiet()
	}
	s.dueControl, s.dueReflex = alarm{}, alarm{}
	w.control(s, node.Identity{Chain: s.chain, Leaf: s.leaf, NotAfter: forever})
	w.turn(s)
}

// kill ends a node as SIGKILL does: nobody is told.
func (w *World) kill(s *simNode) {
	w.land(s)
	s.alive, s.frozen = false, false
	w.changes++
	s.backlog = nil
	for _, id := range slices.Clone(s.conns) {
		w.abandon(id)
	}
	s.conns = nil
}

// wall returns the time that a node's clock shows.
func (w *World) wall(s *simNode) time.Time { return w.now.Add(s.clock) }

// runs reports whether the node's process runs now.
func (s *simNode) runs() bool { return s.alive && !s.frozen }

// link returns what the node's table has of a link of its own, nil if nothing.
func (s *simNode) link(label mesh.Label) *mesh.ForwardLink {
	for i := range s.table.Links {
		if l := &s.table.Links[i]; l.Label == label {
			return l
		}
	}
	return nil
}

// label notes which label an end has.
func (s *simNode) label(e *wireEnd, l mesh.Label) {
	s.byLabel = slices.DeleteFunc(s.byLabel, func(x labelled) bool { return x.label == l || x.end == e })
	s.byLabel = append(s.byLabel, labelled{l, e})
	slices.SortFunc(s.byLabel, func(a, b labelled) int { return int(a.label) - int(b.label) })
}

// wireLink is one physical link of the map.
type wireLink struct {
	index int
	ends  [2]*wireEnd
	delay time.Duration
	loss  float64
	rate  mesh.BitsPerSecond // 0 = not limited
	down  int                // faults that cut it, both ways
	block [2]int             // faults that drop what enters at ends[0], and at ends[1]
	extra impairment         // what faults add
	dead  time.Time          // since when nothing passes in a direction, as of the last change of the network; zero: it does

	steady *link.Steady // of a link at rest; else nil
	by     [2]*half     // the halves that take what its ends send then
}

type wireEnd struct {
	link  *wireLink
	side  int
	node  *simNode
	addr  netip.AddrPort
	inbox []arrival // hellos on their way here that change nothing before the next turn, by time
	heard int64     // when a frame last came, ns since epoch, if the fast loop was not told yet
	past  []int64   // the same of frames before, while that loop dozes, ascending
	busy  int64     // until when the queue of what enters here is being sent
	last  int64     // when the last of what must keep its order arrives at the other end
}

func (e *wireEnd) other() *wireEnd { return e.link.ends[1-e.side] }

// passes reports whether what e sends now arrives, loss apart.
func (e *wireEnd) passes() bool {
	return e.link.down == 0 && e.link.block[e.side] == 0 && e.node.alive && e.other().node.alive
}

// answers reports the same of what needs an answer of the process there.
func (e *wireEnd) answers() bool { return e.passes() && !e.other().node.frozen && !e.node.frozen }

// quiet forgets what came over a link for a process that is no more.
func (e *wireEnd) quiet() { e.inbox, e.heard, e.past = e.inbox[:0], 0, e.past[:0] }

// socketBuffer is how many frames wait in the socket of a process that does not run.
const socketBuffer = 512

// postpone keeps what comes to a frozen process until it runs again; what finds no room is lost.
func (s *simNode) postpone(e event) {
	if len(s.backlog) < socketBuffer {
		s.backlog = append(s.backlog, e)
	}
}
