package replica

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
)

// Bounds of a page of a list.
const (
	defaultPage  = 1000
	maxPage      = 10_000
	maxPageBytes = 8 << 20
)

// OwnPrefix begins the keys that are the mesh's own, besides those that begin with a zero byte: all may read them, and only the
// daemon writes them.
const OwnPrefix = "x0t/"

// Own reports whether a key is the mesh's own.
func Own(key []byte) bool {
	return len(key) > 0 && key[0] == 0 || bytes.HasPrefix(key, []byte(OwnPrefix))
}

// Put sets any key, also one of the mesh's own. It returns when that is on this node's disk and can be read.
func (r *Replica) Put(ctx context.Context, key, value []byte) (api.KVWritten, error) {
	return r.put(ctx, crdt.Put(bytes.Clone(key), bytes.Clone(value)), key, len(key)+len(value))
}

// Delete removes any key, also one of the mesh's own.
func (r *Replica) Delete(ctx context.Context, key []byte) (api.KVWritten, error) {
	return r.put(ctx, crdt.Delete(bytes.Clone(key)), key, len(key))
}

// KVPut implements api.StateBackend.
func (r *Replica) KVPut(ctx context.Context, key, value []byte) (api.KVWritten, error) {
	if err := userMay(key); err != nil {
		return api.KVWritten{}, err
	}
	return r.Put(ctx, key, value)
}

// KVDelete implements api.StateBackend.
func (r *Replica) KVDelete(ctx context.Context, key []byte) (api.KVWritten, error) {
	if err := userMay(key); err != nil {
		return api.KVWritten{}, err
	}
	return r.Delete(ctx, key)
}

func userMay(key []byte) error {
	if !Own(key) {
		return nil
	}
	return api.Errorf(api.CodeForbidden, "keys that begin with %q or a zero byte are the mesh's own", OwnPrefix).With("choose another key")
}

func checkKey(key []byte) error {
	op := crdt.Delete(key)
	if err := op.Check(); err != nil {
		return refusal(err)
	}
	return nil
}

// Get returns the entry of a key, or nil.
func (r *Replica) Get(ctx context.Context, key []byte) (*api.KVEntry, error) {
	got, err := r.KVGet(ctx, key)
	return got.Entry, err
}

// Dated returns the entry of a key with the whole of its time, which orders what is written within one millisecond, or behind a clock
// that is ahead; nil: there is none.
func (r *Replica) Dated(ctx context.Context, key []byte) (*api.KVEntry, mesh.Hybrid, error) {
	got, at, err := r.get(ctx, key)
	return got.Entry, at, err
}

// KVGet implements api.StateBackend.
func (r *Replica) KVGet(ctx context.Context, key []byte) (api.KVGet, error) {
	got, _, err := r.get(ctx, key)
	return got, err
}

func (r *Replica) get(ctx context.Context, key []byte) (api.KVGet, mesh.Hybrid, error) {
	if err := checkKey(key); err != nil {
		return api.KVGet{}, 0, err
	}
	type found struct {
		api.KVGet
		at mesh.Hybrid
	}
	got := make(chan found, 1)
	err := r.do(ctx, func(now time.Time) {
		g := found{KVGet: api.KVGet{Freshness: r.freshness(now)}}
		if v, ok := r.state.Get(key); ok {
			e := entryOf(key, v)
			g.Entry, g.at = &e, v.Time
		}
		got <- g
	})
	if err != nil {
		return api.KVGet{}, 0, err
	}
	g := <-got
	return g.KVGet, g.at, nil
}

func entryOf(key []byte, v crdt.Value) api.KVEntry {
	return api.KVEntry{Key: bytes.Clone(key), Value: bytes.Clone(v.Bytes), Time: v.Time.Time(), Author: v.Dot.Author}
}

// KVList implements api.StateBackend. A page ends also before it becomes larger than 8 MiB.
func (r *Replica) KVList(ctx context.Context, req api.KVListRequest) (api.KVList, error) {
	if req.Limit < 0 {
		return api.KVList{}, api.Errorf(api.CodeBadRequest, "a limit of %d entries", req.Limit)
	}
	limit := min(req.Limit, maxPage)
	if limit == 0 {
		limit = defaultPage
	}
	got := make(chan api.KVList, 1)
	err := r.do(ctx, func(now time.Time) {
		l := api.KVList{Freshness: r.freshness(now), Revision: r.journal.revision(r.journal.shown())}
		size := 0
		r.state.List(req.Prefix, req.After, func(key []byte, v crdt.Value) bool {
			if req.Keys {
				v.Bytes = nil
			}
			if n := len(l.Entries); n == limit || n > 0 && size+len(v.Bytes) > maxPageBytes {
				l.After = l.Entries[n-1].Key
				return false
			}
			l.Entries = append(l.Entries, entryOf(key, v))
			size += len(key) + len(v.Bytes)
			return true
		})
		got <- l
	})
	if err != nil {
		return api.KVList{}, err
	}
	return <-got, nil
}

// freshness says how much this replica can know.
func (r *Replica) freshness(now time.Time) api.Freshness {
	a := r.sync.Agreement()
	f := api.Freshness{
		Consistency: api.ConsistencyEventual, Settled: r.state.Settled(), Neighbours: a.Neighbours, Agreeing: a.Agreeing,
		Held: r.state.Held(), Aside: r.state.Kept(), Uncovered: r.state.Uncovered(now),
	}
	if !a.Last.IsZero() {
		ago := api.Millis(max(now.Sub(a.Last), 0))
		f.Agreed = &ago
	}
	return f
}

// State implements api.StateBackend.
func (r *Replica) State(ctx context.Context) (api.StateInfo, error) {
	got := make(chan api.StateInfo, 1)
	err := r.do(ctx, func(now time.Time) {
		d := r.state.Digest()
		got <- api.StateInfo{
			Freshness: r.freshness(now), Entries: int(d.Count), Bytes: r.state.Bytes(),
			Digest: hex.EncodeToString(d.Digest[:]), Warnings: r.told.texts(now),
		}
	})
	if err != nil {
		return api.StateInfo{}, err
	}
	return <-got, nil
}

// Counters returns how often what happened since the replica was opened, by name: errors of crdt.State.Counters, and what this
// package counts. "chains" and "waiting" are how many there are now.
func (r *Replica) Counters(ctx context.Context) (map[string]uint64, error) {
	got := make(chan map[string]uint64, 1)
	err := r.do(ctx, func(time.Time) {
		c := r.state.Counters()
		for _, name := range [...]string{"sessions", "writes", "verified_batches", "unsigned", "garbage", "unsendable", "disk_failures", "checkpoints_refused"} {
			c[name] = r.told.counts[name]
		}
		c["unknown_messages"] = r.unknown.Load()
		c["chains"], c["waiting"] = uint64(len(r.chains.kept)), uint64(len(r.chains.waits))
		got <- c
	})
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	return <-got, nil
}
