package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"x0tta6bl4/mesh"
)

// ErrNoDaemon says that nobody answers on the socket.
var ErrNoDaemon = errors.New("no x0t daemon answers")

// Limits of what a client accepts and how long it waits for an answer that is not a stream.
const (
	maxAnswer   = 64 << 20
	maxLine     = 8 << 20 // a change with the largest value, each byte of which JSON may write as six
	callTimeout = 15 * time.Second
)

// Client asks the daemon behind one unix socket. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon that listens on socket. Nothing is opened until a call needs it.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{Transport: &http.Transport{DialContext: dial, Proxy: nil, MaxIdleConns: 1}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks how the node is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Peers lists the other members.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) { return get[[]Peer](ctx, c, "/v1/peers") }

// Links lists the node's links.
func (c *Client) Links(ctx context.Context) ([]Link, error) { return get[[]Link](ctx, c, "/v1/links") }

// Paths tells the ways to a node.
func (c *Client) Paths(ctx context.Context, node mesh.NodeID) (Paths, error) {
	return get[Paths](ctx, c, "/v1/paths?"+url.Values{"node": {node.String()}}.Encode())
}

// Identity tells who the node is and whom it trusts.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	return get[Identity](ctx, c, "/v1/identity")
}

// Counters returns everything that the node counts.
func (c *Client) Counters(ctx context.Context) (Counters, error) {
	return get[Counters](ctx, c, "/v1/counters")
}

// CreateToken makes a join token.
func (c *Client) CreateToken(ctx context.Context, req TokenRequest) (Token, error) {
	var t Token
	body, err := json.Marshal(req)
	if err != nil {
		return t, err
	}
	err = c.call(ctx, http.MethodPost, "/v1/token", body, &t)
	return t, err
}

// Ping probes a node and calls each for every reply, then returns the summary. An error of each ends the ping.
func (c *Client) Ping(ctx context.Context, req PingRequest, each func(PingReply) error) (PingSummary, error) {
	q := url.Values{"node": {req.Node.String()}, "count": {strconv.Itoa(req.Count)}}
	if req.Interval > 0 {
		q.Set("interval_ms", strconv.FormatInt(req.Interval.Milliseconds(), 10))
	}
	t := tally{PingSummary: PingSummary{Node: req.Node}}
	var sum *PingSummary
	err := c.stream(ctx, "/v1/ping?"+q.Encode(), func(line []byte) error {
		var l struct {
			PingReply
			Summary *PingSummary `json:"summary"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if l.Summary != nil {
			sum = l.Summary
			return nil
		}
		t.add(l.PingReply)
		return each(l.PingReply)
	})
	if sum != nil {
		return *sum, err
	}
	if err == nil {
		err = fmt.Errorf("daemon on %s ended the ping without a summary", c.socket)
	}
	return t.summary(), err // an interrupted ping still says what it saw
}

// Trace probes every hop to a node and calls each for it. An error of each ends the trace.
func (c *Client) Trace(ctx context.Context, node mesh.NodeID, each func(TraceHop) error) error {
	return c.stream(ctx, "/v1/trace?"+url.Values{"node": {node.String()}}.Encode(), func(line []byte) error {
		var h TraceHop
		if err := json.Unmarshal(line, &h); err != nil {
			return err
		}
		return each(h)
	})
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var v T
	err := c.call(ctx, http.MethodGet, path, nil, &v)
	return v, err
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, v any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.decode(resp, v)
}

// decode reads the one JSON value of an answer.
func (c *Client) decode(resp *http.Response, v any) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("answer of the daemon on %s: %w", c.socket, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("answer of the daemon on %s is longer than %d bytes", c.socket, maxAnswer)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("answer of the daemon on %s is not understood: %w", c.socket, err)
	}
	return nil
}

// stream calls each for every line of an NDJSON answer, without lines that only report a failure.
func (c *Client) stream(ctx context.Context, path string, each func(line []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		var f failureLine
		if json.Unmarshal(sc.Bytes(), &f) == nil && f.Failure != nil {
			return f.Failure
		}
		if err := each(sc.Bytes()); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("answer of the daemon on %s broke off: %w", c.socket, err)
	}
	return nil
}

// do returns an answer of status 200, or the error that the daemon told.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.told(resp)
}

// send returns an answer of any status.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://x0t"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	return resp, nil
}

// told returns the error that an answer tells.
func (c *Client) told(resp *http.Response) error {
	var e errorBody
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err == nil && json.Unmarshal(b, &e) == nil && e.Error != nil {
		return e.Error
	}
	return fmt.Errorf("daemon on %s answered %s", c.socket, resp.Status)
}

func (c *Client) explain(err error) error {
	switch {
	case isGone(err):
		return fmt.Errorf("%w on %s; start it with: x0t up", ErrNoDaemon, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to open %s; run as the user that the daemon runs as, usually root: %w", c.socket, fs.ErrPermission)
	}
	return fmt.Errorf("daemon on %s: %w", c.socket, err)
}

// isGone reports whether a dial failed because nobody listens.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}
