package quicconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

type stateEvent struct {
	conn mesh.ConnID
	peer mesh.NodeID
	s    *StateStream
}

// withState has a transport take state streams: each is reported, and served until done is closed.
func withState(events chan stateEvent, done chan struct{}) func(*Config) {
	return func(c *Config) {
		c.Callbacks.State = func(id mesh.ConnID, peer mesh.NodeID, s *StateStream) {
			events <- stateEvent{id, peer, s}
			if done != nil {
				<-done
			}
		}
	}
}

// statePair is alice and bob, who both know of state streams; alice opens them.
func statePair(t *testing.T, done chan struct{}) (n *network, ca *authority, a, b *peer, at chan stateEvent) {
	t.Helper()
	at = make(chan stateEvent, 64)
	n, ca, a, b = pair(t, withState(at, done))
	return n, ca, a, b, at
}

func TestStateStreamBothWays(t *testing.T) {
	for _, name := range []string{"opener dialled", "opener was dialled"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				defer close(done)
				_, _, a, b, at := statePair(t, done)
				atA, atB := Established{}, Established{}
				if name == "opener dialled" {
					atA, atB = connect(t, a, b)
				} else {
					atB, atA = connect(t, b, a)
				}
				s, err := a.OpenState(atA.Conn)
				if err != nil {
					t.Fatal(err)
				}
				e := want(t, "state stream at bob", at)
				if e.conn != atB.Conn || e.peer != mesh.MustNodeID("alice") {
					t.Errorf("at bob: %+v, want connection %d of alice", e, atB.Conn)
				}
				bulk := make([]byte, 3<<20)
				rand.NewChaCha8([32]byte{}).Read(bulk)
				sends(s, bulk)
				sends(e.s, bulk)
				receives(t, s, bulk)
				receives(t, e.s, bulk)
				exchange(t, a, b, atA.Conn, atB.Conn)
				sent, received := a.StateBytes()
				if sent != uint64(len(bulk)) || received != uint64(len(bulk)) {
					t.Errorf("counted %d sent, %d received, want %d", sent, received, len(bulk))
				}
			})
		})
	}
}

func sends(w io.Writer, b []byte) { go w.Write(b) }

func receives(t *testing.T, r io.Reader, b []byte) {
	t.Helper()
	got := make([]byte, len(b))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("state stream: %v, or other bytes", err)
	}
}

// There is one at a time, and a next one when both ends let go of it, a second later.
func TestOneStateStreamAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b, at := statePair(t, nil)
		atA, atB := connect(t, a, b)
		s, err := a.OpenState(atA.Conn)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.OpenState(atA.Conn)
		wantErr(t, "a second stream", err, ErrNoStream)
		want(t, "state stream at bob", at) // whose callback returns at once
		_, err = s.Read(make([]byte, 1))
		if se, ok := errors.AsType[*quic.StreamError](err); !ok || se.ErrorCode != codeStreamDone {
			t.Errorf("read from a stream that the peer has left: %v", err)
		}
		s.Close()
		s.Close()
		synctest.Wait()
		_, err = a.OpenState(atA.Conn)
		wantErr(t, "a stream right behind", err, ErrNoStream)
		time.Sleep(stateRest + 200*time.Millisecond)
		again, err := a.OpenState(atA.Conn)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		want(t, "next state stream at bob", at)
		exchange(t, a, b, atA.Conn, atB.Conn)
		none(t, "link ended", a.closed)
	})
}

func TestStateStreamRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b, _ := statePair(t, nil)
		atA, atB := connect(t, a, b)
		_, err := b.OpenState(atB.Conn)
		wantErr(t, "opened by the larger name", err, ErrNotOpener)
		_, err = a.OpenState(12345)
		wantErr(t, "unknown connection", err, ErrNoConn)
		a.CloseConn(atA.Conn, "over")
		want(t, "closed", a.closed)
		_, err = a.OpenState(atA.Conn)
		wantErr(t, "dead connection", err, ErrNoConn)
	})
	cfg := Config{Purpose: wire.PurposeE2E}
	withState(nil, nil)(&cfg)
	if _, err := New(nil, cfg); err == nil {
		t.Error("a transport end to end takes state streams")
	}
}

// A peer of an earlier version allows no such stream. The link is none the worse.
func TestStateStreamUnknownToPeer(t *testing.T) {
	for _, old := range []string{"alice", "bob"} {
		synctest.Test(t, func(t *testing.T) {
			n, ca := &network{ports: map[string]*endpoint{}}, newAuthority(t, "mesh.test")
			peers := map[string]*peer{}
			at := make(chan stateEvent, 64)
			for _, name := range []string{"alice", "bob"} {
				tweak := withState(at, nil)
				if name == old {
					tweak = func(*Config) {}
				}
				peers[name] = start(t, n.listen(name), ca, ca.issue(t, name, time.Hour), tweak)
			}
			a, b := peers["alice"], peers["bob"]
			for _, turned := range []bool{false, true} {
				atA, atB := Established{}, Established{}
				if turned {
					atB, atA = connect(t, b, a)
				} else {
					atA, atB = connect(t, a, b)
				}
				_, err := a.OpenState(atA.Conn)
				if old == "alice" {
					wantErr(t, "not asked for", err, ErrNotOpener)
				} else {
					wantErr(t, "not allowed by the peer", err, ErrNoStream)
				}
				exchange(t, a, b, atA.Conn, atB.Conn)
			}
			none(t, "state stream", at)
		})
	}
}

// What a member may not do with streams ends its connection, what a later version may do only the stream.
func TestStateStreamBreakers(t *testing.T) {
	member := func(t *testing.T, name string) (b *peer, e Established, qc *quic.Conn, control *quic.Stream, at chan stateEvent) {
		n, ca, _, b, at := statePair(t, nil)
		qc, err := client(t, n, b, &tls.Config{
			NextProtos: []string{wire.ALPNLink}, Certificates: []tls.Certificate{ca.issue(t, name, time.Hour)},
		})
		if err != nil {
			t.Fatal(err)
		}
		e = want(t, "established", b.established)
		control = write(qc, nil)
		control.Write(bye)
		want(t, "message", b.messages)
		return b, e, qc, control, at
	}
	t.Run("not its to open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, e, qc, _, at := member(t, "mallory")
			write(qc, []byte{stateStream})
			got := want(t, "closed", b.closed)
			wantErr(t, "closed", got.err, ErrProtocol)
			if got.conn != e.Conn {
				t.Errorf("closed %d, want %d", got.conn, e.Conn)
			}
			none(t, "state stream", at)
		})
	})
	t.Run("another beside it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, qc, _, at := member(t, "aaron")
			write(qc, []byte{stateStream})
			want(t, "state stream", at)
			if _, err := qc.OpenStream(); !errors.Is(err, &quic.StreamLimitReachedError{}) {
				t.Errorf("a third stream: %v", err)
			}
			if _, err := qc.OpenUniStream(); !errors.Is(err, &quic.StreamLimitReachedError{}) {
				t.Errorf("a stream one way: %v", err)
			}
		})
	})
	t.Run("another kind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, _, qc, control, at := member(t, "aaron")
			s := write(qc, []byte{stateStream + 1})
			_, err := s.Read(make([]byte, 1))
			if se, ok := errors.AsType[*quic.StreamError](err); !ok || se.ErrorCode != codeStreamUnknown {
				t.Errorf("read from a stream of another kind: %v", err)
			}
			s.CancelWrite(0)
			if n := b.Counters()["quic_unknown_streams"]; n != 1 {
				t.Errorf("counted %d", n)
			}
			time.Sleep(2 * stateRest)
			write(qc, []byte{stateStream})
			want(t, "state stream", at)
			control.Write(bye)
			want(t, "message", b.messages)
		})
	})
	t.Run("ended at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, _, qc, control, at := member(t, "aaron")
			write(qc, nil).Close()
			time.Sleep(time.Second)
			none(t, "state stream", at)
			control.Write(bye)
			want(t, "message", b.messages)
		})
	})
}

// bye is a whole control message.
var bye = func() []byte {
	b, err := wire.AppendMessage(nil, wire.Bye{Reason: "hello"})
	if err != nil {
		panic(err)
	}
	return b
}()

// Who does not read the state goes on to read control messages.
func TestStateThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		_, _, a, b, at := statePair(t, done)
		atA, atB := connect(t, a, b)
		s, err := a.OpenState(atA.Conn)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "state stream", at)
		written := make(chan error, 1)
		go func() {
			_, err := s.Write(make([]byte, 8<<20))
			written <- err
		}()
		synctest.Wait()
		for range 3 {
			exchange(t, a, b, atA.Conn, atB.Conn)
		}
		none(t, "all was taken", written)
		s.Close()
		if err := want(t, "the end of the write", written); err == nil {
			t.Error("a write on a stream that was closed succeeded")
		}
		close(done)
		exchange(t, a, b, atA.Conn, atB.Conn)
	})
}

func TestCloseEndsStateStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		_, _, a, b := pair(t, func(c *Config) {
			c.Callbacks.State = func(_ mesh.ConnID, _ mesh.NodeID, s *StateStream) {
				_, err := io.Copy(io.Discard, s)
				ended <- err
			}
		})
		atA, _ := connect(t, a, b)
		s, err := a.OpenState(atA.Conn)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.Close()
		if err := want(t, "end of the state stream", ended); err == nil {
			t.Error("it ended as if all had come")
		}
		if _, err := s.Write([]byte{0}); err == nil {
			t.Error("wrote to a peer that is gone")
		}
	})
}
