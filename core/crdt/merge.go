package crdt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Job asks the host whether Sig is a valid signature of Signed by the SVID of Author whose leaf has the hash SVID, and
// whether that was valid from Oldest to Newest. It must come back through Verified, unchanged but for Ends.
type Job struct {
	From           mesh.NodeID // the neighbour that brought it
	Author         mesh.NodeID
	SVID           [32]byte
	Signed, Sig    []byte
	Oldest, Newest time.Time
	Until          time.Time // what is not checked by then is refused all the same, and may come again
	Ends           time.Time // filled in by the host: until when that SVID is current; zero: for ever

	hash [32]byte // of the piece
	b    *batch
}

// Change says that reading a key may give something else than before, and what did it. Neither Key nor Value may be changed.
type Change struct {
	Kind  wire.EntryKind
	Key   []byte
	Gone  bool  // a deletion, a removal, a withdrawal; or the replica was emptied
	Value Value // its bytes: of a register or a multi-value key
}

func changeOf(it *item) Change {
	c := Change{Kind: it.kind, Key: it.key(), Gone: it.gone, Value: Value{Time: it.time, Dot: it.dot()}}
	if it.kind == wire.EntryRegister || it.kind == wire.EntryMulti {
		c.Value.Bytes = it.entry().Value
	}
	return c
}

// Outcome is what follows from a merge.
type Outcome struct {
	Write   []Pair // to disk, together
	Changed []Change
	Refused []error // of each entry that its author made and that is not taken, or not yet
	Alarm   error   // ErrTwin

	fresh []*item // to be told to others
}

// offer takes a piece that a neighbour sent and does all checks that need no cryptography. Without a job and an error it
// was known, or of a batch that is known: then the outcome is final. raw is not kept; b is what was in it.
func (s *State) offer(now time.Time, from mesh.NodeID, raw []byte) (b *batch, out Outcome, job *Job, err error) {
	h := sha256.Sum256(raw)
	if s.pending.refused.has(now, h) {
		return nil, out, nil, s.count(ErrKnownBad)
	}
	if s.pending.waits(now, h) {
		if from.IsZero() {
			err = ErrBusy // what becomes of it is not known yet
		}
		return nil, out, nil, err
	}
	p, err := wire.ParsePiece(bytes.Clone(raw))
	if err != nil {
		return nil, out, nil, s.count(fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	b = newBatch(p)
	if from.IsZero() { // an operator brings it, and asks anew
		s.uncovered.welcome(b.id)
	}
	if !s.wants(now, from, b) {
		s.shunShelved(now, b)
		return b, out, nil, nil
	}
	if s.batches[b.id] != nil {
		return b, s.merge(now, b), nil, nil
	}
	if !s.pending.add(now, h, from, len(raw)) {
		return b, out, nil, s.count(ErrBusy)
	}
	job = &Job{From: from, Author: b.Author, SVID: b.SVID, Signed: b.signed(), Sig: p.Sig, hash: h, b: b}
	oldest, newest := b.live[0].time, b.live[0].time
	for _, it := range b.live {
		oldest, newest = min(oldest, it.time), max(newest, it.time)
	}
	job.Oldest, job.Newest, job.Until = oldest.Time(), newest.Time(), now.Add(patience)
	return b, out, job, nil
}

// wants reports whether anything in b is neither known nor outdated, nor was refused a while ago. What no neighbour brought is looked
// at again: whoever imports it is to be told what becomes of it.
func (s *State) wants(now time.Time, from mesh.NodeID, b *batch) bool {
	for _, it := range b.live {
		if s.lacks(it) && (from.IsZero() || !s.held.known[it.id] && !s.aside.known[it.id] && !s.shuns(now, it.ref())) {
			return true
		}
	}
	return false
}

// lacks reports whether it would be the item of its slot.
func (s *State) lacks(it *item) bool {
	old := s.tree.get(it.slot)
	return old == nil || old.id != it.id && newer(it, old)
}

// verified takes the host's answer to a job; err says why it is refused.
func (s *State) verified(now time.Time, job *Job, err error) Outcome {
	if !s.pending.done(job.hash) {
		return Outcome{}
	}
	if errors.Is(err, ErrUnproven) {
		_ = s.count(err)
		return Outcome{}
	}
	if err != nil {
		_ = s.count(fmt.Errorf("%w: %w", ErrRefused, err))
		s.pending.refused.put(now, job.hash)
		return Outcome{}
	}
	job.b.late = !job.Ends.IsZero() && now.After(job.Ends.Add(Grace))
	return s.merge(now, job.b)
}

// merge takes in what b brings. Only here and in Restore does anything become part of the state.
func (s *State) merge(now time.Time, b *batch) (out Outcome) {
	var accepted []*item
	in := map[slot]int{}
	for _, it := range b.live {
		if err := s.admit(now, it); err != nil {
			if !errors.Is(err, errKnown) {
				out.Refused = append(out.Refused, s.count(fmt.Errorf("%s: %w", it.batch.Author, err)))
				s.shun(now, it, err)
			}
			continue
		}
		if i, twice := in[it.slot]; !twice {
			in[it.slot] = len(accepted)
			accepted = append(accepted, it)
		} else if newer(it, accepted[i]) {
			accepted = append(accepted[:i], accepted[i+1:]...) // ascending by index stays true
			for k, other := range accepted {
				in[other.slot] = k
			}
			in[it.slot] = len(accepted)
			accepted = append(accepted, it)
		}
	}
	if len(accepted) > 0 {
		own := s.hold(b, accepted)
		for _, it := range accepted {
			it.batch, it.raw = own, bytes.Clone(it.raw)
			s.forgetBefore(it)
			s.install(it, &out)
		}
	}
	return s.finish(out)
}

// finish adds what is to be written to an outcome.
func (s *State) finish(out Outcome) Outcome {
	if len(out.fresh) > 0 {
		s.saveMeta() // the clock
	}
	out.Write = s.takePairs()
	return out
}

var errKnown = errors.New("known")

// admit says whether an item whose author is known to have made it may become part of the state now.
func (s *State) admit(now time.Time, it *item) error {
	old := s.tree.get(it.slot)
	if old != nil && (old.id == it.id || !newer(it, old)) {
		s.suspect(old, it)
		return errKnown
	}
	if err := s.allowed(it); err != nil {
		return err
	}
	if err := s.vouched(it); err != nil {
		return err
	}
	ahead := it.time.Time().Sub(now)
	if ahead > s.skew.Ahead {
		s.skew = Skew{it.batch.Author, ahead}
	}
	if ahead > s.cfg.MaxAhead {
		if !s.held.put(it.time.Time().Add(-s.cfg.MaxAhead), it) {
			return fmt.Errorf("%w: too many such", ErrFull)
		}
		return ErrFuture
	}
	if end := mesh.HybridAt(now.Add(-Life)); old == nil && it.time < end && now.Sub(s.born) > Life {
		if len(forgotten(append(s.peers(it.kind, it.key(), it.element()), it), end, it)) > 0 {
			return ErrOver
		}
		s.aside.put(it.time.Time(), it)
		return ErrOld
	}
	return s.room(it, old, 0)
}

// allowed asks the policy.
func (s *State) allowed(it *item) error {
	if s.cfg.May == nil {
		return nil
	}
	if err := s.cfg.May(writeOf(it)); err != nil {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return nil
}

func writeOf(it *item) Write {
	return Write{it.dot(), it.kind, it.gone, it.time, it.key(), it.element()}
}

// room checks the bounds of memory, with extra bytes on their way. What makes a place smaller is always let in.
func (s *State) room(it, old *item, extra int) error {
	total, author := it.size(), it.size()
	if s.batches[it.batch.id] == nil {
		extra += batchOverhead
	}
	if old != nil {
		total -= old.size()
		if old.batch.Author == it.batch.Author {
			author -= old.size()
		}
	}
	used, quota := s.used[it.batch.Author]-s.usedVital[it.batch.Author], s.cfg.MaxAuthorBytes
	others, limit := s.Bytes()-s.vital, s.cfg.MaxBytes-s.reserve()
	if s.isVital(it) {
		used, quota = s.usedVital[it.batch.Author], s.cfg.MaxVitalBytes
		others, limit = s.Bytes(), s.cfg.MaxBytes
	}
	switch {
	case author > 0 && used+author+extra > quota:
		return fmt.Errorf("%w: at most %d bytes; delete something", ErrQuota, quota)
	case total > 0 && (others+total+extra > limit || s.Bytes()+total+extra > s.cfg.MaxBytes):
		return fmt.Errorf("%w: at most %d bytes; delete something", ErrFull, limit)
	}
	return nil
}

// reserve returns how many bytes are kept free for vital keys.
func (s *State) reserve() int {
	if s.cfg.Vital == nil {
		return 0
	}
	return s.cfg.MaxBytes / vitalShare
}

// suspect counts an author that gave one number to two entries.
func (s *State) suspect(a, b *item) {
	if a.id != b.id && a.dot() == b.dot() {
		_ = s.count(fmt.Errorf("%s: %w", a.batch.Author, ErrEquivocal))
	}
}

// hold makes accepted, which are items of b, live in what is held of their batch.
func (s *State) hold(b *batch, accepted []*item) *batch {
	own := s.batches[b.id]
	if own == nil {
		own = &batch{Batch: b.Batch, sig: bytes.Clone(b.sig), id: b.id}
		own.pruned = []subtree{{0, b.Count, b.hashOf(0, int(b.Count))}}
		s.enter(own)
		s.saveBatch(own)
		_, made := own.join(b, accepted)
		s.savePruned(own, nil, made)
		s.charge(b.Author, own.size())
		return own
	}
	was := own.size()
	gone, made := own.join(b, accepted)
	s.savePruned(own, gone, made)
	s.charge(b.Author, own.size()-was)
	return own
}

// install makes it, which is live in its batch, the item of its slot.
func (s *State) install(it *item, out *Outcome) {
	old := s.tree.put(it)
	s.index.put(it)
	if old != nil {
		s.suspect(old, it)
		s.retire(old)
	}
	s.chargeItem(it.batch.Author, it, 1)
	s.saveItem(it)
	s.clock.Learn(it.time)
	if d := it.dot(); d.Author == s.cfg.Self && d.Incarnation == s.cfg.Incarnation && d.Seq >= s.next {
		s.next = d.Seq + 1
		out.Alarm = s.count(ErrTwin)
	}
	out.fresh = append(out.fresh, it)
	out.Changed = append(out.Changed, changeOf(it))
}

// drop takes an item out of the state.
func (s *State) drop(it *item) {
	s.tree.remove(it.slot)
	s.index.remove(it)
	s.retire(it)
}

// retire gives up the memory of an item that is in no slot any more.
func (s *State) retire(it *item) {
	b := it.batch
	was := b.size()
	gone, made := b.prune(it)
	s.forgetItem(it)
	s.chargeItem(b.Author, it, -1)
	if it.batch = nil; len(b.live) == 0 {
		s.charge(b.Author, -was)
		s.leave(b)
		s.forgetBatch(b, gone)
		return
	}
	s.charge(b.Author, b.size()-was)
	s.savePruned(b, gone, []subtree{made})
}
