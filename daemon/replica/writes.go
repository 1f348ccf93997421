package replica

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/wire"
)

// Bounds of writes that wait.
const (
	maxWaiting      = 64 << 10
	maxWaitingBytes = 64 << 20
)

// writes is the writes of this node. Those that wait while a draft is signed and written make up the next.
type writes struct {
	waiting []*request
	bytes   int
	draft   *crdt.Draft
	inDraft []*request
}

// request is one write of one caller.
type request struct {
	op    crdt.Op
	size  int
	alone bool
	done  chan struct{}

	answer api.KVWritten // when done is closed
	err    error
}

func (q *request) finish(answer api.KVWritten, err error) {
	q.answer, q.err = answer, err
	close(q.done)
}

// put has an operation written and returns when it is on disk and can be read.
func (r *Replica) put(ctx context.Context, op crdt.Op, key []byte, size int) (api.KVWritten, error) {
	if err := op.Check(); err != nil {
		return api.KVWritten{}, refusal(err)
	}
	q := &request{op: op, size: size, alone: isCheckpoint(key), done: make(chan struct{})}
	if !r.box.post(func(time.Time) { r.enqueue(q) }) {
		return api.KVWritten{}, closedError()
	}
	if err := r.await(ctx, q.done); err != nil {
		return api.KVWritten{}, err
	}
	return q.answer, q.err
}

func (r *Replica) enqueue(q *request) {
	w := &r.writes
	if len(w.waiting) >= maxWaiting || w.bytes+q.size > maxWaitingBytes {
		q.finish(api.KVWritten{}, api.Errorf(api.CodeUnavailable, "%d writes wait for the disk already", len(w.waiting)))
		return
	}
	w.waiting = append(w.waiting, q)
	w.bytes += q.size
}

// begin makes the next draft of what waits, and has it signed.
func (r *Replica) begin(now time.Time) {
	w := &r.writes
	if w.draft != nil || len(w.waiting) == 0 {
		return
	}
	if err := r.disk.failing; err != nil {
		r.refuseAll(api.Errorf(api.CodeUnavailable, "%v", err).With("see to the disk; the write can then be repeated"))
		return
	}
	id := r.cfg.Identity()
	if id.Signer == nil || len(id.Chain) == 0 {
		r.refuseAll(api.Errorf(api.CodeUnavailable, "this node has no SVID to sign with yet").With("repeat it in a moment"))
		return
	}
	for len(w.waiting) > 0 {
		d, err := r.state.Begin(now, wire.ChainHash(id.Chain), w.together())
		if err != nil {
			r.noteClock(now, err)
			for _, q := range w.next(1) {
				q.finish(api.KVWritten{}, refusal(err))
			}
			continue
		}
		r.told.clear("clock")
		w.draft, w.inDraft = d, w.next(d.Ops)
		go r.sign(id, d)
		return
	}
}

// together returns what waits and may be signed together: anything but checkpoints.
func (w *writes) together() (ops []crdt.Op) {
	for _, q := range w.waiting[:min(len(w.waiting), wire.MaxBatch)] {
		if q.alone && len(ops) > 0 {
			break
		}
		if ops = append(ops, q.op); q.alone {
			break
		}
	}
	return ops
}

func (r *Replica) noteClock(now time.Time, err error) {
	if errors.Is(err, crdt.ErrClock) {
		r.told.warn(now, "clock", err.Error())
	}
}

// next takes the first n of what waits.
func (w *writes) next(n int) []*request {
	qs := slices.Clone(w.waiting[:n])
	clear(w.waiting[:n])
	if w.waiting = w.waiting[n:]; len(w.waiting) == 0 {
		w.waiting = nil
	}
	for _, q := range qs {
		w.bytes -= q.size
	}
	return qs
}

func (r *Replica) refuseAll(err error) {
	for _, q := range r.writes.next(len(r.writes.waiting)) {
		q.finish(api.KVWritten{}, err)
	}
}

// sign signs a draft. Others would refuse for good what an SVID signs that is not valid: so that is found out first.
func (r *Replica) sign(id Identity, d *crdt.Draft) {
	raw := wire.AppendChain(nil, id.Chain)
	oldest, newest := d.Span()
	key, _, err := r.proofs.key(raw, r.cfg.Self, oldest, newest)
	if err == nil && !key.Equal(id.Signer.Public()) {
		err = errors.New("its key is not the one that it was given with")
	}
	var sig []byte
	if err == nil {
		h := sha256.Sum256(d.Input)
		sig, err = id.Signer.Sign(r.cfg.Rand, h[:], crypto.SHA256)
	}
	r.box.post(func(now time.Time) { r.signed(now, d, raw, sig, err) })
}

// signed puts a draft on disk, with its part of the journal: a watch must not miss what was acknowledged.
func (r *Replica) signed(now time.Time, d *crdt.Draft, chain, sig []byte, err error) {
	if err != nil {
		r.told.count("unsigned")
		r.giveUp(d, api.Errorf(api.CodeUnavailable, "this node cannot sign: %v", err).With("see x0t identity"))
		return
	}
	r.disk.later(r, now, r.chains.keep(chain, d.SVID())) // also if the draft is given up: others' entries may need it by then
	pairs := toStore(r.state.Seal(d, sig))
	lines, over, first := r.journal.add(now, d.Changes()) // one line: a draft is shorter
	r.disk.later(r, now, over)                            // that are over also if the draft is given up
	n := r.journal.newest() + 1 - first
	r.disk.put(r, append(pairs, lines...), func(now time.Time, err error) {
		if err == nil {
			r.commit(now, d, first)
			return
		}
		r.journal.void(first, n)
		r.disk.shorten(r.journal.newest())
		r.giveUp(d, api.Errorf(api.CodeUnavailable, "%v", err).With("see to the disk; the write can then be repeated"))
	})
}

// giveUp answers all writes of a draft with an error.
func (r *Replica) giveUp(d *crdt.Draft, err error) {
	r.state.Abort(d)
	qs := r.writes.inDraft
	r.writes.draft, r.writes.inDraft = nil, nil
	for _, q := range qs {
		q.finish(api.KVWritten{}, err)
	}
}

// commit makes a draft that is on disk part of the state. Its changes are in the journal since it was signed.
func (r *Replica) commit(now time.Time, d *crdt.Draft, first uint64) {
	changes := d.Changes()
	out := r.sync.Commit(now, d)
	out.Changed = nil // in the journal already
	r.learn(now, changes)
	for _, s := range r.sessions {
		s.rest = time.Time{}
	}
	r.apply(now, out)
	qs := r.writes.inDraft
	r.writes.draft, r.writes.inDraft = nil, nil
	fresh := r.freshness(now)
	for i, q := range qs {
		q.finish(api.KVWritten{Freshness: fresh, Time: changes[i].Value.Time.Time(), Revision: r.journal.revision(first + uint64(i))}, nil)
	}
	r.told.counts["writes"] += uint64(len(qs))
}

// refusal is what a caller is told of a write that core/crdt refuses.
func refusal(err error) error {
	for _, c := range [...]struct {
		is   error
		code api.Code
	}{
		{crdt.ErrKey, api.CodeBadRequest}, {crdt.ErrRange, api.CodeBadRequest}, {crdt.ErrValue, api.CodeTooLarge},
		{crdt.ErrQuota, api.CodeTooLarge}, {crdt.ErrFull, api.CodeTooLarge}, {crdt.ErrForbidden, api.CodeForbidden},
		{crdt.ErrUnsettled, api.CodeUnavailable}, {crdt.ErrClock, api.CodeUnavailable},
	} {
		if errors.Is(err, c.is) {
			return refuse(c.code, err)
		}
	}
	return err
}

// coded is an error with the code that a caller over the API sees.
type coded struct {
	shown *api.Error
	cause error
}

func (c *coded) Error() string   { return c.shown.Error() }
func (c *coded) Unwrap() []error { return []error{c.shown, c.cause} }

func refuse(code api.Code, err error) error { return &coded{api.Errorf(code, "%v", err), err} }

func closedError() error {
	return refuse(api.CodeUnavailable, fmt.Errorf("%w: the daemon stops", ErrClosed))
}
