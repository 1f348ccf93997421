package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/wire"
)

const (
	journalVersion = 1
	maxTold        = 4       // damaged lines that are told one by one
	lookUp         = 1 << 10 // lines that are read between two looks whether anybody waits for it
)

// What the line F says: which of the domain's replicas this is. An earlier release writes none, and removes it.
const (
	markNone    = 0
	markFounder = 1 // the first
	markLost    = 2 // the first one was here, and is lost or damaged
)

// load opens the store and makes the replica of what is in it. What it finds it writes back sound, so that nothing is written by a
// replica of which the disk does not know who it is.
func (r *Replica) load(ctx context.Context) error {
	opened, damage, err := store.OpenContext(ctx, r.cfg.Path)
	if err != nil {
		return err
	}
	r.store = opened
	r.sweep()
	if err := r.restoreAll(ctx, damage); err != nil {
		_ = opened.Close()
		return fmt.Errorf("state in %s: %w", r.cfg.Path, err)
	}
	return nil
}

// sweep removes snapshots that a process was killed over.
func (r *Replica) sweep() {
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(r.cfg.Path), restoreTemplate))
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			r.cfg.Log.Warn("shared state: a file of a snapshot is left", "err", err)
		}
	}
}

func (r *Replica) restoreAll(ctx context.Context, damage *store.Damage) error {
	incarnation, err := r.random()
	if err != nil {
		return err
	}
	name, err := r.random()
	if err != nil {
		return err
	}
	cfg := crdt.Config{
		Self: r.cfg.Self, Incarnation: incarnation, Founder: r.cfg.Founder, Floor: r.cfg.Floor, May: r.cfg.May,
		Covered: r.covered, Proves: r.proves, MaxBytes: r.cfg.MaxBytes, Vital: r.cfg.Vital,
	}
	now := r.cfg.Now()
	r.journal = newJournal(r.cfg.Self, name)
	l := loader{ctx: ctx, r: r, name: name, damaged: damage != nil, dropped: map[string]bool{}}
	var failed error
	state, out, errs := crdt.Restore(now, cfg, l.pairs(r.store.All(&failed)))
	if ctx.Err() != nil { // so it is not all of it
		return context.Cause(ctx)
	}
	if failed != nil {
		return failed
	}
	if state == nil {
		return errs[0]
	}
	if l.newer {
		return fmt.Errorf("journal: %w", crdt.ErrNewer)
	}
	write := append(l.write, l.founding(state)...)
	if l.fresh {
		errs = nil
	}
	r.state = state
	state.Beside(r.chains.bytes)
	write = append(append(write, toStore(out.Write)...), toStore(state.Begun())...)
	write = append(write, l.finish()...)
	r.tell(damage, l.bad, errs)
	return r.store.Write(write)
}

// founding settles the state of a founder whose file is whole, and returns the line that says what became of it: what is lost stays
// lost, however whole the file is the next time.
func (l *loader) founding(state *crdt.State) []store.Pair {
	cfg, mark := &l.r.cfg, l.mark
	switch {
	case cfg.Founder:
		mark = markFounder
	case !cfg.Began && mark == markNone:
		return nil
	case !l.whole || l.damaged:
		mark = markLost
	case mark == markNone:
		mark = markFounder
	}
	if mark == markFounder {
		state.Found()
	}
	return []store.Pair{{Key: []byte("F"), Value: []byte{mark}}}
}

// tell says what was damaged.
func (r *Replica) tell(damage *store.Damage, more int, errs []error) {
	if damage != nil {
		r.told.keep("damage", fmt.Sprintf("%v; neighbours give the rest again", damage))
	}
	if more > 0 {
		r.told.keep("damage-chains", fmt.Sprintf("%d lines are left out: the certificates that prove them, or the journal they belong to, are damaged", more))
	}
	for i, err := range errs {
		if i == maxTold {
			r.told.keep(fmt.Sprintf("damage-%d", i), fmt.Sprintf("%d more such", len(errs)-i))
			break
		}
		r.told.keep(fmt.Sprintf("damage-%d", i), err.Error())
	}
}

// loader takes what is this package's own out of the pairs of a store, and passes the rest on. Own keys come first, since
// capital letters do.
type loader struct {
	ctx     context.Context
	r       *Replica
	name    uint64 // of a new journal
	damaged bool
	newer   bool // a newer version wrote the journal
	fresh   bool // nothing of a replica was there
	whole   bool // the line that says which replica it is was there
	mark    byte // what the line F says
	named   bool // the journal is
	gap     bool // the journal is of no use
	dropped map[string]bool
	bad     int
	write   []store.Pair
}

func (l *loader) pairs(all iter.Seq2[[]byte, []byte]) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		l.fresh = true
		n := 0
		for k, v := range all {
			if n++; n%lookUp == 0 && l.ctx.Err() != nil {
				return
			}
			if k[0] >= 'a' {
				if !l.pass(k, v, yield) {
					return
				}
				continue
			}
			l.own(k, v)
		}
	}
}

// pass passes on a line of crdt, but those of batches that nothing proves, and, of a damaged store, the one that may be of an
// earlier time.
func (l *loader) pass(k, v []byte, yield func([]byte, []byte) bool) bool {
	switch {
	case l.damaged && string(k) == "m":
		return true
	case len(k) < 17:
	case k[0] == 'b':
		if b, _, err := wire.ParseBatch(v); err == nil && !l.proven(b.SVID) {
			l.dropped[string(k[1:17])] = true
		}
		fallthrough
	default:
		if l.dropped[string(k[1:17])] {
			l.drop(k)
			return true
		}
	}
	l.fresh = false
	l.whole = l.whole || string(k) == "m"
	return yield(k, v)
}

// proven reports whether a chain is there. This node's own needs no disk.
func (l *loader) proven(svid [32]byte) bool {
	if l.r.chains.kept[svid] != nil {
		return true
	}
	own := l.r.cfg.Identity().Chain
	if wire.ChainHash(own) != svid {
		return false
	}
	l.write = append(l.write, l.r.chains.keep(wire.AppendChain(nil, own), svid)...)
	return true
}

func (l *loader) drop(k []byte) {
	l.fresh = false
	l.bad++
	l.write = append(l.write, store.Pair{Key: bytes.Clone(k)})
}

// own takes a line of this package. The journal of a damaged store is left behind: a page of it may be of an earlier time.
func (l *loader) own(k, v []byte) {
	j := &l.r.journal
	switch {
	case k[0] == 'C' && len(k) == 33:
		raw := bytes.Clone(v)
		if chain, err := wire.ParseChain(raw); err == nil && bytes.Equal(chainKey(wire.ChainHash(chain)), k) {
			l.r.chains.put(raw, [32]byte(k[1:]))
			return
		}
	case string(k) == "F" && len(v) == 1:
		l.mark = v[0]
		return
	case string(k) == "J" && len(v) > 0 && v[0] > journalVersion:
		l.newer = true
		return
	case string(k) == "J" && len(v) == 9 && v[0] == journalVersion && !l.damaged:
		j.name, l.named = binary.BigEndian.Uint64(v[1:]), true
		return
	case k[0] == 'L' && len(k) == 9 && l.named && !l.gap:
		if cs, err := parseLine(bytes.Clone(v)); err == nil && j.load(binary.BigEndian.Uint64(k[1:]), cs) {
			return
		}
		l.gap = true
	}
	l.drop(k)
}

// finish settles the journal, and returns what is to be written for it.
func (l *loader) finish() (pairs []store.Pair) {
	j := &l.r.journal
	if l.gap {
		pairs = j.reset(l.name)
	}
	pairs = append(pairs, j.trim()...)
	j.durable = j.end() - 1
	return append(pairs, store.Pair{Key: []byte("J"), Value: binary.BigEndian.AppendUint64([]byte{journalVersion}, j.name)})
}

// reset begins another journal, and returns what removes this one from the disk.
func (j *journal) reset(name uint64) (pairs []store.Pair) {
	for _, l := range j.lines {
		pairs = append(pairs, store.Pair{Key: lineKey(l.first)})
	}
	j.name, j.first, j.changes, j.lines, j.bytes = name, 1, nil, nil, 0
	return pairs
}

// load appends a line that is on disk, and reports whether it follows on those before. Numbers between that were given up are void.
func (j *journal) load(first uint64, cs []change) bool {
	if len(j.changes) == 0 {
		j.first = first
	}
	if first == 0 || first < j.end() || first-j.end() > maxChanges {
		return false
	}
	if gap := int(first - j.end()); gap > 0 {
		j.changes = append(j.changes, make([]change, gap)...)
		for i := len(j.changes) - gap; i < len(j.changes); i++ {
			j.changes[i].void = true
		}
		j.enter(gap, 0)
	}
	j.changes = append(j.changes, cs...)
	size := 0
	for i := range cs {
		size += cs[i].size()
	}
	j.enter(len(cs), size)
	return true
}
