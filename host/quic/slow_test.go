package quicconn

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// slow is an endpoint behind a line that carries so much and no more, with a queue that drops what would wait longer than
// it holds.
type slow struct {
	*endpoint
	rate         float64 // bytes a second
	delay, queue time.Duration

	mu   sync.Mutex
	free time.Time // when the line is
}

func (s *slow) WriteTo(b []byte, to net.Addr) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.free.Before(now) {
		s.free = now
	}
	if s.free.Sub(now) > s.queue {
		return len(b), nil
	}
	s.free = s.free.Add(time.Duration(float64(len(b)) / s.rate * float64(time.Second)))
	copied := slices.Clone(b)
	time.AfterFunc(s.free.Add(s.delay).Sub(now), func() { _, _ = s.endpoint.WriteTo(copied, to) })
	return len(b), nil
}

// While state fills a link of 20 Mbit/s in both directions, control messages pass as if it were nearly empty: they wait for what
// is in the queue of the line, and for no state.
func TestControlPassesBesideState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, every, messages = 8 << 20, 100 * time.Millisecond, 30
		n, ca := &network{ports: map[string]*endpoint{}}, newAuthority(t, "mesh.test")
		line := func(at string) *slow {
			return &slow{endpoint: n.listen(at), rate: 20e6 / 8, delay: 5 * time.Millisecond, queue: 40 * time.Millisecond}
		}
		var mu sync.Mutex
		sent, late := map[byte]time.Time{}, []time.Duration{}
		taken := make(chan time.Duration, 2)
		began := time.Now()
		swallow := func(r io.Reader) {
			_, _ = io.CopyN(io.Discard, r, size)
			taken <- time.Since(began)
		}
		tweak := func(c *Config) {
			c.Callbacks.State = func(_ mesh.ConnID, _ mesh.NodeID, s *StateStream) {
				go func() { _, _ = s.Write(make([]byte, size)) }()
				swallow(s)
				_, _ = io.Copy(io.Discard, s) // until the other end has all as well
			}
			c.Callbacks.Message = func(_ mesh.ConnID, m wire.Message) {
				if l, ok := m.(wire.LSAMsg); ok {
					mu.Lock()
					late = append(late, time.Since(sent[l.Raw[0]]))
					mu.Unlock()
				}
			}
		}
		a := start(t, line("a"), ca, ca.issue(t, "alice", time.Hour), tweak)
		b := start(t, line("b"), ca, ca.issue(t, "bob", time.Hour), tweak)
		a.Dial(1, b.pc.LocalAddr(), mesh.NodeID{})
		atA, atB := want(t, "established", a.established), want(t, "established", b.established)
		s, err := a.OpenState(atA.Conn)
		for err != nil { // its first stream is about to be there
			time.Sleep(time.Millisecond)
			s, err = a.OpenState(atA.Conn)
		}
		go func() { _, _ = s.Write(make([]byte, size)) }()
		go swallow(s)
		for i := range messages {
			time.Sleep(every)
			for k, from := range []struct {
				p  *peer
				id mesh.ConnID
			}{{a, atA.Conn}, {b, atB.Conn}} {
				stamp := byte(2*i + k)
				mu.Lock()
				sent[stamp] = time.Now()
				mu.Unlock()
				if err := from.p.Send(from.id, wire.LSAMsg{Raw: append([]byte{stamp}, make([]byte, 800)...)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		slowest := max(want(t, "all state at one end", taken), want(t, "at the other", taken))
		if rate := size * 8 / slowest.Seconds() / 1e6; rate < 10 {
			t.Errorf("the state took %s, which is %.1f Mbit/s: messages were not sent beside it", slowest, rate)
		}
		if slowest < messages*every {
			t.Errorf("the state took %s only: not all messages were sent beside it", slowest)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(late) != 2*messages || slices.Max(late) > 150*time.Millisecond {
			t.Errorf("%d of %d messages came, the latest after %s", len(late), 2*messages, slices.Max(late))
		}
		t.Logf("%s for the state each way; messages took %s at most", slowest, slices.Max(late))
	})
}
