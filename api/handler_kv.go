package api

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// Limits of what a request for the shared state may ask and be answered with.
const (
	maxPage     = 10_000  // entries
	pageBytes   = 8 << 20 // of keys and values; one entry comes in any case
	maxLog      = 100_000 // changes
	maxRevision = 128     // bytes
)

// mediaBytes is the type of what is not JSON: raw values, snapshots.
const mediaBytes = "application/octet-stream"

// freshnessHeader holds, beside a raw value, the JSON of its Freshness.
const freshnessHeader = "X0t-Freshness"

// shared adds what reads and writes the shared state. It is not for monitoring, so NewPublicHandler has none of it.
func shared(mux *http.ServeMux, s StateBackend) {
	if s == nil {
		for _, path := range []string{"/v1/kv", "/v1/kv/", "/v1/state", "/v1/state/"} {
			mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
				writeError(w, Errorf(CodeUnavailable, "this daemon keeps no shared state").With("x0t status and the daemon's log say why"))
			})
		}
		return
	}
	mux.HandleFunc("GET /v1/kv", func(w http.ResponseWriter, r *http.Request) { serveGet(w, r, s) })
	mux.Handle("PUT /v1/kv", answer(func(r *http.Request) (any, error) {
		key, err := keyOf(r)
		if err != nil {
			return nil, err
		}
		value, err := readValue(r)
		if err != nil {
			return nil, err
		}
		return s.KVPut(r.Context(), key, value)
	}))
	mux.Handle("DELETE /v1/kv", answer(func(r *http.Request) (any, error) {
		key, err := keyOf(r)
		if err != nil {
			return nil, err
		}
		return s.KVDelete(r.Context(), key)
	}))
	mux.Handle("GET /v1/kv/list", answer(func(r *http.Request) (any, error) {
		req, err := listRequest(r)
		if err != nil {
			return nil, err
		}
		l, err := s.KVList(r.Context(), req)
		l.fit(req.Keys)
		return l, err
	}))
	mux.HandleFunc("GET /v1/kv/watch", func(w http.ResponseWriter, r *http.Request) { serveWatch(w, r, s) })
	mux.HandleFunc("GET /v1/kv/log", func(w http.ResponseWriter, r *http.Request) { serveLog(w, r, s) })
	sharedWhole(mux, s)
}

// CheckKey refuses what is no key.
func CheckKey(key []byte) error {
	switch {
	case len(key) == 0:
		return Errorf(CodeBadRequest, "the key is empty").With("a key has 1 to %d bytes", MaxKey)
	case len(key) > MaxKey:
		return Errorf(CodeBadRequest, "the key has %d bytes", len(key)).With("a key has 1 to %d bytes", MaxKey)
	}
	return nil
}

// checkPrefix refuses what no key can begin with.
func checkPrefix(name, prefix string) error {
	if len(prefix) > MaxKey {
		return Errorf(CodeBadRequest, "%s has %d bytes", name, len(prefix)).With("a key has at most %d", MaxKey)
	}
	return nil
}

func valueTooLarge() error {
	return Errorf(CodeTooLarge, "the value is longer than %d bytes (1 MiB)", MaxValue).With("keep it elsewhere and put where it is, or divide it among keys")
}

func keyOf(r *http.Request) ([]byte, error) {
	q, err := parseQuery(r, "key")
	if err != nil {
		return nil, err
	}
	key, ok := q["key"]
	if !ok {
		return nil, Errorf(CodeBadRequest, "parameter \"key\" is missing").With("add ?key=KEY, percent-encoded")
	}
	return []byte(key), CheckKey([]byte(key))
}

// readValue reads the whole body, which is the value.
func readValue(r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxValue {
		return nil, valueTooLarge()
	}
	v, err := io.ReadAll(io.LimitReader(r.Body, MaxValue+1))
	if err != nil {
		return nil, Errorf(CodeBadRequest, "request body: %v", err)
	}
	if len(v) > MaxValue {
		return nil, valueTooLarge()
	}
	return v, nil
}

// serveGet answers with JSON, or with the bare value where the caller accepts bytes.
func serveGet(w http.ResponseWriter, r *http.Request, s StateBackend) {
	key, err := keyOf(r)
	if err != nil {
		writeError(w, err)
		return
	}
	got, err := s.KVGet(r.Context(), key)
	switch {
	case err != nil:
		writeError(w, err)
	case got.Entry == nil:
		writeJSON(w, http.StatusNotFound, absent{NoValue(key), got.Freshness})
	case !acceptsBytes(r):
		got.Entry.told(true)
		writeJSON(w, http.StatusOK, got)
	default:
		fresh, err := json.Marshal(got.Freshness)
		if err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set(freshnessHeader, string(fresh))
		w.Header().Set("Content-Type", mediaBytes)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(got.Entry.Value) // a caller that went away needs no answer
	}
}

// absent is the answer to a read of a key without a value: how fresh that is matters as much as with one.
type absent struct {
	Error *Error `json:"error"`
	Freshness
}

// NoValue is the error that tells that a key has no value here.
func NoValue(key []byte) *Error {
	return Errorf(CodeNotFound, "no value at %q here", key)
}

func acceptsBytes(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for want := range strings.SplitSeq(line, ",") {
			if m, _, err := mime.ParseMediaType(want); err == nil && m == mediaBytes {
				return true
			}
		}
	}
	return false
}

func listRequest(r *http.Request) (KVListRequest, error) {
	q, err := parseQuery(r, "prefix", "after", "limit", "keys")
	if err != nil {
		return KVListRequest{}, err
	}
	req := KVListRequest{Prefix: []byte(q["prefix"]), After: []byte(q["after"])}
	if err := checkPrefix("prefix", q["prefix"]); err != nil {
		return req, err
	}
	if err := checkPrefix("after", q["after"]); err != nil {
		return req, err
	}
	if req.Limit, err = q.integer("limit", 0, 1, maxPage); err != nil {
		return req, err
	}
	req.Keys, err = q.flag("keys")
	return req, err
}

// told makes the value of an entry nil, or not nil, as it was asked for.
func (e *KVEntry) told(value bool) {
	switch {
	case !value:
		e.Value = nil
	case e.Value == nil:
		e.Value = Bytes{}
	}
}

// fit cuts a page that would be too much for one answer.
func (l *KVList) fit(keys bool) {
	bytes := 0
	for i := range l.Entries {
		e := &l.Entries[i]
		e.told(!keys)
		bytes += len(e.Key) + len(e.Value)
		if bytes > pageBytes && i > 0 {
			l.Entries = l.Entries[:i]
			l.After = l.Entries[i-1].Key
			return
		}
	}
}
