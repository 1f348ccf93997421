package daemon

import (
	"context"
	"io"
	"time"

	"x0tta6bl4/api"
)

var _ api.StateBackend = (*shared)(nil)

// KVGet implements api.StateBackend.
func (s *shared) KVGet(ctx context.Context, key []byte) (api.KVGet, error) {
	r, err := s.use()
	if err != nil {
		return api.KVGet{}, err
	}
	return r.KVGet(ctx, key)
}

// KVPut implements api.StateBackend.
func (s *shared) KVPut(ctx context.Context, key, value []byte) (api.KVWritten, error) {
	r, err := s.use()
	if err != nil {
		return api.KVWritten{}, err
	}
	return s.timed(func() (api.KVWritten, error) { return r.KVPut(ctx, key, value) })
}

// KVDelete implements api.StateBackend.
func (s *shared) KVDelete(ctx context.Context, key []byte) (api.KVWritten, error) {
	r, err := s.use()
	if err != nil {
		return api.KVWritten{}, err
	}
	return s.timed(func() (api.KVWritten, error) { return r.KVDelete(ctx, key) })
}

// timed counts a write that is acknowledged.
func (s *shared) timed(write func() (api.KVWritten, error)) (api.KVWritten, error) {
	began := time.Now()
	w, err := write()
	if err == nil {
		s.written.Add(1)
		s.took.Add(int64(time.Since(began)))
	}
	return w, err
}

// KVList implements api.StateBackend.
func (s *shared) KVList(ctx context.Context, req api.KVListRequest) (api.KVList, error) {
	r, err := s.use()
	if err != nil {
		return api.KVList{}, err
	}
	return r.KVList(ctx, req)
}

// KVWatch implements api.StateBackend.
func (s *shared) KVWatch(ctx context.Context, req api.KVWatchRequest, emit func(api.KVChange) error) error {
	r, err := s.use()
	if err != nil {
		return err
	}
	return r.KVWatch(ctx, req, emit)
}

// KVLog implements api.StateBackend.
func (s *shared) KVLog(ctx context.Context, req api.KVLogRequest, emit func(api.KVChange) error) error {
	r, err := s.use()
	if err != nil {
		return err
	}
	return r.KVLog(ctx, req, emit)
}

// State implements api.StateBackend.
func (s *shared) State(ctx context.Context) (api.StateInfo, error) {
	r, err := s.use()
	if err != nil {
		return api.StateInfo{}, err
	}
	return r.State(ctx)
}

// Snapshot implements api.StateBackend.
func (s *shared) Snapshot(ctx context.Context, w io.Writer) (api.SnapshotInfo, error) {
	r, err := s.use()
	if err != nil {
		return api.SnapshotInfo{}, err
	}
	return r.Snapshot(ctx, w)
}

// Settle implements api.StateBackend.
func (s *shared) Settle(ctx context.Context) error {
	r, err := s.use()
	if err != nil {
		return err
	}
	return r.Settle(ctx)
}

// Restore implements api.StateBackend.
func (s *shared) Restore(ctx context.Context, in io.Reader) (api.RestoreResult, error) {
	r, err := s.use()
	if err != nil {
		return api.RestoreResult{}, err
	}
	return r.Restore(ctx, in)
}
