package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/wire"
)

const (
	defaultBytes    = 1 << 30 // of a state in memory
	snapshotShare   = 4       // times as large may a snapshot be
	maxRestoring    = 8       // pieces that are checked at a time
	restoreTemplate = "restoring-*"
)

// Restore implements api.StateBackend. It reads all of the snapshot first, into a file beside the state, and looks at every byte; only
// then does it take anything, as if a neighbour had brought it.
func (r *Replica) Restore(ctx context.Context, from io.Reader) (api.RestoreResult, error) {
	if !r.restore.TryLock() {
		return api.RestoreResult{}, api.Errorf(api.CodeConflict, "another snapshot is being restored").With("wait until it is done")
	}
	defer r.restore.Unlock()
	f, err := os.CreateTemp(filepath.Dir(r.cfg.Path), restoreTemplate)
	if err != nil {
		return api.RestoreResult{}, err
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	h, err := r.spool(ctx, from, f)
	if err != nil {
		return api.RestoreResult{}, snapshotRefusal(err)
	}
	in := &restoring{r: r, room: make(chan struct{}, maxRestoring), chains: map[[32]byte][]byte{}}
	for _, in.checkpoints = range [...]bool{true, false} { // they cover the rest
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return api.RestoreResult{}, err
		}
		if err := in.all(ctx, f); err != nil {
			return api.RestoreResult{}, snapshotRefusal(err)
		}
	}
	if err := in.land(ctx); err != nil {
		return api.RestoreResult{}, err
	}
	in.result.Snapshot = h.info()
	in.result.Known = int(h.entries) - in.result.Taken - in.result.Refused
	return in.result, nil
}

func snapshotRefusal(err error) error {
	for _, named := range [...]error{ErrNotSnapshot, ErrSnapshotTorn, ErrSnapshotChanged, ErrSnapshotNewer, ErrSnapshotDomain} {
		if errors.Is(err, named) {
			return refuse(api.CodeBadRequest, fmt.Errorf("%w; nothing of it was taken", err))
		}
	}
	if errors.Is(err, ErrSnapshotLarge) {
		return refuse(api.CodeTooLarge, err)
	}
	return err
}

// spool copies a snapshot into a file and verifies that it is one, whole, unchanged, and of this domain.
func (r *Replica) spool(ctx context.Context, from io.Reader, to io.Writer) (head, error) {
	limit := r.cfg.MaxBytes
	if limit <= 0 {
		limit = defaultBytes
	}
	in := newSnapshotReader(io.TeeReader(&limited{ctx: ctx, from: from, left: int64(limit) * snapshotShare}, to))
	h, err := in.whole()
	if err == nil && h.domain != r.cfg.Domain.Name() {
		err = fmt.Errorf("%w: %s, this node is of %s", ErrSnapshotDomain, h.domain, r.cfg.Domain.Name())
	}
	return h, err
}

// Verify reads a snapshot to its end and returns what it holds, if it is whole and as it was written. Signatures are looked at by
// the node that restores it, which knows whom to trust.
func Verify(from io.Reader) (api.SnapshotInfo, error) {
	h, err := newSnapshotReader(from).whole()
	if err != nil {
		return api.SnapshotInfo{}, err
	}
	return h.info(), nil
}

// whole reads all of a snapshot and checks that nothing is missing, changed or too much.
func (in *snapshotReader) whole() (head, error) {
	h, err := in.head()
	if err != nil {
		return h, err
	}
	entries, proven := uint64(0), map[[32]byte]bool{}
	for {
		kind, body, err := in.part()
		if err != nil {
			return h, err
		}
		switch kind {
		case partChain:
			chain, err := wire.ParseChain(body)
			if err != nil {
				return h, fmt.Errorf("%w: %w", ErrSnapshotChanged, err)
			}
			proven[wire.ChainHash(chain)] = true
			continue
		case partPiece:
			p, err := wire.ParsePiece(body)
			if err != nil {
				return h, fmt.Errorf("%w: %w", ErrSnapshotChanged, err)
			}
			if !proven[p.SVID] {
				return h, fmt.Errorf("%w: the certificate of a batch of %s is missing", ErrSnapshotChanged, p.Author)
			}
			entries += uint64(len(p.Leaves))
			continue
		}
		return h, in.end(&h, entries)
	}
}

// end checks what stands behind the last part.
func (in *snapshotReader) end(h *head, entries uint64) error {
	want := in.sum.Sum(nil)
	got, err := in.read(len(want))
	if err != nil {
		return err
	}
	switch _, err := in.from.ReadByte(); {
	case !bytes.Equal(got, want):
		return fmt.Errorf("%w: its hash does not match", ErrSnapshotChanged)
	case err == nil:
		return fmt.Errorf("%w: there is something behind its end", ErrSnapshotChanged)
	case !errors.Is(err, io.EOF):
		return err
	case entries != h.entries:
		return fmt.Errorf("%w: %d entries of %d are there", ErrSnapshotChanged, entries, h.entries)
	}
	return nil
}

// limited reads no more than left bytes, and nothing after its context ends.
type limited struct {
	ctx  context.Context
	from io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.left <= 0 {
		return 0, ErrSnapshotLarge
	}
	n, err := l.from.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}

// restoring is a snapshot on its way into the state. The counts are the loop's until all is done.
type restoring struct {
	r      *Replica
	room   chan struct{}
	chains map[[32]byte][]byte
	result api.RestoreResult

	checkpoints bool // these are taken now, else all else
}

// all merges what spool has verified, and waits for the last piece.
func (in *restoring) all(ctx context.Context, from io.Reader) error {
	parts := newSnapshotReader(from)
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
			in.chains[wire.ChainHash(chain)] = bytes.Clone(body)
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
	select {
	case in.room <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-in.r.ended:
		return closedError()
	}
	n, svid := len(p.Leaves), p.SVID
	done := func(out crdt.Outcome, err error) {
		if err != nil {
			in.result.Refused += n
		}
		in.result.Taken += len(out.Changed)
		in.result.Refused += out.Refused
		<-in.room
	}
	return in.r.do(ctx, func(now time.Time) {
		out, job, err := in.r.sync.Import(now, raw)
		if err == nil && job != nil {
			in.r.toCheck(now, task{job: job, chain: in.chains[svid], admit: in.r.cfg.Admits, done: done})
			return
		}
		in.r.apply(now, out)
		done(out, err)
	})
}

// settled waits until no piece is being checked.
func (in *restoring) settled(ctx context.Context) error {
	for range maxRestoring {
		select {
		case in.room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-in.r.ended:
			return closedError()
		}
	}
	for range maxRestoring {
		<-in.room
	}
	return nil
}

// land waits until all is on disk.
func (in *restoring) land(ctx context.Context) error {
	landed := make(chan error, 1)
	if err := in.r.do(ctx, func(time.Time) {
		in.r.disk.put(in.r, toStore(in.r.state.Begun()), func(_ time.Time, err error) { landed <- err })
	}); err != nil {
		return err
	}
	select {
	case err := <-landed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-in.r.ended:
		return closedError()
	}
}
