// Package replica is the shared state of a running node: core/crdt, which decides, on host/store, which keeps.
package replica

import (
	"context"
	"errors"
	"io"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// How a session with a neighbour ends.
var (
	ErrReplaced = errors.New("another stream of the same neighbour took its place")
	ErrClosed   = errors.New("the shared state is closed")
)

// Replica is the shared state of this node. Its methods are safe for concurrent use.
type Replica struct{ cfg Config }

var _ api.StateBackend = (*Replica)(nil)

// Open opens the replica in a store's file, and makes one if there is none.
func Open(cfg Config) (*Replica, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Replica{cfg}, nil
}

// Meet exchanges state with a neighbour until the stream or ctx ends, and closes the stream. A second Meet with the same
// neighbour replaces the first, which returns ErrReplaced.
func (r *Replica) Meet(ctx context.Context, neighbour mesh.NodeID, s Stream) error {
	<-ctx.Done()
	return errors.Join(ctx.Err(), s.Close())
}

// Close ends all sessions and closes the file. Writes that were not acknowledged may be lost.
func (r *Replica) Close() error { return nil }

// Counters returns how often what happened, by name.
func (r *Replica) Counters() map[string]uint64 { return nil }

// Put sets any key, also one of the mesh's own.
func (r *Replica) Put(ctx context.Context, key, value []byte) (api.KVWritten, error) {
	return api.KVWritten{}, ErrClosed
}

// Delete removes any key, also one of the mesh's own.
func (r *Replica) Delete(ctx context.Context, key []byte) (api.KVWritten, error) {
	return api.KVWritten{}, ErrClosed
}

// Get returns the entry of a key, or nil.
func (r *Replica) Get(ctx context.Context, key []byte) (*api.KVEntry, error) { return nil, ErrClosed }

// Subscribe calls each with all that stands under a prefix, and then with every change, until ctx ends or each fails.
func (r *Replica) Subscribe(ctx context.Context, prefix []byte, each func(api.KVChange) error) error {
	return ErrClosed
}

func (r *Replica) KVGet(ctx context.Context, key []byte) (api.KVGet, error) {
	return api.KVGet{}, ErrClosed
}
func (r *Replica) KVPut(ctx context.Context, key, value []byte) (api.KVWritten, error) {
	return api.KVWritten{}, ErrClosed
}
func (r *Replica) KVDelete(ctx context.Context, key []byte) (api.KVWritten, error) {
	return api.KVWritten{}, ErrClosed
}
func (r *Replica) KVList(ctx context.Context, req api.KVListRequest) (api.KVList, error) {
	return api.KVList{}, ErrClosed
}
func (r *Replica) KVWatch(ctx context.Context, req api.KVWatchRequest, emit func(api.KVChange) error) error {
	return ErrClosed
}
func (r *Replica) KVLog(ctx context.Context, req api.KVLogRequest, emit func(api.KVChange) error) error {
	return ErrClosed
}
func (r *Replica) State(ctx context.Context) (api.StateInfo, error) {
	return api.StateInfo{}, ErrClosed
}
func (r *Replica) Snapshot(ctx context.Context, w io.Writer) (api.SnapshotInfo, error) {
	return api.SnapshotInfo{}, ErrClosed
}
func (r *Replica) Restore(ctx context.Context, rd io.Reader) (api.RestoreResult, error) {
	return api.RestoreResult{}, ErrClosed
}
