package crdt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Pair is one line of what a replica has on disk; without a value it is to be removed. Keys, where id is the first half of
// the hash of what the batch's author signed:
//
//	b id             the batch: author to SVID hash as on the wire ‖ signature
//	e id index       an entry
//	p id lo hi       the hash of a subtree of the batch's tree, in which no entry counts any more
//	m                version (1) ‖ incarnation (8) ‖ next sequence (8) ‖ clock (8) ‖ born, ms (8) ‖ last agreed, ms (8) ‖
//	                 the first 8 bytes of the hash of all that; any version begins and ends like this
//
// So the disk can be checked against the signature: all of a batch together give its id again.
type Pair struct{ Key, Value []byte }

const (
	diskVersion = 1
	metaSize    = 1 + 5*8 // without the hash
)

func batchKey(kind byte, b *batch, more ...uint16) []byte {
	k := append(append(make([]byte, 0, 21), kind), b.id[:16]...)
	for _, m := range more {
		k = binary.BigEndian.AppendUint16(k, m)
	}
	return k
}

func (s *State) write(key, value []byte) { s.pairs = append(s.pairs, Pair{key, value}) }

func (s *State) takePairs() []Pair {
	p := s.pairs
	s.pairs = nil
	return p
}

func (s *State) saveBatch(b *batch) { s.write(batchKey('b', b), append(b.Append(nil), b.sig...)) }
func (s *State) saveItem(it *item)  { s.write(batchKey('e', it.batch, it.index), it.raw) }

func (s *State) forgetItem(it *item) { s.write(batchKey('e', it.batch, it.index), nil) }

func (s *State) savePruned(b *batch, gone, made []subtree) {
	for _, t := range gone {
		s.write(batchKey('p', b, t.lo, t.hi), nil)
	}
	for _, t := range made {
		s.write(batchKey('p', b, t.lo, t.hi), t.hash[:])
	}
}

// forgetBatch removes a batch of which nothing counts; the subtrees gone were all that it had pruned before.
func (s *State) forgetBatch(b *batch, gone []subtree) {
	s.savePruned(b, gone, nil)
	s.write(batchKey('b', b), nil)
}

func (s *State) saveMeta() { s.write([]byte("m"), s.meta()) }

func (s *State) meta() []byte {
	be := binary.BigEndian
	m := be.AppendUint64([]byte{diskVersion}, s.cfg.Incarnation)
	m = be.AppendUint64(m, s.next)
	m = be.AppendUint64(m, uint64(s.clock.Last()))
	for _, t := range []time.Time{s.born, s.synced} {
		ms := uint64(0)
		if !t.IsZero() {
			ms = uint64(max(t.UnixMilli(), 1))
		}
		m = be.AppendUint64(m, ms)
	}
	sum := sha256.Sum256(m)
	return append(m, sum[:8]...)
}

func (s *State) readMeta(m []byte) error {
	if len(m) < 1+8 {
		return fmt.Errorf("%d bytes", len(m))
	}
	body, sum := m[:len(m)-8], sha256.Sum256(m[:len(m)-8])
	switch {
	case !bytes.Equal(sum[:8], m[len(body):]):
		return fmt.Errorf("its hash does not match")
	case m[0] > diskVersion:
		return fmt.Errorf("%w: %d, not %d", ErrNewer, m[0], diskVersion)
	case m[0] != diskVersion || len(body) != metaSize:
		return fmt.Errorf("%d bytes of version %d", len(m), m[0])
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(m[1+8*i:]) }
	when := func(i int) time.Time {
		if at(i) == 0 {
			return time.Time{}
		}
		return time.UnixMilli(int64(at(i)))
	}
	s.cfg.Incarnation, s.next = at(0), max(at(1), 1)
	s.clock.Learn(mesh.Hybrid(at(2)))
	s.born, s.synced = when(3), when(4)
	s.settled = s.settled || !s.synced.IsZero()
	return nil
}

// Begun returns what is to be on disk before a new replica writes anything: who it is.
func (s *State) Begun() []Pair { return []Pair{{[]byte("m"), s.meta()}} }

// Restore makes a replica of the pairs that are on disk, ascending by key. What does not give its author's hash again is
// left out, and said: neighbours have it. The outcome removes it from the disk. Without a line m the disk is not that of a
// replica, and its incarnation must not be used again: cfg has to bring a new one, and all else is kept. With ErrNewer there is
// no replica, and the disk is to be left alone.
func Restore(now time.Time, cfg Config, pairs iter.Seq2[[]byte, []byte]) (*State, Outcome, []error) {
	s := New(now, cfg)
	l := loader{s: s, by: map[string]*loading{}}
	for k, v := range pairs {
		l.line(k, v)
	}
	if i := slices.IndexFunc(l.errs, func(err error) bool { return errors.Is(err, ErrNewer) }); i >= 0 {
		return nil, Outcome{}, l.errs[i : i+1]
	}
	if !l.meta {
		l.errs = append(l.errs, fmt.Errorf("the line that says which replica this is is missing or damaged: it begins as incarnation %d", cfg.Incarnation))
		s.saveMeta()
	}
	var outdone [][2]*item
	for _, x := range l.order {
		if err := l.check(x); err != nil {
			l.errs = append(l.errs, err)
			for _, k := range x.keys {
				s.write(k, nil)
			}
			continue
		}
		s.adopt(x.b, func(old, by *item) { outdone = append(outdone, [2]*item{old, by}) })
	}
	for _, o := range outdone {
		s.forgetCovered(o[0], o[1])
	}
	return s, Outcome{Write: s.takePairs()}, l.errs
}

// adopt takes in a batch whose entries were admitted before: from disk, or this node's own. It returns those that are the newest
// of their slots; what they outdid, or what outdoes one, is removed, and told to outdone if that is not nil.
func (s *State) adopt(b *batch, outdone func(old, by *item)) (newest []*item) {
	s.enter(b)
	s.charge(b.Author, b.size())
	for _, it := range b.live {
		s.chargeItem(b.Author, it, 1)
	}
	for _, it := range slices.Clone(b.live) {
		s.clock.Learn(it.time)
		old := s.tree.get(it.slot)
		last := old == nil || newer(it, old)
		if old != nil && outdone != nil && last {
			outdone(old, it)
		} else if old != nil && outdone != nil {
			outdone(it, old)
		}
		if !last {
			s.retire(it)
			continue
		}
		s.tree.put(it)
		s.index.put(it)
		if old != nil {
			s.retire(old)
		}
		newest = append(newest, it)
	}
	return newest
}

type loader struct {
	s     *State
	by    map[string]*loading
	order []*loading
	meta  bool
	errs  []error
}

type loading struct {
	id   []byte
	b    *batch // nil: its line is missing or damaged
	keys [][]byte
	bad  error
}

func (l *loader) line(k, v []byte) {
	if string(k) == "m" {
		err := l.s.readMeta(v)
		if l.meta = err == nil; !l.meta {
			l.errs = append(l.errs, fmt.Errorf("line m: %w", err))
		}
		return
	}
	if len(k) < 17 {
		l.errs = append(l.errs, fmt.Errorf("line %x: not known", k))
		l.s.write(bytes.Clone(k), nil)
		return
	}
	x := l.by[string(k[1:17])]
	if x == nil {
		x = &loading{id: bytes.Clone(k[1:17])}
		l.by[string(x.id)] = x
		l.order = append(l.order, x)
	}
	x.keys = append(x.keys, bytes.Clone(k))
	if err := x.line(k[0], k[17:], bytes.Clone(v)); err != nil && x.bad == nil {
		x.bad = fmt.Errorf("line %x: %w", k, err)
	}
}

func (x *loading) line(kind byte, at, v []byte) error {
	u16 := binary.BigEndian.Uint16
	switch {
	case kind == 'b' && len(at) == 0:
		head, sig, err := wire.ParseBatch(v)
		if err != nil {
			return err
		}
		x.b = &batch{Batch: head, sig: sig}
	case x.b == nil:
		return fmt.Errorf("its batch is missing")
	case kind == 'e' && len(at) == 2 && u16(at) < x.b.Count:
		e, err := wire.ParseEntry(v)
		if err != nil {
			return err
		}
		x.b.live = append(x.b.live, newItem(x.b, &wire.Leaf{Index: u16(at), Raw: v, Entry: e}))
	case kind == 'p' && len(at) == 4 && len(v) == 32:
		x.b.pruned = append(x.b.pruned, subtree{u16(at), u16(at[2:]), [32]byte(v)})
	default:
		return fmt.Errorf("not known")
	}
	return nil
}

// check says whether what was loaded of a batch is what its author signed.
func (l *loader) check(x *loading) error {
	if x.bad == nil && (x.b == nil || len(x.b.live) == 0) {
		x.bad = fmt.Errorf("nothing is left of it")
	}
	if x.bad == nil {
		next := 0
		walk(x.b.live, 0, int(x.b.Count), func(lo, hi int) {
			if next < len(x.b.pruned) && int(x.b.pruned[next].lo) == lo && int(x.b.pruned[next].hi) == hi {
				next++
			} else {
				x.bad = fmt.Errorf("entries %d to %d are missing", lo, hi-1)
			}
		})
		if x.bad == nil && next != len(x.b.pruned) {
			x.bad = fmt.Errorf("it has hashes that it needs not")
		}
	}
	if x.bad == nil {
		if x.b.id = sha256.Sum256(x.b.signed()); !bytes.Equal(x.b.id[:16], x.id) {
			x.bad = fmt.Errorf("its entries are not those that were signed")
		}
	}
	if x.bad != nil {
		return fmt.Errorf("batch %x: %w", x.id, x.bad)
	}
	return nil
}
