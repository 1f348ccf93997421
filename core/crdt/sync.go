package crdt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Times of a session.
const (
	rootInterval = 3 * time.Second  // between two looks whether both hold the same
	quiet        = time.Second      // without a message: the pass is over
	patience     = 15 * time.Second // what was asked for is not asked for elsewhere; so long a signature check may take
	stranger     = time.Minute      // without agreement: first compare how far each has come
	listRate     = 256              // bytes a second that comparisons which bring nothing may cost
	maxBackoff   = time.Minute      // between passes that bring nothing
	shunned      = time.Minute      // a neighbour whose pieces do not verify
)

// Bounds of a session.
const (
	maxFresh     = 4 << 10   // entries to be told
	maxQueue     = 128 << 10 // entries asked for, in either direction; paths to compare
	maxExcept    = 64 << 10  // refs that offers leave out
	maxFlying    = 256 << 10 // entries asked for, of all neighbours
	maxLives     = 32 << 10  // lives asked for, of all neighbours
	livesShare   = maxLives / 8
	maxBlame     = 8       // pieces that did not verify
	fewItems     = 1 << 10 // in one offer
	fewLeaves    = 64      // nodes of the tree in one message
	manyItems    = 8 << 10 // on their way: no more is compared meanwhile
	offerAhead   = 8       // offers without an answer
	thoroughEach = 64      // passes of which two are thorough
	pushSize     = 4 << 10 // a larger entry is offered first
)

// Sync spreads a state among neighbours. New entries are told at once to all neighbours but the one that brought them; what
// was missed, a comparison finds. Each of two neighbours tells its root every now and then. If they differ, the one with the
// smaller name leads a pass. After a long silence both say how far the entries of each author go, and fetch what is
// behind, batch by batch. Else they go down the tree where it differs, in turn, until one lists what it holds below
// a path; then the other asks for what it lacks, and offers what the first one lacks. Every message is answered out of the
// state of the moment, so one that is lost, late or doubled costs some bytes and no more; the next pass finds what is left.
//
// Whatever neighbours send, a session keeps bounded lists, and answers when Pull makes room, so that a link is never given more
// than it takes.
type Sync struct {
	s      *State
	peers  map[mesh.NodeID]*peer
	order  []mesh.NodeID
	flying map[wire.Ref]flight
	flown  []flown        // ascending by until
	failed memo[wire.Ref] // asked for and never came: more than one neighbour may be asked at a time
	lives  map[life]fetching
	agreed time.Time // when it was last found to have all that some neighbour has

	sweepDue time.Time // lives are not looked through before
	swept    int       // how many that were in all: tests bound it
}

// flight is who was asked for something, and until when nobody else is.
type flight struct {
	of    mesh.NodeID
	until time.Time
}

// fetching is the same for a life, of which the entries up to had were held; it is done when target is.
type fetching struct {
	flight
	had, target uint64
}

type flown struct {
	ref   wire.Ref
	until time.Time
}

// peer is the session with one neighbour.
type peer struct {
	id       mesh.NodeID
	leads    bool // we do
	rootDue  time.Time
	theirs   wire.StateRoot // digest and count
	settled  bool           // they are
	clocked  bool           // they told their clock
	ahead    time.Duration  // ours is, of theirs
	heard    bool           // since the last pass
	differs  bool           // what was heard
	agreed   time.Time      // zero: never
	active   time.Time      // a pass goes on until then; zero: none
	passDue  time.Time      // no pass before
	rest     time.Time      // nor before this, whatever they say: the last one listed much and brought nothing
	listed   int            // bytes of the comparison in this pass
	fruitful bool           // the pass brought something, to either
	answered bool           // they took part in it
	idle     int            // passes that brought nothing, since one that did
	vain     int            // passes since the roots were equal
	lost     bool           // a bound was met in this pass
	headed   bool           // the last pass compared heads

	fresh   []*item
	known   map[*item]bool // of fresh: it told us
	grown   []life         // that we fetch elsewhere
	telling bool           // how far our lives go
	told    life           // up to this one
	fetch   []wire.Dot
	claims  int // lives that it is asked for
	descend []wire.Path
	offers  []offer
	except  int             // refs in them
	offered int             // without an answer
	batches []life          // that it fetches, each once
	owed    map[life]uint64 // the same, with the entry up to which it has them
	send    []*item
	want    []wire.Ref
	acks    int // answers due to offers of which we want nothing
	wanted  int // that have not come

	blame   int
	shunned time.Time
}

// offer is the items below a path, but for some.
type offer struct {
	path   wire.Path
	except map[[refSlot]byte][]wire.Ref
}

// NewSync returns the sessions of a state. From then on all changes of the state must go through it.
func NewSync(s *State) *Sync {
	return &Sync{
		s: s, peers: map[mesh.NodeID]*peer{}, flying: map[wire.Ref]flight{}, lives: map[life]fetching{},
		failed: memo[wire.Ref]{until: map[wire.Ref]time.Time{}, room: maxUnwanted},
	}
}

// Add begins a session with a neighbour, in place of an earlier one.
func (y *Sync) Add(now time.Time, id mesh.NodeID) {
	y.Remove(id)
	i, _ := slices.BinarySearchFunc(y.order, id, mesh.NodeID.Compare)
	y.order = slices.Insert(y.order, i, id)
	y.s.ahead = false
	y.peers[id] = &peer{id: id, leads: y.s.cfg.Self.Compare(id) < 0, rootDue: now, known: map[*item]bool{}, owed: map[life]uint64{}}
}

// Remove ends a session.
func (y *Sync) Remove(id mesh.NodeID) {
	if i, ok := slices.BinarySearchFunc(y.order, id, mesh.NodeID.Compare); ok {
		y.order = slices.Delete(y.order, i, i+1)
		delete(y.peers, id)
		y.judgeClock()
	}
	maps.DeleteFunc(y.flying, func(_ wire.Ref, f flight) bool { return f.of == id })
	maps.DeleteFunc(y.lives, func(_ life, f fetching) bool { return f.of == id })
}

// Handle takes a message of a neighbour. An error says why a piece was refused; the session goes on.
func (y *Sync) Handle(now time.Time, from mesh.NodeID, m wire.StateMessage) (Outcome, *Job, error) {
	p := y.peers[from]
	if p == nil {
		return Outcome{}, nil, nil
	}
	if r, ok := m.(wire.StateRoot); ok {
		y.onRoot(now, p, r)
		return y.after(now, Outcome{}, mesh.NodeID{}), nil, nil
	}
	if !p.active.IsZero() {
		p.stir(now)
	}
	switch m := m.(type) {
	case wire.StatePiece:
		return y.onPiece(now, p, m.Raw)
	case wire.StateHeads:
		y.onHeads(now, p, m)
	case wire.StateGrown:
		y.fetch(now, p, m.Dots)
	case wire.StateFetch:
		p.owe(now, m.After)
	case wire.StateNodes:
		y.onNodes(now, p, m)
	case wire.StateItems:
		y.onItems(now, p, m)
	case wire.StateOffer:
		p.acks = min(p.acks+1, offerAhead)
		y.ask(now, p, m.Refs, p.doubts())
	case wire.StateWant:
		y.onWant(p, m)
	}
	return y.after(now, Outcome{}, mesh.NodeID{}), nil, nil
}

// owe notes what the neighbour fetches: of each life everything behind the earliest entry that it asked for, once.
func (p *peer) owe(now time.Time, after []wire.Dot) {
	p.stir(now)
	for _, d := range after {
		l := lifeOf(d)
		if seq, known := p.owed[l]; known {
			p.owed[l] = min(seq, d.Seq)
			continue
		}
		if len(p.batches) >= wire.MaxStateHeads {
			p.lost = true
			return
		}
		p.owed[l] = d.Seq
		p.batches = append(p.batches, l)
	}
}

// tellHeads has the neighbour told how far all lives go, if it is not being told already.
func (p *peer) tellHeads() {
	if !p.telling {
		p.telling, p.told = true, life{}
	}
}

// stir notes that a pass goes on.
func (p *peer) stir(now time.Time) { p.active = now.Add(quiet) }

func (y *Sync) onPiece(now time.Time, p *peer, raw []byte) (Outcome, *Job, error) {
	if now.Before(p.shunned) {
		return Outcome{}, nil, y.s.count(fmt.Errorf("%s: %w", p.id, ErrShunned))
	}
	b, out, job, err := y.s.offer(now, p.id, raw)
	if b != nil {
		y.arrived(now, p, b)
	}
	if err != nil {
		return Outcome{}, nil, err
	}
	return y.after(now, out, p.id), job, nil
}

// arrived notes that p has what is in b, and that it need not be waited for.
func (y *Sync) arrived(now time.Time, p *peer, b *batch) {
	for _, it := range b.live {
		ref := it.ref()
		if f, ok := y.flying[ref]; ok {
			y.landed(ref, f)
			p.rest = time.Time{} // there is something to fetch after all
		}
		if held := y.s.tree.get(it.slot); held != nil && held.id == it.id && len(p.known) < len(p.fresh) {
			p.known[held] = true
		}
	}
	l := life{b.Author, b.Incarnation}
	if f, ok := y.lives[l]; ok && f.of == p.id {
		f.until = now.Add(quiet)
		y.lives[l] = f
	}
}

func (y *Sync) landed(ref wire.Ref, f flight) {
	delete(y.flying, ref)
	if p := y.peers[f.of]; p != nil {
		p.wanted = max(p.wanted-1, 0)
	}
}

// Full reports whether half of what may be out for verification of a neighbour is: until it is not, the host is to read nothing
// more from that one, so that it waits. What comes all the same is refused when the other half is out too, and comes again.
func (y *Sync) Full(id mesh.NodeID) bool {
	l := y.s.pending.by[id]
	return l.count > maxPending/8 || l.bytes > maxPendingByte/8
}

// Verified takes the host's answer to a job. What is refused with ErrUnproven is neither remembered nor held against the
// neighbour: its own view of the domain may be ahead of ours.
func (y *Sync) Verified(now time.Time, job *Job, err error) Outcome {
	if p := y.peers[job.From]; p != nil && err != nil && !errors.Is(err, ErrUnproven) {
		if p.blame++; p.blame >= maxBlame {
			p.blame, p.shunned = 0, now.Add(shunned)
		}
	}
	return y.after(now, y.s.verified(now, job, err), job.From)
}

// Commit makes a sealed draft part of the state.
func (y *Sync) Commit(now time.Time, d *Draft) Outcome {
	return y.after(now, y.s.commit(now, d), mesh.NodeID{})
}

// Release merges the entries of the future whose time has come.
func (y *Sync) Release(now time.Time) Outcome { return y.after(now, y.s.release(now), mesh.NodeID{}) }

// Import takes a piece that no neighbour brought, as Handle takes one. Its job has no From. ErrBusy says that it is to be tried
// again: too much waits for verification, or the same does.
func (y *Sync) Import(now time.Time, raw []byte) (Outcome, *Job, error) {
	_, out, job, err := y.s.offer(now, mesh.NodeID{}, raw)
	if err != nil {
		return Outcome{}, nil, err
	}
	return y.after(now, out, mesh.NodeID{}), job, nil
}

// Agreement is how far a replica and its neighbours agree.
type Agreement struct {
	Neighbours int
	Agreeing   int       // of these, who last said that they hold the very same as this replica does now
	Last       time.Time // when this replica last had all that some neighbour had; zero: never in this process
}

// Agreement returns how far they agree now.
func (y *Sync) Agreement() Agreement {
	a := Agreement{Neighbours: len(y.order), Last: y.agreed}
	for _, id := range y.order {
		if p := y.peers[id]; !p.agreed.IsZero() && p.theirs == y.s.Digest() {
			a.Agreeing++
		}
	}
	return a
}
