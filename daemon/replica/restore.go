package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"x0tta6bl4/api"
	"x0tta6bl4/wire"
)

const (
	defaultBytes    = 1 << 30 // of a state in memory
	snapshotShare   = 4       // times as large may a snapshot be
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
	in := &restoring{r: r, from: f, room: make(chan struct{}, maxRestoring), chains: map[[32]byte]section{}}
	for _, in.checkpoints = range [...]bool{true, false} { // they cover the rest
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return api.RestoreResult{}, err
		}
		if err := in.all(ctx); err != nil {
			return api.RestoreResult{}, snapshotRefusal(err)
		}
	}
	if err := in.land(ctx); err != nil {
		return api.RestoreResult{}, err
	}
	in.result.Snapshot = h.info()
	res := in.result
	res.Known = int(h.entries) - res.Taken - res.Refused - res.Future - res.LeftOut()
	return res, nil
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
	var last *[32]byte // the chain that came last, if no piece has yet
	for {
		kind, body, err := in.part()
		if err != nil {
			return h, err
		}
		if last != nil && kind != partPiece {
			return h, fmt.Errorf("%w: a certificate stands in it for nothing", ErrSnapshotChanged)
		}
		switch kind {
		case partChain:
			chain, err := wire.ParseChain(body)
			if err != nil {
				return h, fmt.Errorf("%w: %w", ErrSnapshotChanged, err)
			}
			if len(proven) >= maxChains {
				return h, fmt.Errorf("%w: the certificates of more than %d SVIDs are in it", ErrSnapshotLarge, maxChains)
			}
			svid := wire.ChainHash(chain)
			last, proven[svid] = &svid, true
			continue
		case partPiece:
			p, err := wire.ParsePiece(body)
			switch {
			case err != nil:
				return h, fmt.Errorf("%w: %w", ErrSnapshotChanged, err)
			case last != nil && p.SVID != *last:
				return h, fmt.Errorf("%w: a certificate stands in it for nothing", ErrSnapshotChanged)
			case !proven[p.SVID]:
				return h, fmt.Errorf("%w: the certificate of a batch of %s is missing", ErrSnapshotChanged, p.Author)
			}
			last = nil
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
