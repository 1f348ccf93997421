package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
)

// KVGet reads one key. Without Entry it has no value.
func (c *Client) KVGet(ctx context.Context, key []byte) (KVGet, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/v1/kv?"+keyQuery(key), nil)
	if err != nil {
		return KVGet{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		var v KVGet
		err := c.decode(resp, &v)
		return v, err
	case http.StatusNotFound: // no value, or a daemon that has no such endpoint
		var v absent
		if err := c.decode(resp, &v); err != nil {
			return KVGet{}, err
		}
		if v.Consistency == "" && v.Error != nil {
			return KVGet{}, v.Error
		}
		return KVGet{Freshness: v.Freshness}, nil
	}
	return KVGet{}, c.told(resp)
}

// KVPut writes a value; it is on the node's disk when this returns.
func (c *Client) KVPut(ctx context.Context, key, value []byte) (KVWritten, error) {
	var v KVWritten
	if len(value) > MaxValue {
		return v, valueTooLarge()
	}
	err := c.call(ctx, http.MethodPut, "/v1/kv?"+keyQuery(key), value, &v)
	return v, err
}

// KVDelete takes a value away.
func (c *Client) KVDelete(ctx context.Context, key []byte) (KVWritten, error) {
	var v KVWritten
	err := c.call(ctx, http.MethodDelete, "/v1/kv?"+keyQuery(key), nil, &v)
	return v, err
}

// KVList returns one page.
func (c *Client) KVList(ctx context.Context, req KVListRequest) (KVList, error) {
	q := url.Values{"prefix": {string(req.Prefix)}, "after": {string(req.After)}}
	if req.Limit > 0 {
		q.Set("limit", strconv.Itoa(req.Limit))
	}
	if req.Keys {
		q.Set("keys", "true")
	}
	return get[KVList](ctx, c, "/v1/kv/list?"+q.Encode())
}

// KVWatch calls opened once the watch stands, with how fresh this node is then, and each for every change, until ctx ends
// or each fails. A nil opened is not called.
func (c *Client) KVWatch(ctx context.Context, req KVWatchRequest, opened func(Freshness), each func(KVChange) error) error {
	q := url.Values{"prefix": {string(req.Prefix)}}
	if req.From != "" {
		q.Set("from", string(req.From))
	}
	if req.Current {
		q.Set("current", "true")
	}
	return c.changes(ctx, "/v1/kv/watch?"+q.Encode(), opened, each)
}

// KVLog calls opened with how fresh this node is, and then each for the newest changes, the oldest of them first.
func (c *Client) KVLog(ctx context.Context, req KVLogRequest, opened func(Freshness), each func(KVChange) error) error {
	q := url.Values{"prefix": {string(req.Prefix)}}
	if req.Limit > 0 {
		q.Set("limit", strconv.Itoa(req.Limit))
	}
	return c.changes(ctx, "/v1/kv/log?"+q.Encode(), opened, each)
}

func (c *Client) changes(ctx context.Context, path string, opened func(Freshness), each func(KVChange) error) error {
	return c.stream(ctx, path, func(line []byte) error {
		var l struct {
			KVChange
			Head *Freshness `json:"freshness"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("answer of the daemon on %s is not understood: %w", c.socket, err)
		}
		if l.Head == nil {
			return each(l.KVChange)
		}
		if opened != nil {
			opened(*l.Head)
		}
		return nil
	})
}

// State tells how the replica is.
func (c *Client) State(ctx context.Context) (StateInfo, error) {
	return get[StateInfo](ctx, c, "/v1/state")
}

// StateSettle has the node write though it has met no settled one, and returns how its replica is then.
func (c *Client) StateSettle(ctx context.Context) (StateInfo, error) {
	var s StateInfo
	err := c.call(ctx, http.MethodPost, "/v1/state/settle", nil, &s)
	return s, err
}

// StateSnapshot writes a snapshot of all entries to w. If it fails, what was written is no snapshot.
func (c *Client) StateSnapshot(ctx context.Context, w io.Writer) (SnapshotInfo, error) {
	var info SnapshotInfo
	resp, err := c.do(ctx, http.MethodGet, "/v1/state/snapshot", nil)
	if err != nil {
		return info, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return info, fmt.Errorf("snapshot from the daemon on %s: %w", c.socket, err)
	}
	if err := json.Unmarshal([]byte(resp.Trailer.Get(snapshotTrailer)), &info); err != nil {
		return info, fmt.Errorf("snapshot from the daemon on %s ended without saying that it is whole: %w", c.socket, err)
	}
	return info, nil
}

// StateRestore sends a snapshot, which the daemon verifies and merges. It reads r as fast as the daemon does.
func (c *Client) StateRestore(ctx context.Context, r io.Reader) (RestoreResult, error) {
	var res RestoreResult
	src := &source{r: r}
	resp, err := c.do(ctx, http.MethodPost, "/v1/state/restore", src)
	if failed := src.failed.Load(); failed != nil {
		err = fmt.Errorf("read the snapshot: %w", *failed)
	}
	if err != nil {
		return res, err
	}
	defer resp.Body.Close()
	err = c.decode(resp, &res)
	return res, err
}

// source remembers why reading failed, which is not the daemon's fault.
type source struct {
	r      io.Reader
	failed atomic.Pointer[error]
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed.Store(&err)
	}
	return n, err
}

func keyQuery(key []byte) string { return url.Values{"key": {string(key)}}.Encode() }
