package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
)

// Waits before the next attempt to meet a neighbour over the same link session. A neighbour of an earlier version never
// agrees, and is asked once in meetMax.
const (
	meetFirst = 1500 * time.Millisecond // above the time for which a peer allows no further stream
	meetMax   = time.Minute
	meetLong  = 10 * time.Second // a meeting that lasted so long was none that failed
)

// meetings sees to it that the replica meets each neighbour over one stream, of a link that is up. The one with the smaller
// name chooses the link and opens the stream; it stays with a link until that is down or its session is replaced while
// another one is up.
type meetings struct {
	self    mesh.NodeID
	table   func() *mesh.Forwarding
	open    func(mesh.ConnID) (io.ReadWriteCloser, error)
	meet    func(context.Context, mesh.NodeID, io.ReadWriteCloser) error // until the stream ends
	log     *slog.Logger
	changed chan struct{} // the table has, or a meeting ended
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	current map[mesh.NodeID]*meeting
	last    map[mesh.NodeID]*attempt // of neighbours that we ask
	lines   lineGate
	wg      sync.WaitGroup
}

// meeting is one stream with a neighbour.
type meeting struct {
	conn   mesh.ConnID
	stream io.ReadWriteCloser
	over   chan struct{}
}

// attempt is the last one to meet a neighbour.
type attempt struct {
	conn mesh.ConnID
	wait time.Duration // after the next failure
	due  time.Time     // no other over the same connection before
}

func newMeetings(self mesh.NodeID, log *slog.Logger, table func() *mesh.Forwarding) *meetings {
	m := &meetings{
		self: self, log: log, table: table, changed: make(chan struct{}, 1),
		current: map[mesh.NodeID]*meeting{}, last: map[mesh.NodeID]*attempt{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// look has the loop look at the table again. It never waits.
func (m *meetings) look() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// loop keeps up the meetings that are ours to begin, until ctx ends, which ends all, and waits for the end of those.
func (m *meetings) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer m.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			m.end()
			return
		case <-m.changed:
		case <-timer.C:
		}
		timer.Stop()
		if next := m.arrange(time.Now()); !next.IsZero() {
			timer.Reset(max(0, time.Until(next)))
		}
	}
}

// end closes every stream, which ends the meetings, and begins no other.
func (m *meetings) end() {
	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.current {
		_ = x.stream.Close()
	}
}

// arrange begins the meetings that are missing and returns when to look again; zero: when something changes.
func (m *meetings) arrange(now time.Time) (next time.Time) {
	ways := m.ways()
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.last {
		if ways[n] == nil {
			delete(m.last, n)
		}
	}
	for n, conns := range ways {
		if x := m.current[n]; x != nil && slices.Contains(conns, x.conn) {
			continue
		}
		a := m.last[n]
		if a == nil || !slices.Contains(conns, a.conn) {
			a = &attempt{conn: conns[0], wait: meetFirst}
			m.last[n] = a
		} else if now.Before(a.due) {
			if next.IsZero() || a.due.Before(next) {
				next = a.due
			}
			continue
		}
		a.due = now.Add(a.wait)
		a.wait = min(2*a.wait, meetMax)
		if due := m.begin(n, a); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

// ways returns the sessions of links that are up to the neighbours that we ask, by label.
func (m *meetings) ways() map[mesh.NodeID][]mesh.ConnID {
	ways := map[mesh.NodeID][]mesh.ConnID{}
	for _, l := range m.table().Links {
		if l.Usable && l.Session != 0 && m.self.Compare(l.Neighbour) < 0 {
			ways[l.Neighbour] = append(ways[l.Neighbour], l.Session)
		}
	}
	return ways
}

// begin opens a stream and returns when to look at it again. Under mu.
func (m *meetings) begin(n mesh.NodeID, a *attempt) time.Time {
	s, err := m.open(a.conn)
	if err != nil {
		if !errors.Is(err, quicconn.ErrNoStream) { // of an earlier version; no news
			m.note(n, err)
		}
		return a.due
	}
	x := &meeting{conn: a.conn, stream: s, over: make(chan struct{})}
	before := m.current[n]
	m.current[n] = x
	began := time.Now()
	m.wg.Go(func() {
		m.hold(n, x, before)
		if time.Since(began) >= meetLong {
			m.mu.Lock()
			a.wait, a.due = meetFirst, time.Now().Add(meetFirst)
			m.mu.Unlock()
		}
		m.look()
	})
	return a.due
}

// came holds the meeting that a neighbour began, and returns at its end.
func (m *meetings) came(n mesh.NodeID, conn mesh.ConnID, s io.ReadWriteCloser) {
	x := &meeting{conn: conn, stream: s, over: make(chan struct{})}
	m.mu.Lock()
	before := m.current[n]
	m.current[n] = x
	m.mu.Unlock()
	m.hold(n, x, before)
}

// hold ends the meeting before with a neighbour and holds the next.
func (m *meetings) hold(n mesh.NodeID, x, before *meeting) {
	defer close(x.over)
	defer x.stream.Close()
	if before != nil {
		_ = before.stream.Close()
		<-before.over
	}
	var err error
	if m.ctx.Err() == nil {
		err = m.meet(m.ctx, n, x.stream)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current[n] != x {
		return // it had to go for another
	}
	delete(m.current, n)
	if err != nil && m.ctx.Err() == nil {
		m.note(n, err)
	}
}

// note says why a meeting failed, as far as a reader can take that in. Under mu.
func (m *meetings) note(n mesh.NodeID, err error) {
	if errors.Is(err, quicconn.ErrStreamEnded) || errors.Is(err, quicconn.ErrNoConn) { // as links end
		m.log.Debug("exchange of the shared state ended", "neighbour", n, "cause", err)
		return
	}
	if omitted, ok := m.lines.pass(time.Now()); ok {
		m.log.Warn("exchange of the shared state ended", "neighbour", n, "cause", err, "omitted", omitted)
	}
}

// count returns with how many neighbours the replica meets now.
func (m *meetings) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.current)
}
