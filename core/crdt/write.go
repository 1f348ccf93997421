package crdt

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"x0tta6bl4/wire"
)

// Op is one thing to write. It is made by the functions below.
type Op struct {
	kind    wire.EntryKind
	gone    bool
	key     []byte
	element []byte
	value   []byte
	add     uint64
	take    uint64
}

// Put sets a register, Delete removes it.
func Put(key, value []byte) Op { return Op{kind: wire.EntryRegister, key: key, value: value} }

// Delete removes a register.
func Delete(key []byte) Op { return Op{kind: wire.EntryRegister, key: key, gone: true} }

// Count adds n, which may be negative, to a counter.
func Count(key []byte, n int64) Op {
	if n < 0 {
		return Op{kind: wire.EntryCounter, key: key, take: -uint64(n)}
	}
	return Op{kind: wire.EntryCounter, key: key, add: uint64(n)}
}

// Insert puts an element into a set.
func Insert(key, element []byte) Op { return Op{kind: wire.EntrySet, key: key, element: element} }

// Remove takes an element out of a set, as far as this replica knows that it was put in.
func Remove(key, element []byte) Op {
	return Op{kind: wire.EntrySet, key: key, element: element, gone: true}
}

// Assign replaces all values of a multi-value key that this replica knows by one.
func Assign(key, value []byte) Op { return Op{kind: wire.EntryMulti, key: key, value: value} }

// Withdraw removes all values of a multi-value key that this replica knows.
func Withdraw(key []byte) Op { return Op{kind: wire.EntryMulti, key: key, gone: true} }

// Check returns why no replica would take an operation, or nil.
func (o *Op) Check() error {
	switch {
	case len(o.key) == 0:
		return fmt.Errorf("%w: it is empty", ErrKey)
	case len(o.key) > wire.MaxKey:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKey, len(o.key), wire.MaxKey)
	case len(o.element) > wire.MaxElement:
		return fmt.Errorf("%w: an element of %d bytes, at most %d", ErrValue, len(o.element), wire.MaxElement)
	case len(o.value) > wire.MaxValue:
		return fmt.Errorf("%w: %d bytes, at most %d; store a reference instead", ErrValue, len(o.value), wire.MaxValue)
	}
	return nil
}

// Draft is entries of this node on their way to a signature. Until Commit or Abort there is no other.
type Draft struct {
	Input []byte // what is to be signed by the SVID that Begin was told of
	Ops   int    // how many of the operations it holds: the rest is for the next

	b *batch
}

// Changes returns what Commit will change if nothing newer comes before it, one for each operation that writes.
func (d *Draft) Changes() (cs []Change) {
	for _, it := range d.b.live {
		cs = append(cs, changeOf(it))
	}
	return cs
}

// SVID returns what Begin was told of.
func (d *Draft) SVID() [32]byte { return d.b.SVID }

// Span returns when the first and the last entry of a draft with Input were made: the SVID must be valid at both.
func (d *Draft) Span() (oldest, newest time.Time) {
	live := d.b.live
	return live[0].time.Time(), live[len(live)-1].time.Time()
}

// Begin makes the first of ops into a draft: as many as are signed together, up to one that is refused. Its error is that of
// the first, then nothing was done. A draft without Input has nothing to write. svid is the hash of the leaf certificate
// that will sign.
func (s *State) Begin(now time.Time, svid [32]byte, ops []Op) (*Draft, error) {
	switch {
	case s.draft != nil:
		return nil, ErrDraft
	case !s.settled:
		return nil, ErrUnsettled
	case s.ahead:
		return nil, fmt.Errorf("%w: every neighbour says that it is more than %v ahead", ErrClock, maxSkew)
	}
	w := writer{s: s, now: now, svid: svid, mine: map[slot]*item{}}
	n := 0
	for ; n < min(len(ops), wire.MaxBatch) && w.size < maxBatchBytes; n++ {
		if n > 0 && w.size+len(ops[n].key)+len(ops[n].value) > maxBatchBytes {
			break
		}
		if err := w.op(&ops[n]); err != nil {
			if n == 0 {
				return nil, err
			}
			break
		}
	}
	d := &Draft{Ops: n}
	if len(w.leaves) == 0 {
		return d, nil
	}
	p := &wire.Piece{Batch: w.batch(), Leaves: w.leaves}
	p.Count = uint16(len(w.leaves))
	s.next += uint64(p.Count)
	d.b = newBatch(p)
	d.Input = d.b.signed()
	s.draft = d
	return d, nil
}

// writer makes entries. Later ones see earlier ones.
type writer struct {
	s      *State
	now    time.Time
	svid   [32]byte
	leaves []wire.Leaf
	mine   map[slot]*item // the newest of them
	size   int
	bytes  int // that they take, as if none took the place of another
}

func (w *writer) batch() wire.Batch {
	return wire.Batch{Author: w.s.cfg.Self, Incarnation: w.s.cfg.Incarnation, First: w.s.next, Count: wire.MaxBatch, SVID: w.svid}
}

func (w *writer) op(o *Op) error {
	if err := o.Check(); err != nil {
		return err
	}
	head := w.batch()
	e := wire.Entry{Kind: o.kind, Gone: o.gone, Key: o.key, Element: o.element, Value: o.value}
	at := slotOf(&head, &e)
	old := w.mine[at]
	if old == nil {
		old = w.s.tree.get(at)
	}
	if done, err := w.fill(&e, o, old); done || err != nil {
		return err
	}
	clock := w.s.clock
	var err error
	// Twice: who dates what we learnt as far ahead as we take must not silence us.
	if e.Time, err = clock.Next(w.now, 2*w.s.cfg.MaxAhead); err != nil {
		return err
	}
	raw := e.Append(nil)
	if e, err = wire.ParseEntry(raw); err != nil {
		return fmt.Errorf("%w: %w", ErrRange, err)
	}
	leaf := wire.Leaf{Index: uint16(len(w.leaves)), Raw: raw, Entry: e}
	it := newItem(&batch{Batch: head}, &leaf)
	if err := errors.Join(w.s.allowed(it), w.s.room(it, old, w.bytes)); err != nil {
		return err
	}
	w.s.clock = clock
	w.leaves = append(w.leaves, leaf)
	w.mine[at] = it
	w.size += len(raw)
	w.bytes += it.size()
	return nil
}

// fill adds what follows from what this node knows; old is what it wrote to the same slot. done: there is nothing to write.
func (w *writer) fill(e *wire.Entry, o *Op, old *item) (done bool, err error) {
	switch o.kind {
	case wire.EntryCounter:
		if old != nil {
			was := old.entry()
			e.Added, e.Taken = was.Added, was.Taken
		}
		if o.add > math.MaxUint64-e.Added || o.take > math.MaxUint64-e.Taken {
			return false, fmt.Errorf("%w: the counter %q cannot grow by that much", ErrRange, o.key)
		}
		e.Added, e.Taken = e.Added+o.add, e.Taken+o.take
		return o.add == 0 && o.take == 0, nil
	case wire.EntrySet, wire.EntryMulti:
		items := w.s.peers(o.kind, o.key, o.element)
		items = slices.DeleteFunc(items, func(it *item) bool { return w.own(it) })
		if old != nil {
			items = append(items, old)
		}
		if o.gone && !slices.ContainsFunc(items, standing(items)) {
			return true, nil
		}
		if e.Covers = dotsOf(items, w.own); len(e.Covers) > wire.MaxCovers {
			return false, fmt.Errorf("%w: %q has %d authors, at most %d", ErrRange, o.key, len(e.Covers), wire.MaxCovers)
		}
	}
	return false, nil
}

// own reports whether this incarnation wrote it.
func (w *writer) own(it *item) bool {
	return it.batch.Author == w.s.cfg.Self && it.batch.Incarnation == w.s.cfg.Incarnation
}

// dotsOf returns the dots of items without one's own, which an entry outdoes by its place, in their order.
func dotsOf(items []*item, own func(*item) bool) (ds []wire.Dot) {
	for _, it := range items {
		if !own(it) {
			ds = append(ds, it.dot())
		}
	}
	slices.SortFunc(ds, wire.Dot.Compare)
	return ds
}

// Seal adds the signature and returns what is to be on disk before Commit.
func (s *State) Seal(d *Draft, sig []byte) []Pair {
	d.b.sig = sig
	rest := s.takePairs()
	s.saveBatch(d.b)
	for _, it := range d.b.live {
		s.saveItem(it)
	}
	s.saveMeta()
	out := s.takePairs()
	s.pairs = rest
	return out
}

// commit makes a sealed draft part of the state.
func (s *State) commit(now time.Time, d *Draft) (out Outcome) {
	if s.draft != d || d.b == nil {
		return out
	}
	s.draft = nil
	for _, it := range d.b.live {
		s.forgetBefore(it)
	}
	for _, it := range s.adopt(d.b, nil) {
		if it.batch == nil { // a later one of the draft took its place
			continue
		}
		out.fresh = append(out.fresh, it)
		out.Changed = append(out.Changed, changeOf(it))
	}
	out.Write = s.takePairs()
	return out
}

// Abort gives a draft up, as when it could not be signed. Its numbers are not used again.
func (s *State) Abort(d *Draft) {
	if s.draft == d {
		s.draft = nil
	}
}
