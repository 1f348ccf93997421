package replica

import (
	"bytes"
	"context"
	"errors"
	"time"

	"x0tta6bl4/api"
)

// Sizes of what a watcher takes at a time.
const (
	watchSome  = 256
	defaultLog = 100
)

// KVWatch implements api.StateBackend. It reads the journal by number, so a slow watcher holds nothing up: if the journal loses
// what it has not seen yet, it is told so (Reset), and what stands now instead. These lines have a revision from which a watch begins
// with them again, so that one that broke off misses nothing.
func (r *Replica) KVWatch(ctx context.Context, req api.KVWatchRequest, emit func(api.KVChange) error) error {
	at, current, lost := r.journal.shown(), req.Current, false
	if req.From != "" {
		n, gone, err := r.journal.parse(req.From)
		if err != nil {
			return refuse(api.CodeBadRequest, err)
		}
		if lost = gone; !lost {
			at = n
		}
	}
	for {
		if lost {
			if err := emit(api.KVChange{Revision: r.journal.standing(), Taken: r.cfg.Now().UTC(), Reset: true}); err != nil {
				return err
			}
		}
		if current || lost {
			at = r.journal.shown()
			if err := r.tellCurrent(ctx, req.Prefix, emit); err != nil {
				return err
			}
		}
		es, to, wake, gone := r.journal.after(at, req.Prefix, watchSome)
		if current, lost = false, gone; lost {
			continue
		}
		for i := range es {
			if err := emit(r.shown(&es[i])); err != nil {
				return err
			}
		}
		if to > at {
			at = to
			continue
		}
		if err := r.await(ctx, wake); err != nil {
			return err
		}
	}
}

func (r *Replica) shown(e *entry) api.KVChange {
	return api.KVChange{
		Revision: r.journal.revision(e.n), Key: bytes.Clone(e.key), Value: bytes.Clone(e.value), Deleted: e.gone,
		Time: e.at.Time(), Author: e.author, Taken: time.UnixMilli(e.taken).UTC(),
	}
}

// tellCurrent tells all registers that have a value, a page at a time. What changes meanwhile comes after it out of the journal.
func (r *Replica) tellCurrent(ctx context.Context, prefix []byte, emit func(api.KVChange) error) error {
	req := api.KVListRequest{Prefix: prefix, Limit: watchSome}
	for {
		page, err := r.KVList(ctx, req)
		if err != nil {
			return err
		}
		now := r.cfg.Now().UTC()
		for _, e := range page.Entries {
			c := api.KVChange{Revision: r.journal.standing(), Key: e.Key, Value: e.Value, Time: e.Time, Author: e.Author, Taken: now, Current: true}
			if err := emit(c); err != nil {
				return err
			}
		}
		if page.After == nil {
			return nil
		}
		req.After = page.After
	}
}

// Subscribe calls each with all that stands under a prefix, with Current, and then with every change, until ctx ends, each fails,
// or the replica is closed.
func (r *Replica) Subscribe(ctx context.Context, prefix []byte, each func(api.KVChange) error) error {
	return r.KVWatch(ctx, api.KVWatchRequest{Prefix: prefix, Current: true}, each)
}

// KVLog implements api.StateBackend.
func (r *Replica) KVLog(ctx context.Context, req api.KVLogRequest, emit func(api.KVChange) error) error {
	if req.Limit < 0 {
		return api.Errorf(api.CodeBadRequest, "a limit of %d changes", req.Limit)
	}
	if req.Limit == 0 {
		req.Limit = defaultLog
	}
	for _, e := range r.journal.last(req.Prefix, req.Limit) {
		if err := errors.Join(ctx.Err(), emit(r.shown(&e))); err != nil {
			return err
		}
	}
	return nil
}
