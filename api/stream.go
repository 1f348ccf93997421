package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// tally makes the summary of a ping from its replies.
type tally struct {
	PingSummary
	sum time.Duration
}

func (t *tally) add(r PingReply) {
	t.Sent++
	if r.Lost {
		return
	}
	if t.Received == 0 || r.RTT < t.Min {
		t.Min = r.RTT
	}
	t.Received++
	t.Max = max(t.Max, r.RTT)
	t.sum += r.RTT.Duration()
}

func (t *tally) summary() PingSummary {
	s := t.PingSummary
	if s.Sent > 0 {
		s.Loss = float64(s.Sent-s.Received) / float64(s.Sent)
	}
	if s.Received > 0 {
		s.Avg = Millis(t.sum / time.Duration(s.Received))
	}
	return s
}

func servePing(w http.ResponseWriter, r *http.Request, b Backend) {
	req, err := pingRequest(r)
	if err != nil {
		writeError(w, err)
		return
	}
	t := tally{PingSummary: PingSummary{Node: req.Node}}
	out := &lines{w: w}
	err = b.Ping(r.Context(), req, func(p PingReply) error {
		t.add(p)
		return out.emit(p)
	})
	if err == nil {
		err = out.emit(struct {
			Summary PingSummary `json:"summary"`
		}{t.summary()})
	}
	out.close(err)
}

func pingRequest(r *http.Request) (PingRequest, error) {
	q, err := parseQuery(r, "node", "count", "interval_ms")
	if err != nil {
		return PingRequest{}, err
	}
	node, err := q.node()
	if err != nil {
		return PingRequest{}, err
	}
	count, err := q.integer("count", defaultPings, 0, maxPings)
	if err != nil {
		return PingRequest{}, err
	}
	ms, err := q.integer("interval_ms", int(defaultInterval.Milliseconds()), int(minInterval.Milliseconds()), int(maxInterval.Milliseconds()))
	return PingRequest{Node: node, Count: count, Interval: time.Duration(ms) * time.Millisecond}, err
}

func serveTrace(w http.ResponseWriter, r *http.Request, b Backend) {
	q, err := parseQuery(r, "node")
	if err != nil {
		writeError(w, err)
		return
	}
	node, err := q.node()
	if err != nil {
		writeError(w, err)
		return
	}
	out := &lines{w: w}
	out.close(b.Trace(r.Context(), node, func(h TraceHop) error { return out.emit(h) }))
}

// lines writes NDJSON and pushes every line out at once. The status goes with the first line, so that a failure
// before it is still an ordinary error.
type lines struct {
	w     http.ResponseWriter
	begun bool
}

func (l *lines) emit(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.begin()
	if _, err := l.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

func (l *lines) begin() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", "application/x-ndjson")
	l.w.Header().Set("X-Content-Type-Options", "nosniff")
	l.w.WriteHeader(http.StatusOK)
}

func (l *lines) close(err error) {
	switch {
	case err == nil:
		l.begin()
	case !l.begun:
		writeError(l.w, err)
	default:
		_ = l.emit(failureLine{asError(err)}) // who does not listen any more misses nothing
	}
}

type failureLine struct {
	Failure *Error `json:"failure"`
}
