package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"x0tta6bl4/mesh"
)

// Backend is what the handlers ask; the daemon implements it. Every method must be safe for concurrent use and
// return when its context ends. An *Error that is returned, wrapped or not, keeps its code and remedy.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Peers(ctx context.Context) ([]Peer, error)
	Links(ctx context.Context) ([]Link, error)
	Paths(ctx context.Context, node mesh.NodeID) (Paths, error)
	Identity(ctx context.Context) (Identity, error)
	Counters(ctx context.Context) (Counters, error)
	// Ping calls emit once for each probe, in order, as soon as its fate is known, and stops when emit fails.
	Ping(ctx context.Context, req PingRequest, emit func(PingReply) error) error
	// Trace calls emit once for each hop, nearest first, and stops when emit fails.
	Trace(ctx context.Context, node mesh.NodeID, emit func(TraceHop) error) error
	CreateToken(ctx context.Context, req TokenRequest) (Token, error)
}

// Limits of what a request may ask.
const (
	maxBody         = 64 << 10
	defaultPings    = 4
	maxPings        = 1_000_000
	defaultInterval = time.Second
	minInterval     = 10 * time.Millisecond
	maxInterval     = time.Hour
)

// NewHandler returns the whole API, for the unix socket. Without state or config, what asks for them is answered with
// CodeUnavailable; a nil metrics serves none.
func NewHandler(b Backend, state StateBackend, config ConfigBackend, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", answer(func(r *http.Request) (any, error) {
		return noArgs(r, b.Status)
	}))
	mux.Handle("GET /v1/peers", answer(func(r *http.Request) (any, error) {
		l, err := noArgs(r, b.Peers)
		return List[Peer](l), err
	}))
	mux.Handle("GET /v1/links", answer(func(r *http.Request) (any, error) {
		l, err := noArgs(r, b.Links)
		return List[Link](l), err
	}))
	mux.Handle("GET /v1/identity", answer(func(r *http.Request) (any, error) {
		return noArgs(r, b.Identity)
	}))
	mux.Handle("GET /v1/paths", answer(func(r *http.Request) (any, error) {
		q, err := parseQuery(r, "node")
		if err != nil {
			return nil, err
		}
		node, err := q.node()
		if err != nil {
			return nil, err
		}
		return b.Paths(r.Context(), node)
	}))
	mux.Handle("POST /v1/token", answer(func(r *http.Request) (any, error) {
		var req TokenRequest
		if err := decodeBody(r, &req); err != nil {
			return nil, err
		}
		if err := req.check(); err != nil {
			return nil, err
		}
		return b.CreateToken(r.Context(), req)
	}))
	mux.HandleFunc("GET /v1/ping", func(w http.ResponseWriter, r *http.Request) { servePing(w, r, b) })
	mux.HandleFunc("GET /v1/trace", func(w http.ResponseWriter, r *http.Request) { serveTrace(w, r, b) })
	shared(mux, state)
	configuration(mux, config)
	public(mux, b, metrics)
	return mux
}

// NewPublicHandler returns the part of the API that monitoring needs: health, counters and metrics, which name
// neighbours and tell no address and no path. It answers only requests that name a loopback host, so that no web page can
// reach it by DNS rebinding.
func NewPublicHandler(b Backend, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	public(mux, b, metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			writeError(w, Errorf(CodeForbidden, "host %q is not a loopback name", r.Host).With("use localhost, 127.0.0.1 or [::1]"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func public(mux *http.ServeMux, b Backend, metrics http.Handler) {
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	// Whoever answers lives; no more is asked, so that a node which is only cut off is not restarted for that.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, struct {
			Live bool `json:"live"`
		}{true})
	})
	mux.Handle("GET /v1/counters", answer(func(r *http.Request) (any, error) {
		c, err := noArgs(r, b.Counters)
		if c == nil {
			c = Counters{}
		}
		return c, err
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		s, err := b.Status(r.Context())
		if err != nil {
			writeError(w, err)
			return
		}
		code := http.StatusOK
		if s.Health == HealthDown {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, struct {
			Health  Health       `json:"health"`
			Reasons List[string] `json:"reasons"`
		}{s.Health, s.Reasons})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, Errorf(CodeNotFound, "there is no %s %s", r.Method, r.URL.Path))
	})
}

// answer makes a handler of a function that returns one value or an error.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, v)
	})
}

func noArgs[T any](r *http.Request, f func(context.Context) (T, error)) (T, error) {
	if _, err := parseQuery(r); err != nil {
		var zero T
		return zero, err
	}
	return f(r.Context())
}

// check refuses what no backend could grant.
func (t TokenRequest) check() error {
	if t.Node.IsZero() {
		return Errorf(CodeBadRequest, "node is missing").With("name the node that is to join")
	}
	if t.TTL < 0 {
		return Errorf(CodeBadRequest, "ttl_ms is negative").With("leave it out for 10 minutes")
	}
	for _, a := range t.Addresses {
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() {
			return Errorf(CodeBadRequest, "address %q cannot be reached", a).With("use ADDRESS:PORT as other machines see it")
		}
	}
	return nil
}

// decodeBody reads one JSON value and nothing else, without fields that v lacks.
func decodeBody(r *http.Request, v any) error {
	if _, err := parseQuery(r); err != nil {
		return err
	}
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return Errorf(CodeBadRequest, "request body: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Errorf(CodeBadRequest, "request body goes on after the JSON value")
	}
	return nil
}

// query holds the parameters of a request, each known and given at most once.
type query map[string]string

func parseQuery(r *http.Request, known ...string) (query, error) {
	vals, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Errorf(CodeBadRequest, "query: %v", err)
	}
	q := query{}
	for _, k := range known {
		switch v := vals[k]; len(v) {
		case 0:
		case 1:
			q[k] = v[0]
		default:
			return nil, Errorf(CodeBadRequest, "parameter %q is given %d times", k, len(v))
		}
		delete(vals, k)
	}
	for k := range vals {
		return nil, Errorf(CodeBadRequest, "unknown parameter %q", k)
	}
	return q, nil
}

func (q query) node() (mesh.NodeID, error) {
	s, ok := q["node"]
	if !ok {
		return mesh.NodeID{}, Errorf(CodeBadRequest, "parameter \"node\" is missing").With("add ?node=NAME")
	}
	n, err := mesh.ParseNodeID(s)
	if err != nil {
		return n, Errorf(CodeBadRequest, "%v", err)
	}
	return n, nil
}

func (q query) integer(name string, def, least, most int) (int, error) {
	s, ok := q[name]
	if !ok {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, Errorf(CodeBadRequest, "parameter %q is %q", name, s).With("use a whole number from %d to %d", least, most)
	}
	return n, nil
}

func (q query) flag(name string) (bool, error) {
	s, ok := q[name]
	if !ok {
		return false, nil
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, Errorf(CodeBadRequest, "parameter %q is %q", name, s).With("use true or false")
	}
	return v, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be encoded"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a caller that went away needs no answer
}

func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	writeJSON(w, e.Status(), errorBody{e})
}

type errorBody struct {
	Error *Error `json:"error"`
}
