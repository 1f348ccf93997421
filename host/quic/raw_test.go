package quicconn

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/wire"
)

// client dials p with quic-go alone, to do what a Transport never does.
func client(t *testing.T, n *network, p *peer, conf *tls.Config) (*quic.Conn, error) {
	t.Helper()
	tr := &quic.Transport{Conn: lossy{n.listen("raw"), &p.count.sendErrors}}
	t.Cleanup(func() { tr.Close() })
	conf.InsecureSkipVerify = true
	return tr.Dial(t.Context(), p.pc.LocalAddr(), conf, &quic.Config{})
}

func framed(b ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func TestStrangers(t *testing.T) {
	for _, tt := range []struct {
		name string
		conf func(good tls.Certificate) *tls.Config
	}{
		{"no certificate", func(tls.Certificate) *tls.Config {
			return &tls.Config{NextProtos: []string{wire.ALPNLink}}
		}},
		{"other protocol", func(good tls.Certificate) *tls.Config {
			return &tls.Config{NextProtos: []string{wire.ALPNE2E}, Certificates: []tls.Certificate{good}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, ca, _, b := pair(t)
				qc, err := client(t, n, b, tt.conf(ca.issue(t, "mallory", time.Hour)))
				if err == nil {
					<-qc.Context().Done() // it learns only now
				}
				wantErr(t, "refused", want(t, "refused", b.refused).err, ErrUnverified)
				none(t, "established", b.established)
			})
		})
	}
}

// A member that breaks the protocol loses its connection, and only that.
func TestProtocolBreakers(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*quic.Conn)
		want error
	}{
		{"zero length", func(qc *quic.Conn) { write(qc, framed()) }, ErrMalformed},
		{"huge length", func(qc *quic.Conn) { write(qc, []byte{0xff, 0xff, 0xff, 0xff}) }, ErrMalformed},
		{"bad body", func(qc *quic.Conn) { write(qc, framed(9)) }, ErrMalformed},
		{"stream ended", func(qc *quic.Conn) { write(qc, nil).Close() }, ErrProtocol},
		{"stream ended inside", func(qc *quic.Conn) { write(qc, framed(9, 9)).Close() }, ErrMalformed},
		{"stream reset", func(qc *quic.Conn) { write(qc, framed(200)).CancelWrite(1) }, ErrProtocol},
		{"reading stopped", func(qc *quic.Conn) { write(qc, framed(200)).CancelRead(1) }, ErrProtocol},
		{"no stream", func(qc *quic.Conn) {}, ErrProtocol},
		{"gone", func(qc *quic.Conn) { qc.CloseWithError(77, strings.Repeat("é\x00", 300)) }, ErrPeerClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, ca, a, b := pair(t)
				atA, atB := connect(t, a, b)
				cert := ca.issue(t, "mallory", time.Hour)
				qc, err := client(t, n, b, &tls.Config{NextProtos: []string{wire.ALPNLink}, Certificates: []tls.Certificate{cert}})
				if err != nil {
					t.Fatal(err)
				}
				e := want(t, "established", b.established)
				tt.do(qc)
				synctest.Wait()
				_ = b.Send(e.Conn, wire.Bye{Reason: "to whoever listens"})
				got := want(t, "closed", b.closed)
				wantErr(t, "closed", got.err, tt.want)
				if got.conn != e.Conn || len(got.err.Error()) > 2000 {
					t.Errorf("closed %+v, want %d", got, e.Conn)
				}
				<-qc.Context().Done()
				exchange(t, a, b, atA.Conn, atB.Conn)
			})
		})
	}
}

func write(qc *quic.Conn, b []byte) *quic.Stream {
	s, err := qc.OpenStream()
	if err != nil {
		panic(err)
	}
	s.Write(b)
	return s
}

func TestUnknownMessagesAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ca, _, b := pair(t)
		cert := ca.issue(t, "mallory", time.Hour)
		qc, err := client(t, n, b, &tls.Config{NextProtos: []string{wire.ALPNLink}, Certificates: []tls.Certificate{cert}})
		if err != nil {
			t.Fatal(err)
		}
		known, err := wire.AppendMessage(nil, wire.Bye{Reason: "known"})
		if err != nil {
			t.Fatal(err)
		}
		write(qc, append(framed(250, 1, 2, 3), known...))
		if m := want(t, "message", b.messages); m.msg != (wire.Bye{Reason: "known"}) {
			t.Errorf("got %+v", m)
		}
		if b.Counters()["quic_unknown_messages"] != 1 {
			t.Error("not counted")
		}
		if _, err := qc.OpenStream(); err == nil {
			t.Error("a second stream is allowed")
		}
		qc.CloseWithError(0, "")
	})
}

// Real sockets and the real clock.
func TestLoopback(t *testing.T) {
	before := runtime.NumGoroutine()
	ca := newAuthority(t, "mesh.test")
	listen := func() net.PacketConn {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return pc
	}
	a := start(t, listen(), ca, ca.issue(t, "alice", time.Hour))
	b := start(t, listen(), ca, ca.issue(t, "bob", time.Hour))
	atA, atB := connect(t, a, b)
	if !bytes.Equal(atA.Secret, atB.Secret) {
		t.Error("secrets differ")
	}
	exchange(t, a, b, atA.Conn, atB.Conn)
	for _, p := range []*peer{a, b} {
		p.Close()
		want(t, "closed", p.closed)
		p.pc.Close()
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("goroutines stay:\n%s", buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestReadFrame(t *testing.T) {
	var stream []byte
	for _, n := range []int{1, 4095, 4096, 4097, wire.MaxMessage} {
		stream = append(stream, framed(make([]byte, n)...)...)
	}
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(stream),
		"halves":  iotest.HalfReader(bytes.NewReader(stream)),
	} {
		for _, n := range []int{1, 4095, 4096, 4097, wire.MaxMessage} {
			if b, err := readFrame(r); err != nil || len(b) != n {
				t.Fatalf("%s: %d bytes, %v, want %d", name, len(b), err, n)
			}
		}
		if _, err := readFrame(r); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
	whole := framed(make([]byte, 5000)...)
	for i := 1; i < len(whole); i++ {
		if _, err := readFrame(bytes.NewReader(whole[:i])); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut after %d: %v", i, err)
		}
	}
	broken := errors.New("broken")
	if _, err := readFrame(io.MultiReader(bytes.NewReader(whole[:100]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("error of the stream: %v", err)
	}
}

// What announces much and sends little must not cost much.
func TestReadFrameDoesNotTrustTheLength(t *testing.T) {
	b := binary.BigEndian.AppendUint32(nil, wire.MaxMessage)
	n := testing.AllocsPerRun(100, func() { _, _ = readFrame(bytes.NewReader(b)) })
	if n > 10 {
		t.Errorf("%.0f allocations", n)
	}
	res := testing.Benchmark(func(tb *testing.B) {
		for tb.Loop() {
			_, _ = readFrame(bytes.NewReader(b))
		}
	})
	if got := res.AllocedBytesPerOp(); got > 16<<10 {
		t.Errorf("%d bytes allocated for an empty promise", got)
	}
}

func FuzzReadFrame(f *testing.F) {
	good, err := wire.AppendMessage(nil, wire.Bye{Reason: "so long"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(good, good...))
	f.Add(good[:len(good)-1])
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 4, 0, 0, 1})
	f.Add([]byte{0, 4, 0, 1, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		at := 0
		for {
			m, err := readFrame(r)
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrMalformed) {
					t.Fatalf("unnamed error %v", err)
				}
				if err == io.EOF && at != len(b) {
					t.Fatalf("end at %d of %d", at, len(b))
				}
				return
			}
			if len(m) == 0 || len(m) > wire.MaxMessage || !bytes.Equal(m, b[at+wire.MessageHeader:at+wire.MessageHeader+len(m)]) {
				t.Fatalf("message of %d bytes at %d", len(m), at)
			}
			at += wire.MessageHeader + len(m)
			_, _ = wire.ParseMessage(m)
		}
	})
}

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want error
	}{
		{&quic.HandshakeTimeoutError{}, ErrTimeout},
		{&quic.IdleTimeoutError{}, ErrTimeout},
		{&quic.StatelessResetError{}, ErrPeerClosed},
		{&quic.TransportError{Remote: true, ErrorCode: 0x12a}, ErrRefused},
		{&quic.TransportError{ErrorCode: 0x12a}, ErrUnverified},
		{&quic.TransportError{Remote: true, ErrorCode: quic.ConnectionRefused}, ErrBusy},
		{&quic.TransportError{Remote: true, ErrorCode: quic.FlowControlError}, ErrPeerClosed},
		{&quic.TransportError{ErrorCode: quic.FlowControlError}, ErrProtocol},
		{&quic.ApplicationError{Remote: true}, ErrPeerClosed},
		{&quic.ApplicationError{}, ErrLocal},
		{quic.ErrTransportClosed, ErrClosed},
		{errors.New("anything"), ErrProtocol},
	} {
		if got := classify(tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", maxReason), strings.Repeat("é", maxReason), strings.Repeat("\xff", 999)} {
		got := clip(s)
		if len(got) > maxReason+len("…") || len(s) <= maxReason && got != s {
			t.Errorf("%q became %q", s, got)
		}
		if strings.HasPrefix(s, "é") && strings.Contains(fmt.Sprintf("%q", got), `\x`) {
			t.Errorf("a character was cut: %q", got)
		}
	}
}
