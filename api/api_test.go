package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

func TestCallsOverTheSocket(t *testing.T) {
	var asked TokenRequest
	b := &fake{status: wholeStatus(), token: func(r TokenRequest) (Token, error) {
		asked = r
		return Token{Node: r.Node, Token: "x0t1-abc", Join: "x0t join x0t1-abc", Expires: noon}, nil
	}}
	c, _ := serve(t, b)
	ctx := t.Context()

	s, err := c.Status(ctx)
	want := wholeStatus()
	want.Overridden, want.Protect, want.OnePath = List[string]{}, List[string]{}, List[mesh.NodeID]{}
	want.Reasons, want.SeenBy, want.Refused, want.Warnings = List[string]{}, List[Observer]{}, List[Refusal]{}, List[string]{}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("Status = %+v, %v; want %+v", s, err, want)
	}
	ps, err := c.Peers(ctx)
	if err != nil || len(ps) != 1 || ps[0].Node != beta || ps[0].RTT.Duration() != 1500*time.Microsecond {
		t.Errorf("Peers = %+v, %v", ps, err)
	}
	if ls, err := c.Links(ctx); err != nil || ls == nil || len(ls) != 0 {
		t.Errorf("Links = %#v, %v; want an empty list", ls, err)
	}
	p, err := c.Paths(ctx, beta)
	if err != nil || len(p.Paths) != 1 || p.Paths[0].Labels[0] != 7 || p.Paths[0].State != PathActive {
		t.Errorf("Paths = %+v, %v", p, err)
	}
	if id, err := c.Identity(ctx); err != nil || id.Node != alpha || id.Log.Seq != 2 {
		t.Errorf("Identity = %+v, %v", id, err)
	}
	if n, err := c.Counters(ctx); err != nil || n["frames_in"] != 1<<60 {
		t.Errorf("Counters = %v, %v", n, err)
	}
	req := TokenRequest{Node: gamma, TTL: Millis(time.Minute), Replace: true, Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7420")}}
	tok, err := c.CreateToken(ctx, req)
	if err != nil || tok.Join != "x0t join x0t1-abc" || !reflect.DeepEqual(asked, req) {
		t.Errorf("CreateToken = %+v, %v; the backend was asked %+v", tok, err, asked)
	}
}

func TestErrorsKeepCodeAndRemedy(t *testing.T) {
	c, _ := serve(t, &fake{})
	_, err := c.Paths(t.Context(), gamma)
	if !errors.Is(err, &Error{Code: CodeUnknownNode}) || err.Error() != "no member is called gamma; see x0t peers" {
		t.Errorf("Paths of an unknown node: %v", err)
	}
	for _, tc := range []struct {
		err    error
		code   Code
		status int
	}{
		{errors.New("disk on fire"), CodeInternal, 500},
		{context.DeadlineExceeded, CodeTimeout, 504},
		{context.Canceled, CodeUnavailable, 503},
		{Errorf(CodeNotAuthority, "no keys here"), CodeNotAuthority, 409},
		{Errorf("of-tomorrow", "?"), "of-tomorrow", 500},
	} {
		c, path := serve(t, &fake{err: tc.err})
		_, err := c.Status(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Code != tc.code {
			t.Errorf("backend's %v arrives as %v, want code %s", tc.err, err, tc.code)
		}
		if resp := raw(t, path, "GET", "/v1/status", ""); resp.StatusCode != tc.status {
			t.Errorf("backend's %v has HTTP status %d, want %d", tc.err, resp.StatusCode, tc.status)
		}
	}
}

// raw sends a request of the test's own making.
func raw(t *testing.T, socket, method, path, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := NewClient(socket).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestBadRequests(t *testing.T) {
	b := &fake{token: func(r TokenRequest) (Token, error) { return Token{Node: r.Node}, nil }}
	_, socket := serve(t, b)
	good := `{"node":"beta","ttl_ms":1000,"replace":false,"addresses":["192.0.2.1:7420"]}`
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"control: a good token request", "POST", "/v1/token", good, 200, `"node":"beta"`},
		{"control: good paths", "GET", "/v1/paths?node=beta", "", 200, `"active"`},
		{"no such endpoint", "GET", "/v2/status", "", 404, "not_found"},
		{"wrong method", "DELETE", "/v1/status", "", 404, "not_found"},
		{"node missing", "GET", "/v1/paths", "", 400, "add ?node=NAME"},
		{"node twice", "GET", "/v1/paths?node=a&node=b", "", 400, "2 times"},
		{"node no name", "GET", "/v1/paths?node=../x", "", 400, "lower-case"},
		{"unknown parameter", "GET", "/v1/paths?node=beta&fast=1", "", 400, `unknown parameter`},
		{"parameter where none belongs", "GET", "/v1/status?x=1", "", 400, `unknown parameter`},
		{"broken escape", "GET", "/v1/paths?node=%zz", "", 400, "query"},
		{"count not a number", "GET", "/v1/ping?node=beta&count=many", "", 400, "whole number"},
		{"count negative", "GET", "/v1/ping?node=beta&count=-1", "", 400, "whole number"},
		{"interval too short", "GET", "/v1/ping?node=beta&interval_ms=1", "", 400, "from 10"},
		{"ping without node", "GET", "/v1/ping", "", 400, "node"},
		{"trace without node", "GET", "/v1/trace", "", 400, "node"},
		{"trace with count", "GET", "/v1/trace?node=beta&count=1", "", 400, "unknown parameter"},
		{"body unknown field", "POST", "/v1/token", `{"node":"beta","nod":1}`, 400, "nod"},
		{"body no JSON", "POST", "/v1/token", `node=beta`, 400, "request body"},
		{"body cut off", "POST", "/v1/token", good[:20], 400, "request body"},
		{"body too long", "POST", "/v1/token", `{"node":"` + strings.Repeat("a", maxBody) + `"}`, 400, "too large"},
		{"body goes on", "POST", "/v1/token", good + "{}", 400, "goes on"},
		{"body with query", "POST", "/v1/token?node=x", good, 400, "unknown parameter"},
		{"no node", "POST", "/v1/token", `{}`, 400, "node is missing"},
		{"no node name", "POST", "/v1/token", `{"node":"BETA"}`, 400, "lower-case"},
		{"negative ttl", "POST", "/v1/token", `{"node":"beta","ttl_ms":-1}`, 400, "negative"},
		{"ttl beyond a duration", "POST", "/v1/token", `{"node":"beta","ttl_ms":1e300}`, 400, "beyond"},
		{"ttl text", "POST", "/v1/token", `{"node":"beta","ttl_ms":"1s"}`, 400, "milliseconds"},
		{"address nobody can reach", "POST", "/v1/token", `{"node":"beta","addresses":["0.0.0.0:7420"]}`, 400, "cannot be reached"},
		{"address without port", "POST", "/v1/token", `{"node":"beta","addresses":["192.0.2.1"]}`, 400, "request body"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := raw(t, socket, tc.method, tc.path, tc.body)
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.says) {
				t.Errorf("%d %s, want %d and %q", resp.StatusCode, b, tc.status, tc.says)
			}
			if tc.status != 200 && !json.Valid(b) {
				t.Errorf("error is not JSON: %s", b)
			}
		})
	}
}

func TestPing(t *testing.T) {
	fates := []PingReply{
		{Seq: 1, RTT: Millis(2 * time.Millisecond), Path: []mesh.NodeID{alpha, beta}},
		{Seq: 2, Lost: true, Error: "no answer in 1s"},
		{Seq: 3, RTT: Millis(4 * time.Millisecond)},
	}
	var asked PingRequest
	b := &fake{ping: func(_ context.Context, req PingRequest, emit func(PingReply) error) error {
		asked = req
		for _, r := range fates {
			if err := emit(r); err != nil {
				return err
			}
		}
		return nil
	}}
	c, _ := serve(t, b)
	var got []PingReply
	sum, err := c.Ping(t.Context(), PingRequest{Node: beta, Count: 3, Interval: 20 * time.Millisecond}, func(r PingReply) error {
		got = append(got, r)
		return nil
	})
	want := PingSummary{Node: beta, Sent: 3, Received: 2, Loss: 1.0 / 3, Min: Millis(2 * time.Millisecond), Avg: Millis(3 * time.Millisecond), Max: Millis(4 * time.Millisecond)}
	if err != nil || sum != want {
		t.Errorf("summary %+v, %v; want %+v", sum, err, want)
	}
	if len(got) != 3 || got[0].Path[1] != beta || !got[1].Lost || got[1].Error == "" {
		t.Errorf("replies %+v", got)
	}
	if asked != (PingRequest{Node: beta, Count: 3, Interval: 20 * time.Millisecond}) {
		t.Errorf("the backend was asked %+v", asked)
	}
	stop := errors.New("enough")
	sum, err = c.Ping(t.Context(), PingRequest{Node: beta}, func(PingReply) error { return stop })
	if !errors.Is(err, stop) || sum.Sent != 1 || asked.Count != 0 || asked.Interval != defaultInterval {
		t.Errorf("stopped ping: %+v, %v; asked %+v", sum, err, asked)
	}
}

// Replies must arrive while the ping runs, and an interrupted ping must reach the backend and keep what it saw.
func TestPingStreamsAndStops(t *testing.T) {
	ended := make(chan error, 1)
	b := &fake{ping: func(ctx context.Context, _ PingRequest, emit func(PingReply) error) error {
		_ = emit(PingReply{Seq: 1, RTT: Millis(time.Millisecond)})
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	c, _ := serve(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	sum, err := c.Ping(ctx, PingRequest{Node: beta}, func(PingReply) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || sum.Received != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the backend's context ended by %v", err)
	}
}

func TestStreamFailures(t *testing.T) {
	lost := Errorf(CodeUnreachable, "no way to beta").With("see x0t links")
	for name, hops := range map[string][]TraceHop{"before the first line": nil, "after it": {{Hop: 1, Node: gamma, Quality: mesh.Good, RTT: Millis(time.Millisecond)}}} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, &fake{trace: func(_ context.Context, _ mesh.NodeID, emit func(TraceHop) error) error {
				for _, h := range hops {
					_ = emit(h)
				}
				return lost
			}})
			n := 0
			err := c.Trace(t.Context(), beta, func(h TraceHop) error {
				n++
				if h.Node != gamma || h.Quality != mesh.Good {
					t.Errorf("hop %+v", h)
				}
				return nil
			})
			if !errors.Is(err, &Error{Code: CodeUnreachable}) || !strings.Contains(err.Error(), "see x0t links") || n != len(hops) {
				t.Errorf("%d hops, %v", n, err)
			}
		})
	}
}

func TestClientRefusesNonsense(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfoo",
		"no HTTP":      "SSH-2.0-x\r\n\r\n",
		"broken off":   "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{\"node\":",
		"foreign 500":  "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nhi",
		"empty answer": "",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					buf := make([]byte, 4096)
					_, _ = conn.Read(buf)
					_, _ = conn.Write([]byte(answer))
					_ = conn.Close()
				}
			}()
			if _, err := NewClient(path).Status(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name the socket", err)
			}
			if _, err := NewClient(path).Ping(t.Context(), PingRequest{Node: beta}, func(PingReply) error { return nil }); err == nil {
				t.Error("ping of nonsense succeeded")
			}
		})
	}
}

func TestNoDaemon(t *testing.T) {
	dir := socketDir(t)
	missing := filepath.Join(dir, "missing")
	if _, err := NewClient(missing).Status(t.Context()); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), "x0t up") {
		t.Errorf("no socket: %v", err)
	}
	stale := staleSocket(t, dir)
	if _, err := NewClient(stale).Peers(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("stale socket: %v", err)
	}
}

// staleSocket leaves a socket on which nobody listens, as a killed daemon does.
func staleSocket(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	return path
}

func TestSocketIsPrivateAndTakenOverOnlyWhenDead(t *testing.T) {
	_, path := serve(t, &fake{status: wholeStatus()})
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket %v, %v; want mode 0600", st.Mode(), err)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("directory %v, %v", st.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("things left beside the socket: %v", left)
	}
	if _, err := Listen(ServerOptions{Socket: path}); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("second daemon: %v", err)
	}
	stale := staleSocket(t, filepath.Dir(path))
	s, err := Listen(ServerOptions{Socket: stale})
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(ServerOptions{Socket: file}); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone")
	}
	if _, err := Listen(ServerOptions{Socket: filepath.Join(filepath.Dir(path), strings.Repeat("x", 120))}); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("long path: %v", err)
	}
	if _, err := Listen(ServerOptions{Socket: filepath.Join(file, "x.sock")}); err == nil {
		t.Error("a socket below a file")
	}
}

// A daemon that lost its socket to another must not remove the other's when it ends.
func TestCloseLeavesForeignSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	first, err := Listen(ServerOptions{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(ServerOptions{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second one's socket is gone: %v", err)
	}
}

func TestTCPServesHealthToLoopbackOnly(t *testing.T) {
	b := &fake{status: wholeStatus()}
	s, err := Listen(ServerOptions{Socket: filepath.Join(socketDir(t), "s"), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Backend: b,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "# EOF\n") })})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	get := func(path, host string) (int, string) {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.TCPAddr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := get("/livez", ""); code != 200 || body != `{"live":true}`+"\n" {
		t.Errorf("livez %d %s", code, body)
	}
	if code, body := get("/metrics", ""); code != 200 || body != "# EOF\n" {
		t.Errorf("metrics %d %s", code, body)
	}
	if code, body := get("/healthz", ""); code != 200 || body != `{"health":"ok","reasons":[]}`+"\n" {
		t.Errorf("healthz %d %s", code, body)
	}
	if code, _ := get("/v1/counters", "localhost:1"); code != 200 {
		t.Errorf("counters %d", code)
	}
	if code, _ := get("/v1/status", ""); code != 404 {
		t.Errorf("status over TCP is answered with %d", code)
	}
	for _, host := range []string{"evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[::ffff]"} {
		if code, body := get("/healthz", host); code != 403 || !strings.Contains(body, "loopback") {
			t.Errorf("host %s is answered with %d %s", host, code, body)
		}
	}
	b.status.Health = HealthDown
	if code, _ := get("/healthz", "[::1]"); code != 503 {
		t.Errorf("health of a node that is down: %d", code)
	}
}

func TestTCPInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(socketDir(t), "s")
	_, err = Listen(ServerOptions{Socket: path, Listen: l.Addr().(*net.TCPAddr).AddrPort()})
	if err == nil || !strings.Contains(err.Error(), "api.listen") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the unix socket stays behind")
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", time.Millisecond: "1", 1500 * time.Microsecond: "1.5", 1234567 * time.Nanosecond: "1.235", time.Hour: "3600000", -time.Millisecond: "-1",
	} {
		b, err := json.Marshal(Millis(d))
		if err != nil || string(b) != want {
			t.Errorf("%v is %s, %v; want %s", d, b, err, want)
		}
		var m Millis
		if err := json.Unmarshal(b, &m); err != nil || m.Duration() != d.Round(time.Microsecond) {
			t.Errorf("%s is read as %v, %v", b, m.Duration(), err)
		}
	}
}

// The names of fields are a promise to programs. Whoever changes this test breaks them.
func TestFieldNames(t *testing.T) {
	for name, tc := range map[string]struct {
		v    any
		want string
	}{
		"status": {wholeStatus(), "address authority health health_since links_total links_up listen lsdb_digest lsdb_nodes members mtu names node one_path overridden pid policy protect reasons refused sealing seen_by sessions spiffe_id started svid trust_domain tun uptime_ms version warnings"},
		"peer":   {Peer{Since: noon, LastSeen: noon, StateSince: noon, LastRx: noon, LastTx: noon}, "address last_rx last_seen last_tx node observed_by observers path rtt_ms rx_bytes session since state state_since tx_bytes"},
		"seen":   {Observer{Since: noon}, "cost_us mutual node quality since suspect"},
		"link":   {Link{Since: noon, LastHeard: noon, Error: "x"}, "cost downs error flaps jitter_ms label last_heard loss_in loss_out min_rtt_ms mtu neighbour quality remote rtt_ms rx_bytes rx_frames since state tx_bytes tx_frames"},
		"paths":  {Paths{}, "address disjoint end_groups node paths protect shared_groups"},
		"path":   {Path{}, "copies cost labels mtu nodes protected share state"},
		"reply":  {PingReply{Error: "x"}, "error lost path rtt_ms seq"},
		"sum":    {PingSummary{}, "avg_ms loss max_ms min_ms node received sent"},
		"hop":    {TraceHop{Error: "x"}, "address error hop label lost node quality rtt_ms"},
		"token":  {Token{}, "expires join node token"},
		"ask":    {TokenRequest{}, "addresses node replace ttl_ms"},
		"id":     {Identity{}, "address bundle certificate chain domain_key log node spiffe_id svid trust_domain"},
		"svid":   {SVID{RenewAt: noon}, "not_after not_before renew_at serial"},
	} {
		b, err := json.Marshal(tc.v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			if v == nil {
				t.Errorf("%s: %s is null", name, k)
			}
		}
		if got := strings.Join(sortedKeys(m), " "); got != tc.want {
			t.Errorf("%s has fields\n%s, want\n%s", name, got, tc.want)
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("/v1/ping?node=beta&count=3&interval_ms=20", "")
	f.Add("/v1/paths?node=beta", "")
	f.Add("/v1/token", `{"node":"beta","ttl_ms":1000,"addresses":["192.0.2.1:7420"]}`)
	for _, target := range []string{"/v1/kv?key=%00%ff", "/v1/kv/list?prefix=a&after=b&limit=9&keys=true", "/v1/kv/watch?from=j.1&current=true",
		"/v1/kv/log?limit=3", "/v1/config", "/v1/config/shared?key=log.level&node=beta", "/v1/state", "/v1/state/snapshot", "/v1/state/restore"} {
		f.Add(target, "value")
	}
	b := &fake{
		token: func(r TokenRequest) (Token, error) { return Token{Node: r.Node}, nil },
		ping:  func(_ context.Context, _ PingRequest, emit func(PingReply) error) error { return emit(PingReply{}) },
		trace: func(_ context.Context, _ mesh.NodeID, emit func(TraceHop) error) error { return emit(TraceHop{}) },
	}
	f.Fuzz(func(t *testing.T, target, body string) {
		h := NewHandler(b, &fakeState{
			watch:    func(_ context.Context, _ KVWatchRequest, emit func(KVChange) error) error { return emit(KVChange{}) },
			snapshot: func(w io.Writer) (SnapshotInfo, error) { _, err := w.Write([]byte{1}); return SnapshotInfo{}, err },
			restore: func(r io.Reader) (RestoreResult, error) {
				_, err := io.Copy(io.Discard, r)
				return RestoreResult{}, err
			},
		}, &fakeConfig{}, nil)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+target, strings.NewReader(body))
			if err != nil {
				return
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if ct := w.Header().Get("Content-Type"); ct == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: answer is no JSON: %s", method, target, w.Body)
			}
		}
	})
}
