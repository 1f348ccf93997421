package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
)

// stage is what meetings see of a daemon, played.
type stage struct {
	*meetings
	mu     sync.Mutex
	now    *mesh.Forwarding
	tries  []string // "2s 7": 2 s after the beginning over connection 7
	meets  []string // "begin beta 7", "end beta 7"
	refuse error    // of open
	fails  error    // of meet, at once
	began  time.Time
}

// pipe is a stream that does nothing but end.
type pipe struct {
	io.ReadWriter
	conn mesh.ConnID
	once sync.Once
	over chan struct{}
}

func newPipe(id mesh.ConnID) *pipe { return &pipe{conn: id, over: make(chan struct{})} }

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.over) })
	return nil
}

func newStage(self string) *stage {
	s := &stage{now: &mesh.Forwarding{}, began: time.Now()}
	s.meetings = newMeetings(mesh.MustNodeID(self), slog.New(slog.DiscardHandler), func() *mesh.Forwarding {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now
	})
	s.open = func(id mesh.ConnID) (io.ReadWriteCloser, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tries = append(s.tries, fmt.Sprintf("%v %d", time.Since(s.began), id))
		return newPipe(id), s.refuse
	}
	s.meet = func(ctx context.Context, n mesh.NodeID, c io.ReadWriteCloser) error {
		p := c.(*pipe)
		s.say("begin %s %d", n, p.conn)
		s.mu.Lock()
		err := s.fails
		s.mu.Unlock()
		if err == nil {
			select {
			case <-p.over:
				err = quicconn.ErrStreamEnded
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		s.say("end %s %d", n, p.conn)
		return err
	}
	return s
}

func (s *stage) say(f string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meets = append(s.meets, fmt.Sprintf(f, args...))
}

// links sets the table: "beta 7", or "beta 7 down".
func (s *stage) links(all ...string) {
	f := &mesh.Forwarding{}
	for i, l := range all {
		var n string
		var id uint64
		state := "up"
		_, _ = fmt.Sscanf(l, "%s %d %s", &n, &id, &state)
		f.Links = append(f.Links, mesh.ForwardLink{
			Label: mesh.Label(i + 1), Neighbour: mesh.MustNodeID(n), Session: mesh.ConnID(id), Usable: state == "up",
		})
	}
	s.mu.Lock()
	s.now = f
	s.mu.Unlock()
	s.look()
	synctest.Wait()
}

// told returns what happened since it was asked last.
func (s *stage) told() (meets []string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	meets, s.meets = s.meets, nil
	return meets
}

func (s *stage) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := s.told(); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// staged runs f beside the loop.
func staged(t *testing.T, self string, f func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(self)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			s.loop(ctx)
			close(over)
		}()
		f(s)
		cancel()
		<-over
		synctest.Wait() // those that neighbours began
		if n := s.count(); n != 0 {
			t.Errorf("%d meetings are left", n)
		}
	})
}

func TestOneMeetingWithEachNeighbour(t *testing.T) {
	staged(t, "alpha", func(s *stage) {
		s.links("beta 7", "beta 8", "gamma 9")
		if got := s.told(); len(got) != 2 || !slices.Contains(got, "begin beta 7") || !slices.Contains(got, "begin gamma 9") {
			t.Errorf("with three links to two neighbours: %q", got)
		}
		s.links("beta 8", "beta 7", "gamma 9")
		s.links("beta 7 down", "gamma 9")
		s.expect(t, "its link is down, there is no other")
		s.links("beta 7 down", "beta 8", "gamma 9")
		s.expect(t, "another link is up", "end beta 7", "begin beta 8")
		s.links("beta 7", "beta 8", "gamma 9")
		s.expect(t, "the first is up again")
		s.links("beta 7", "beta 11", "gamma 9")
		s.expect(t, "its session was replaced", "end beta 8", "begin beta 7")
		if n := s.count(); n != 2 {
			t.Errorf("%d meetings", n)
		}
	})
}

// A session is replaced while there is no other link: the next one takes over, and the old stream has ended before.
func TestMeetingMovesToTheNextSession(t *testing.T) {
	staged(t, "alpha", func(s *stage) {
		for id := 1; id < 5; id++ {
			s.links(fmt.Sprintf("beta %d", id))
			want := []string{fmt.Sprintf("end beta %d", id-1), fmt.Sprintf("begin beta %d", id)}
			s.expect(t, "the next session", want[min(1, max(0, 2-id)):]...)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if want := []string{"0s 1", "0s 2", "0s 3", "0s 4"}; !slices.Equal(s.tries, want) {
			t.Errorf("tried %q, want %q", s.tries, want)
		}
	})
}

func TestTheSmallerNameBegins(t *testing.T) {
	staged(t, "zeta", func(s *stage) {
		s.links("beta 7")
		s.expect(t, "the larger name opens nothing")
		first, second := newPipe(1), newPipe(2)
		go s.came(mesh.MustNodeID("beta"), 1, first)
		s.expect(t, "the neighbour opens one", "begin beta 1")
		go s.came(mesh.MustNodeID("beta"), 2, second)
		s.expect(t, "and another", "end beta 1", "begin beta 2")
		second.Close()
		s.expect(t, "which ends", "end beta 2")
		if len(s.tries) != 0 {
			t.Errorf("tried %q", s.tries)
		}
		go s.came(mesh.MustNodeID("beta"), 3, newPipe(3)) // until the end
		synctest.Wait()
	})
}

// A neighbour of an earlier version is asked more and more rarely, over another session at once.
func TestNeighbourThatTakesNoStream(t *testing.T) {
	staged(t, "alpha", func(s *stage) {
		s.refuse = quicconn.ErrNoStream
		s.links("beta 7")
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		s.mu.Lock()
		want := []string{"0s 7", "1.5s 7", "4.5s 7", "10.5s 7", "22.5s 7", "46.5s 7", "1m34.5s 7", "2m34.5s 7", "3m34.5s 7"}
		if !slices.Equal(s.tries, want) {
			t.Errorf("tried %q, want %q", s.tries, want)
		}
		s.tries, s.refuse = nil, nil
		s.mu.Unlock()
		s.links("beta 8")
		s.expect(t, "over a new session", "begin beta 8")
	})
}

// What fails at once is tried again more and more rarely; what went well for long, soon.
func TestMeetingsThatFail(t *testing.T) {
	staged(t, "alpha", func(s *stage) {
		s.fails = errors.New("malformed")
		s.links("beta 7")
		time.Sleep(12 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		want := []string{"0s 7", "1.5s 7", "4.5s 7", "10.5s 7"}
		if !slices.Equal(s.tries, want) {
			t.Errorf("tried %q, want %q", s.tries, want)
		}
		s.fails = nil
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.told()
		s.meetings.mu.Lock()
		p := s.current[mesh.MustNodeID("beta")].stream.(*pipe)
		s.meetings.mu.Unlock()
		p.Close()
		s.expect(t, "it ends", "end beta 7")
		time.Sleep(meetFirst)
		s.expect(t, "and begins again", "begin beta 7")
	})
}
