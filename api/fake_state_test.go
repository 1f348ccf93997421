package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeState keeps registers in memory. Its functions, where they are set, say what a replica would do instead.
type fakeState struct {
	mu       sync.Mutex
	kv       map[string][]byte
	journal  []KVChange
	asked    any // the latest request
	err      error
	watch    func(ctx context.Context, req KVWatchRequest, emit func(KVChange) error) error
	log      func(ctx context.Context, req KVLogRequest, emit func(KVChange) error) error
	snapshot func(w io.Writer) (SnapshotInfo, error)
	restore  func(r io.Reader) (RestoreResult, error)
}

func fresh() Freshness {
	ago := Millis(1500 * time.Millisecond)
	return Freshness{Consistency: ConsistencyEventual, Settled: true, Neighbours: 2, Agreeing: 1, Agreed: &ago}
}

func (f *fakeState) KVGet(_ context.Context, key []byte) (KVGet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := KVGet{Freshness: fresh()}
	if v, ok := f.kv[string(key)]; ok {
		got.Entry = &KVEntry{Key: key, Value: v, Time: noon, Author: beta}
	}
	return got, f.err
}

func (f *fakeState) write(key, value []byte, deleted bool) (KVWritten, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return KVWritten{}, f.err
	}
	if f.kv == nil {
		f.kv = map[string][]byte{}
	}
	f.kv[string(key)] = value
	if deleted {
		delete(f.kv, string(key))
	}
	rev := Revision(fmt.Sprintf("j.%d", len(f.journal)+1))
	f.journal = append(f.journal, KVChange{Revision: rev, Key: key, Value: value, Deleted: deleted, Time: noon, Author: alpha, Taken: noon})
	return KVWritten{fresh(), noon, rev}, nil
}

func (f *fakeState) KVPut(_ context.Context, key, value []byte) (KVWritten, error) {
	return f.write(key, value, false)
}
func (f *fakeState) KVDelete(_ context.Context, key []byte) (KVWritten, error) {
	return f.write(key, nil, true)
}

func (f *fakeState) KVList(_ context.Context, req KVListRequest) (KVList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = req
	l := KVList{Freshness: fresh(), Revision: Revision(fmt.Sprintf("j.%d", len(f.journal)))}
	for _, k := range slices.Sorted(maps.Keys(f.kv)) {
		if !strings.HasPrefix(k, string(req.Prefix)) || len(req.After) > 0 && k <= string(req.After) {
			continue
		}
		if req.Limit > 0 && len(l.Entries) == req.Limit {
			l.After = l.Entries[len(l.Entries)-1].Key
			break
		}
		l.Entries = append(l.Entries, KVEntry{Key: Bytes(k), Value: f.kv[k], Time: noon, Author: alpha})
	}
	return l, f.err
}

func (f *fakeState) KVWatch(ctx context.Context, req KVWatchRequest, emit func(KVChange) error) error {
	f.mu.Lock()
	f.asked = req
	f.mu.Unlock()
	return f.watch(ctx, req, emit)
}

func (f *fakeState) KVLog(ctx context.Context, req KVLogRequest, emit func(KVChange) error) error {
	f.asked = req
	if f.log != nil {
		return f.log(ctx, req, emit)
	}
	for _, c := range f.journal {
		if bytes.HasPrefix(c.Key, req.Prefix) {
			if err := emit(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeState) Settle(context.Context) error {
	f.asked = "settle"
	return f.err
}

func (f *fakeState) State(context.Context) (StateInfo, error) {
	return StateInfo{Freshness: fresh(), Entries: len(f.kv), Bytes: 4711, Digest: "ab01"}, f.err
}

func (f *fakeState) Snapshot(_ context.Context, w io.Writer) (SnapshotInfo, error) {
	return f.snapshot(w)
}
func (f *fakeState) Restore(_ context.Context, r io.Reader) (RestoreResult, error) {
	return f.restore(r)
}
