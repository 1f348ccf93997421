package authority

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// relay makes gamma a member that reaches the authority for others, and returns the address it listens on.
func (w *world) relay(dial func(context.Context, mesh.NodeID) (net.Conn, error)) string {
	return w.serve(&Server{Self: gamma, Dial: dial, Clock: w.clock.now})
}

func TestJoinAndRenewThroughAMember(t *testing.T) {
	w := newWorld(t)
	authority := w.addr
	var named mesh.NodeID
	carried := &tap{}
	relay := w.relay(func(ctx context.Context, n mesh.NodeID) (net.Conn, error) {
		named = n
		c, err := new(net.Dialer).DialContext(ctx, "tcp", authority)
		return &tappedConn{c, carried}, err
	})
	tok := w.token(beta, func(o *TokenOptions) { o.Addresses = []string{relay} })
	m, err := w.join(tok, nil)
	if err != nil || named != alpha || m.Authority != alpha || m.Neighbours[0] != relay {
		t.Fatalf("%v: %+v", err, m)
	}
	for range 2 {
		if x := <-w.done; x.Err != nil || x.Purpose != trust.PurposeJoin {
			t.Errorf("%+v", x)
		}
	}
	for what, secret := range map[string][]byte{"secret": tok.Secret, "token key": trust.TokenPrivateKey(tok.Secret)[32:], "key": m.SVID.Chain[0].RawSubjectPublicKeyInfo} {
		if bytes.Contains(carried.bytes(), secret) {
			t.Errorf("the relay saw the %s", what)
		}
	}
	w.addr = relay
	if _, err := w.renew(NewSource(nil, m.SVID), m.Log); err != nil {
		t.Errorf("renewal: %v", err)
	}
}

type tap struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tap) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b.Bytes())
}

type tappedConn struct {
	net.Conn
	tap *tap
}

func (c *tappedConn) Write(b []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.b.Write(b)
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

func TestRelayRefusals(t *testing.T) {
	w := newWorld(t)
	failing := w.relay(func(context.Context, mesh.NodeID) (net.Conn, error) { return nil, errors.New("no path") })
	broken := w.relay(func(context.Context, mesh.NodeID) (net.Conn, error) {
		a, b := net.Pipe()
		_ = b.Close()
		return a, nil
	})
	second := w.relay(w.dialTo(w.relay(w.dialTo(w.addr))))
	full := &Server{Self: gamma, Dial: w.dialTo(w.addr)}
	fullAddr := w.serve(full)
	for name, c := range map[string]struct {
		addr string
		want error
	}{
		"no way to relay":       {w.relay(nil), ErrUnreachable},
		"authority unreachable": {failing, ErrUnreachable},
		"authority gone":        {broken, ErrUnreachable},
		"relayed twice":         {second, ErrUnreachable},
	} {
		_, err := w.join(w.token(beta, func(o *TokenOptions) { o.Addresses = []string{c.addr} }), nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range maxRelays {
		conn := must(net.Dial("tcp", fullAddr))
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write(trust.Preamble{Purpose: trust.PurposeJoin, Authority: alpha}.Append(nil))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // the authority's go-ahead has come through
			t.Fatal(err)
		}
	}
	full.mu.Lock()
	clear(full.conns) // the bound per address is another test's
	full.mu.Unlock()
	if _, err := w.join(w.token(beta, func(o *TokenOptions) { o.Addresses = []string{fullAddr} }), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("all relays taken: %v", err)
	}
}

// A relay ends what is no join: too many bytes in either direction.
func TestRelayIsBoundedInBytes(t *testing.T) {
	w := newWorld(t)
	for name, flood := range map[string]func(client, authority net.Conn){
		"up":   func(c, a net.Conn) { go func() { _, _ = io.Copy(io.Discard, a) }(); pour(c, maxUp+1) },
		"down": func(c, a net.Conn) { go func() { _, _ = io.Copy(io.Discard, c) }(); pour(a, maxDown+1) },
	} {
		ln := must(net.Listen("tcp", "127.0.0.1:0"))
		addr := w.relay(w.dialTo(ln.Addr().String()))
		c := must(net.Dial("tcp", addr))
		_, _ = c.Write(trust.Preamble{Purpose: trust.PurposeJoin, Authority: alpha}.Append(nil))
		flood(c, must(ln.Accept()))
		if x := <-w.done; !errors.Is(x.Err, ErrLimit) || !x.Relayed {
			t.Errorf("%s: %+v", name, x)
		}
		_, _ = c.Close(), ln.Close()
	}
}

func pour(c net.Conn, n int) { _, _ = c.Write(make([]byte, n)) }

func TestServerIsBoundedPerAddress(t *testing.T) {
	w := newWorld(t)
	for range maxPerAddress {
		conn := must(net.Dial("tcp", w.addr))
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write(trust.Preamble{Purpose: trust.PurposeJoin, Authority: alpha}.Append(nil))
		_, _ = io.ReadFull(conn, make([]byte, 1))
	}
	conn := must(net.Dial("tcp", w.addr))
	defer func() { _ = conn.Close() }()
	var status [1]byte
	if _, err := io.ReadFull(conn, status[:]); err != nil || trust.Status(status[0]) != trust.StatusBusy {
		t.Errorf("%v, %v", status, err)
	}
	if x := <-w.done; !errors.Is(x.Err, ErrBusy) {
		t.Errorf("%+v", x)
	}
}

// What is no preamble, no TLS, no ALPN or no request ends with a named error and leaves the server well.
func TestServerRefusesGarbage(t *testing.T) {
	w := newWorld(t)
	good := trust.Preamble{Purpose: trust.PurposeJoin, Authority: alpha}.Append(nil)
	inTLS := func(alpn string, after func(*tls.Conn)) func(net.Conn) {
		return func(raw net.Conn) {
			_, _ = raw.Write(good)
			cfg := tlsConfig()
			cfg.InsecureSkipVerify, cfg.NextProtos = true, nil
			if alpn != "" {
				cfg.NextProtos = []string{alpn}
			}
			c := tls.Client(&statusConn{Conn: raw}, cfg)
			if c.Handshake() == nil {
				after(c)
			}
		}
	}
	send := func(q trust.Request) func(net.Conn) {
		return inTLS(trust.JoinALPN, func(c *tls.Conn) {
			_ = writeMessage(c, q.Append(nil))
			_, _ = io.Copy(io.Discard, c)
		})
	}
	stale := trust.Request{Node: beta, CSR: must(makeCSR(must(newKey())))}
	stale.JoinProof(w.token(beta, nil).Secret, make([]byte, trust.ChannelBinding)) // of another channel
	noCSR := trust.Request{Node: beta, CSR: []byte("x")}
	noCSR.JoinProof(make([]byte, 20), nil)
	for name, c := range map[string]struct {
		send func(net.Conn)
		want error // nil = any
	}{
		"nothing":           {func(net.Conn) {}, trust.ErrPreamble},
		"HTTP":              {func(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n") }, trust.ErrPreamble},
		"cut preamble":      {func(c net.Conn) { _, _ = c.Write(good[:len(good)-1]) }, trust.ErrPreamble},
		"no TLS":            {func(c net.Conn) { _, _ = c.Write(append(bytes.Clone(good), make([]byte, 100)...)) }, nil},
		"TLS without ALPN":  {inTLS("", func(*tls.Conn) {}), trust.ErrMessage},
		"TLS of other ALPN": {inTLS("h2", func(*tls.Conn) {}), nil},
		"no request":        {inTLS(trust.JoinALPN, func(*tls.Conn) {}), nil},
		"huge request":      {inTLS(trust.JoinALPN, func(c *tls.Conn) { _, _ = c.Write([]byte{0xff, 0xff, 0xff, 0xff}) }), ErrLimit},
		"garbage request":   {inTLS(trust.JoinALPN, func(c *tls.Conn) { _ = writeMessage(c, []byte("x")) }), trust.ErrMessage},
		"no CSR":            {send(noCSR), ErrCSR},
		"replayed proof":    {send(stale), ErrProof},
	} {
		raw := must(net.Dial("tcp", w.addr))
		c.send(raw)
		_ = raw.(*net.TCPConn).CloseWrite()
		if x := <-w.done; x.Err == nil || c.want != nil && !errors.Is(x.Err, c.want) {
			t.Errorf("%s: %v, want %v", name, x.Err, c.want)
		}
		_ = raw.Close()
	}
	if _, err := w.join(w.token(gamma, nil), nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// The other way round: a client that meets garbage.
func TestClientRefusesGarbage(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	// server answers like the authority up to TLS, with its SVID, and then as it likes.
	server := func(alpn string, then func(*tls.Conn)) func(net.Conn) {
		return func(raw net.Conn) {
			_, _ = readPreamble(raw)
			_, _ = raw.Write([]byte{0})
			cfg := tlsConfig()
			cfg.Certificates, cfg.NextProtos = []tls.Certificate{w.source.Certificate()}, []string{alpn}
			c := tls.Server(raw, cfg)
			if c.Handshake() == nil {
				then(c)
				_, _ = io.Copy(io.Discard, c)
			}
		}
	}
	greet := func(c *tls.Conn) {
		_ = writeMessage(c, trust.Greeting{Time: start, Log: w.auth.Log().Bytes()}.Append(nil))
		_, _ = readMessage(c, trust.MaxRequest)
	}
	reply := func(p trust.Reply) func(net.Conn) {
		return server(trust.JoinALPN, func(c *tls.Conn) { greet(c); _ = writeMessage(c, p.Append(nil)) })
	}
	key := must(newKey())
	stolen := must(w.auth.Issue(&key.PublicKey, gamma, 0, start))
	foreign := must(LoadMembership(func() *memory { m := newMemory(); must(Init(m, td, beta, 0, start)); return m }())).SVID.Raw()
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  error
	}{
		"hangs up":         {func(net.Conn) {}, nil},
		"odd status":       {func(c net.Conn) { _, _ = c.Write([]byte{77}) }, trust.ErrPreamble},
		"no TLS":           {func(c net.Conn) { _, _ = c.Write(make([]byte, 100)) }, nil},
		"garbage greeting": {server(trust.JoinALPN, func(c *tls.Conn) { _ = writeMessage(c, []byte("x")) }), trust.ErrMessage},
		"no greeting":      {server(trust.JoinALPN, func(c *tls.Conn) { _ = c.CloseWrite() }), nil},
		"huge greeting":    {server(trust.JoinALPN, func(c *tls.Conn) { _, _ = c.Write([]byte{0xff, 0, 0, 0}) }), ErrLimit},
		"no log":           {server(trust.JoinALPN, func(c *tls.Conn) { _ = writeMessage(c, trust.Greeting{Time: start}.Append(nil)) }), trust.ErrLogFormat},
		"no reply":         {server(trust.JoinALPN, func(c *tls.Conn) { greet(c); _ = c.CloseWrite() }), nil},
		"garbage reply":    {server(trust.JoinALPN, func(c *tls.Conn) { greet(c); _ = writeMessage(c, []byte{0}) }), trust.ErrMessage},
		"unknown refusal":  {reply(trust.Reply{Code: 200, Text: "no"}), ErrRefused},
		"no certificate":   {reply(trust.Reply{Chain: [][]byte{[]byte("x")}}), trust.ErrChain},
		"foreign SVID":     {reply(trust.Reply{Chain: foreign}), trust.ErrUnknownAuthority},
		"another node's":   {reply(trust.Reply{Chain: stolen}), trust.ErrMessage},
	} {
		ln := must(net.Listen("tcp", "127.0.0.1:0"))
		served := make(chan struct{})
		go func() {
			defer close(served)
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.serve(conn)
			_ = conn.Close()
		}()
		tok.Addresses = []string{ln.Addr().String()}
		if _, err := w.join(tok, nil); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		_ = ln.Close()
		<-served
	}
	tok.Addresses = []string{w.addr}
	if _, err := w.join(tok, nil); err != nil {
		t.Errorf("the authority itself: %v", err)
	}
}

// The end of the context ends connections that say nothing, and Serve with them.
func TestServeEnds(t *testing.T) {
	w := newWorld(t)
	s := &Server{Self: alpha, Authority: w.auth, Source: w.source}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	idle := must(net.Dial("tcp", ln.Addr().String()))
	defer func() { _ = idle.Close() }()
	_, _ = idle.Write(trust.Preamble{Purpose: trust.PurposeJoin, Authority: alpha}.Append(nil))
	_, _ = io.ReadFull(idle, make([]byte, 1))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Serve(context.Background(), ln); err == nil {
		t.Error("served on a closed listener")
	}
}
