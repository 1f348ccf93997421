package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// openPatience is how long a watch waits for its first change, or for being refused, before it says that it began.
const openPatience = 200 * time.Millisecond

// snapshotTrailer follows a snapshot that is whole: the JSON of its SnapshotInfo.
const snapshotTrailer = "X0t-Snapshot"

func serveWatch(w http.ResponseWriter, r *http.Request, s StateBackend) {
	req, err := watchRequest(r)
	if err != nil {
		writeError(w, err)
		return
	}
	now, err := glance(r.Context(), s, req.Prefix)
	if err != nil {
		writeError(w, err)
		return
	}
	if req.From == "" && !req.Current {
		req.From = now.Revision // whoever was told that the watch stands misses nothing from then on
	}
	out := &changes{out: lines{w: w}, head: now.Freshness}
	begin := time.AfterFunc(openPatience, func() { _ = out.open() }) // if the caller went away, the next change tells
	defer begin.Stop()
	out.close(s.KVWatch(r.Context(), req, out.emit))
}

// glance tells how fresh the state is, and its revision.
func glance(ctx context.Context, s StateBackend, prefix []byte) (KVList, error) {
	return s.KVList(ctx, KVListRequest{Prefix: prefix, Limit: 1, Keys: true})
}

func watchRequest(r *http.Request) (KVWatchRequest, error) {
	q, err := parseQuery(r, "prefix", "from", "current")
	if err != nil {
		return KVWatchRequest{}, err
	}
	req := KVWatchRequest{Prefix: []byte(q["prefix"]), From: Revision(q["from"])}
	if err := checkPrefix("prefix", q["prefix"]); err != nil {
		return req, err
	}
	if len(req.From) > maxRevision {
		return req, Errorf(CodeBadRequest, "from is no revision: it has %d bytes", len(req.From)).With("use one that this daemon told")
	}
	req.Current, err = q.flag("current")
	return req, err
}

func serveLog(w http.ResponseWriter, r *http.Request, s StateBackend) {
	q, err := parseQuery(r, "prefix", "limit")
	if err != nil {
		writeError(w, err)
		return
	}
	limit, err := q.integer("limit", 0, 1, maxLog)
	if err == nil {
		err = checkPrefix("prefix", q["prefix"])
	}
	if err != nil {
		writeError(w, err)
		return
	}
	prefix := []byte(q["prefix"])
	now, err := glance(r.Context(), s, prefix)
	if err != nil {
		writeError(w, err)
		return
	}
	out := &changes{out: lines{w: w}, head: now.Freshness}
	err = s.KVLog(r.Context(), KVLogRequest{Prefix: prefix, Limit: limit}, out.emit)
	if err == nil {
		err = out.open()
	}
	out.close(err)
}

// changes is a stream of changes. Its first line says how fresh they are.
type changes struct {
	head Freshness

	mu   sync.Mutex // guards what follows: a watch without changes is opened by a timer
	out  lines
	over bool // the handler is about to return
}

// changesHead is the first line.
type changesHead struct {
	Freshness Freshness `json:"freshness"`
}

// open writes the first line, unless it stands.
func (c *changes) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begin()
}

func (c *changes) begin() error {
	if c.out.begun || c.over {
		return nil
	}
	return c.out.emit(changesHead{c.head})
}

func (c *changes) emit(change KVChange) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return err
	}
	return c.out.emit(change)
}

func (c *changes) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.out.close(err)
}

// sharedWhole adds what concerns the shared state as a whole.
func sharedWhole(mux *http.ServeMux, s StateBackend) {
	mux.Handle("GET /v1/state", answer(func(r *http.Request) (any, error) { return noArgs(r, s.State) }))
	mux.Handle("POST /v1/state/settle", answer(func(r *http.Request) (any, error) {
		return noArgs(r, func(ctx context.Context) (StateInfo, error) {
			if err := s.Settle(ctx); err != nil {
				return StateInfo{}, err
			}
			return s.State(ctx)
		})
	}))
	mux.HandleFunc("GET /v1/state/snapshot", func(w http.ResponseWriter, r *http.Request) { serveSnapshot(w, r, s) })
	mux.Handle("POST /v1/state/restore", answer(func(r *http.Request) (any, error) {
		if _, err := parseQuery(r); err != nil {
			return nil, err
		}
		return s.Restore(r.Context(), r.Body)
	}))
}

// serveSnapshot ends a snapshot that fails half-way by tearing the connection: no client can take what it has for whole.
func serveSnapshot(w http.ResponseWriter, r *http.Request, s StateBackend) {
	if _, err := parseQuery(r); err != nil {
		writeError(w, err)
		return
	}
	out := &lateHeader{w: w}
	info, err := s.Snapshot(r.Context(), out)
	var head []byte
	if err == nil {
		head, err = json.Marshal(info)
	}
	switch {
	case err == nil:
		out.begin()
		w.Header().Set(snapshotTrailer, string(head))
	case !out.begun:
		writeError(w, err)
	default:
		panic(http.ErrAbortHandler)
	}
}

// lateHeader sends the status with the first byte, so that a failure before it is an ordinary error.
type lateHeader struct {
	w     http.ResponseWriter
	begun bool
}

func (l *lateHeader) Write(b []byte) (int, error) {
	l.begin()
	return l.w.Write(b)
}

func (l *lateHeader) begin() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", mediaBytes)
	l.w.Header().Set("X-Content-Type-Options", "nosniff")
	l.w.Header().Set("Trailer", snapshotTrailer)
	l.w.WriteHeader(http.StatusOK)
}
