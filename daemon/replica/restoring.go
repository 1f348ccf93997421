package replica

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/wire"
)

const (
	maxRestoring = 8                      // pieces that are checked at a time
	busyWait     = 100 * time.Millisecond // until a piece is tried again for which there was no time
)

// restoring is a snapshot on its way into the state.
type restoring struct {
	r      *Replica
	from   *os.File // where spool put it
	room   chan struct{}
	chains map[[32]byte]section

	checkpoints bool // these are taken now, else all else

	mu     sync.Mutex
	result api.RestoreResult
}

// section is where a chain stands in the file: all of them may be too much for memory.
type section struct {
	at   int64
	size int
}

func (in *restoring) chain(svid [32]byte) ([]byte, error) {
	s := in.chains[svid]
	raw := make([]byte, s.size)
	_, err := in.from.ReadAt(raw, s.at)
	return raw, err
}

// all merges what spool has verified, and waits for the last piece.
func (in *restoring) all(ctx context.Context) error {
	parts := newSnapshotReader(in.from)
	if _, err := parts.head(); err != nil {
		return err
	}
	for {
		kind, body, err := parts.part()
		if err != nil {
			return err
		}
		switch kind {
		case partChain:
			chain, err := wire.ParseChain(body)
			if err != nil {
				return err
			}
			in.chains[wire.ChainHash(chain)] = section{parts.at - int64(len(body)), len(body)}
		case partPiece:
			if err := in.piece(ctx, body); err != nil {
				return err
			}
		case partEnd:
			return in.settled(ctx)
		}
	}
}

// piece has one piece checked and merged, when fewer than maxRestoring are.
func (in *restoring) piece(ctx context.Context, raw []byte) error {
	p, err := wire.ParsePiece(raw)
	if err != nil {
		return err
	}
	if in.checkpoints != (len(p.Leaves) == 1 && isCheckpoint(p.Leaves[0].Entry.Key)) {
		return nil
	}
	chain, err := in.chain(p.SVID)
	if err != nil {
		return err
	}
	if err := in.enter(ctx); err != nil {
		return err
	}
	raw = bytes.Clone(raw)
	go func() {
		in.try(ctx, raw, chain, len(p.Leaves))
		<-in.room
	}()
	return nil
}

// enter waits for room for a piece.
func (in *restoring) enter(ctx context.Context) error {
	select {
	case in.room <- struct{}{}:
		return context.Cause(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-in.r.ended:
		return closedError()
	}
}

// try hands a piece of n entries in until it is looked at, and counts what becomes of them. If it gives up, so will settled: ctx or
// the replica has ended.
func (in *restoring) try(ctx context.Context, raw, chain []byte, n int) {
	for {
		out, err := in.once(ctx, raw, chain)
		if !errors.Is(err, crdt.ErrBusy) && !errors.Is(err, errLate) {
			in.count(n, out, err) // which nobody asks for if the replica or ctx ended
			return
		}
		select {
		case <-time.After(busyWait):
		case <-ctx.Done():
			return
		case <-in.r.ended:
			return
		}
	}
}

// once hands a piece in as a neighbour would, and returns what became of it when the disk has room for more.
func (in *restoring) once(ctx context.Context, raw, chain []byte) (crdt.Outcome, error) {
	type looked struct {
		out crdt.Outcome
		err error
	}
	r, answer := in.r, make(chan looked, 1)
	done := func(out crdt.Outcome, err error) {
		r.disk.calm = append(r.disk.calm, func() { answer <- looked{out, err} })
	}
	if err := r.do(ctx, func(now time.Time) {
		out, job, err := r.sync.Import(now, raw)
		if err == nil && job != nil {
			r.toCheck(now, task{job: job, chain: chain, admit: r.cfg.Admits, done: done})
			return
		}
		r.apply(now, out)
		done(out, err)
	}); err != nil {
		return crdt.Outcome{}, err
	}
	select {
	case l := <-answer:
		return l.out, l.err
	case <-ctx.Done():
		return crdt.Outcome{}, context.Cause(ctx)
	case <-r.ended:
		return crdt.Outcome{}, closedError()
	}
}

// count notes what became of a piece of n entries: err of all of them, or each its own.
func (in *restoring) count(n int, out crdt.Outcome, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.refused(n, err)
		return
	}
	in.result.Taken += len(out.Changed)
	for _, err := range out.Refused {
		in.refused(1, err)
	}
}

func (in *restoring) refused(n int, err error) {
	switch r := &in.result; {
	case errors.Is(err, crdt.ErrUnproven):
		r.Unvouched += n
	case errors.Is(err, crdt.ErrUncovered):
		r.Uncovered += n
	case errors.Is(err, crdt.ErrOld):
		r.Older += n
	case errors.Is(err, crdt.ErrQuota), errors.Is(err, crdt.ErrFull):
		r.Full += n
	case errors.Is(err, crdt.ErrFuture):
		r.Future += n
	case errors.Is(err, crdt.ErrOver): // counts as known
	default:
		r.Refused += n
	}
}

// settled waits until no piece is being looked at.
func (in *restoring) settled(ctx context.Context) error {
	for range maxRestoring {
		if err := in.enter(ctx); err != nil {
			return err
		}
	}
	for range maxRestoring {
		<-in.room
	}
	return nil
}

// land waits until all is on disk.
func (in *restoring) land(ctx context.Context) error { return in.r.landed(ctx, func(time.Time) {}) }

// landed waits until what change changes, and all before it, is on disk.
func (r *Replica) landed(ctx context.Context, change func(now time.Time)) error {
	landed := make(chan error, 1)
	if err := r.do(ctx, func(now time.Time) {
		change(now)
		r.disk.put(r, toStore(r.state.Begun()), func(_ time.Time, err error) { landed <- err })
	}); err != nil {
		return err
	}
	select {
	case err := <-landed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ended:
		return closedError()
	}
}

// Settle implements api.StateBackend.
func (r *Replica) Settle(ctx context.Context) error { return r.landed(ctx, r.sync.Settle) }
