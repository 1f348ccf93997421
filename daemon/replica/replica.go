// Package replica is the shared state of a running node: core/crdt, which decides, on host/store, which keeps, among neighbours
// that it meets on streams.
//
//	callers ──► put, get, list, watch ──► mailbox ──► loop ──► State, Sync     one goroutine owns them
//	                                         ▲          │
//	neighbour ══ stream ══► reader ──────────┤          ├──► disk      pairs, in order; acknowledged writes wait for it
//	neighbour ◄═ stream ═══ writer ◄─────────┼──────────┤
//	                        checkers ◄───────┼──────────┤    signatures and certificates
//	watchers  ◄─────────────────────────── journal ◄────┘    what changed, numbered
//
// The loop never waits for a neighbour, a disk, a signature or a watcher; each of them has a bounded amount of work out, and who has too
// much waits itself. A reader takes one message at a time and waits until the loop asks for the next; a writer has one buffer.
// Writes that wait together are signed together and share a wait for the disk.
//
// # On disk
//
// In one store: what crdt keeps, under keys that begin with a small letter (see there), and
//
//	J            version 1 (1) ‖ name of the journal (8)
//	F            1: this replica was the first of its domain; 2: that one is lost, or damaged
//	C svid       the chain whose leaf has this hash: wire.AppendChain
//	L number     changes of the journal from this number (8) on, that became part of the state together (journal.go)
//
// An entry without the chain that proves it could not be passed on. So a chain is written with the first entry that needs it and
// removed when none does.
package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/mesh"
)

// How a session with a neighbour ends.
var (
	ErrReplaced = errors.New("another stream of the same neighbour took its place")
	ErrClosed   = errors.New("the shared state is closed")
)

// Times of the loop.
const (
	collectEvery = time.Hour
	collectSome  = 8 << 10              // entries between two looks at what else there is to do
	lull         = 5 * time.Millisecond // after a pull that brought nothing
	never        = 365 * 24 * time.Hour // a timer that another event will set again
)

// Replica is the shared state of this node. Its methods are safe for concurrent use.
type Replica struct {
	cfg     Config
	box     mailbox
	ended   chan struct{} // the loop has
	others  sync.WaitGroup
	store   *store.Store
	proofs  proofs
	journal journal
	tasks   chan task
	restore sync.Mutex    // held by the one that restores
	unknown atomic.Uint64 // messages of a type that this version does not know

	// The rest is the loop's own.
	state    *crdt.State
	sync     *crdt.Sync
	sessions map[mesh.NodeID]*session
	disk     disk
	writes   writes
	chains   chains
	cover    cover
	checks   queue // that no checker has taken
	collect  struct {
		due, tidy time.Time // of crdt's deletions, and of what else is not needed any more
		going     bool
	}
	told   notes
	closed bool
	lost   error // what was not written at the end; good when the loop has ended
}

var _ api.StateBackend = (*Replica)(nil)

// Open opens the replica in a store's file, and makes one if there is none. What it found damaged it says among the warnings of State,
// and neighbours give it again.
func Open(cfg Config) (*Replica, error) { return OpenContext(context.Background(), cfg) }

// OpenContext does the same, and gives up when ctx ends, as long as it reads: then the file stays as it is.
func OpenContext(ctx context.Context, cfg Config) (*Replica, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, box: newMailbox(), ended: make(chan struct{}), tasks: make(chan task, checkers()),
		sessions: map[mesh.NodeID]*session{}, chains: newChains(), told: newNotes(cfg.Log),
	}
	r.proofs = newProofs(&r.cfg)
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.sync = crdt.NewSync(r.state)
	r.relearn(cfg.Now())
	r.collect.due = cfg.Now() // no neighbour is to be told of what was forgotten before
	go r.run()
	for range checkers() {
		r.others.Go(r.checker)
	}
	return r, nil
}

// incarnation draws a number that no earlier life of this state had.
func (r *Replica) random() (uint64, error) {
	var b [8]byte
	_, err := r.cfg.Rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// run is the loop.
func (r *Replica) run() {
	defer close(r.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !r.closed {
		select {
		case <-r.box.wake:
		case <-timer.C:
		}
		now := r.cfg.Now()
		for _, f := range r.box.take() {
			f(now)
		}
		r.settle(now)
		timer.Reset(max(r.next(now).Sub(now), 0))
	}
	r.cancelAll()
	r.lost = r.drain()
	for _, f := range r.box.close() {
		f(r.cfg.Now())
	}
	r.disk.put(r, nil, nil)
	r.cancelAll() // those that came meanwhile
	close(r.tasks)
}

// settle does all that can be done now without waiting.
func (r *Replica) settle(now time.Time) {
	r.skew(now)
	if due := r.state.Due(); !due.IsZero() && !now.Before(due) {
		r.apply(now, r.sync.Release(now))
		r.state.TakeSkew() // was told when they came
	}
	r.disk.settle(r, now)
	r.state.Beside(r.chains.bytes)
	r.begin(now)
	r.expire(now)
	r.collectSome(now)
	r.handOut(now)
	for _, s := range r.sessions {
		r.fill(now, s)
		r.allow(s)
	}
}

// next returns when settle may have something to do if nothing happens before.
func (r *Replica) next(now time.Time) time.Time {
	next := now.Add(never)
	for _, t := range [...]time.Time{r.state.Due(), r.disk.due(), r.disk.idleDue, r.chains.due(), r.collectDue()} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	for id, s := range r.sessions {
		if !s.idle {
			continue
		}
		t := r.sync.NextOf(now, id)
		if t.Before(s.rest) {
			t = s.rest
		}
		if t.Before(next) {
			next = t
		}
	}
	return next
}

// apply does what follows from a merge: to the journal, to the disk, to whoever is to know. more are pairs to be written with it.
func (r *Replica) apply(now time.Time, out crdt.Outcome, more ...store.Pair) {
	pairs := append(toStore(out.Write), more...)
	r.learn(now, out.Changed)
	if len(out.Changed) > 0 {
		lines, over, _ := r.journal.add(now, out.Changed)
		pairs = append(append(pairs, lines...), over...)
		for _, s := range r.sessions {
			s.rest = time.Time{}
		}
	}
	if out.Alarm != nil {
		r.told.warn(now, "twin", out.Alarm.Error())
	}
	if len(out.Changed) > 0 { // watchers wait
		r.disk.put(r, pairs, nil)
	} else {
		r.disk.later(r, now, pairs)
	}
}

func toStore(ps []crdt.Pair) []store.Pair {
	out := make([]store.Pair, len(ps), len(ps)+4)
	for i, p := range ps {
		out[i] = store.Pair(p)
	}
	return out
}

// collectDue returns when collectSome has something to do, if nothing happens before.
func (r *Replica) collectDue() time.Time {
	switch may := r.sync.MayForget(); {
	case may.IsZero():
		return r.collect.tidy
	case r.collect.going:
		return may
	default:
		return later(may, r.collect.due)
	}
}

// collectSome looks for what may be forgotten, a part at a time.
func (r *Replica) collectSome(now time.Time) {
	if now.Before(r.collectDue()) {
		return
	}
	if r.sync.MayForget().IsZero() {
		r.told.warn(now, "forget", "the clock of this node is more than an hour ahead of most neighbours': it forgets no deletions; set the clock")
		r.tidy(now)
		return
	}
	out, done := r.state.Collect(now, collectSome)
	r.apply(now, out)
	if r.collect.going = !done; done {
		r.told.clear("forget")
		r.collect.due = now.Add(collectEvery)
		r.tidy(now)
	}
}

// tidy forgets the chains that nothing needs any more, whatever the clock says.
func (r *Replica) tidy(now time.Time) {
	r.collect.tidy = now.Add(collectEvery)
	r.disk.later(r, now, r.chains.forget(r.state.SVIDs()))
	if r.state.Silent(now) {
		r.told.warn(now, "silent", "no neighbour for longer than deletions are remembered: this node may have what others have deleted and "+
			"forgotten; docs/state.md says how it begins again")
	}
}

// do has the loop call f and waits until it has. f must not wait.
func (r *Replica) do(ctx context.Context, f func(now time.Time)) error {
	done := make(chan struct{})
	if !r.box.post(func(now time.Time) { f(now); close(done) }) {
		return closedError()
	}
	return r.await(ctx, done)
}

// await waits for the loop's answer.
func (r *Replica) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ended:
	}
	select {
	case <-done:
		return nil
	default:
		return closedError()
	}
}
