package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

const (
	stateFile    = "state.db"    // the replica, in the folder of the state directory that its own format governs
	foundingFile = "shared.json" // that this node's replica was the first of the domain
	sharedRetry  = 10 * time.Second

	sharedPatience = 2 * time.Second // of who only wants to know how it is
)

// shared is the state that all nodes share, as this daemon has it. It is opened beside everything else: what is wrong with
// it is said, and the mesh runs without.
type shared struct {
	log      *slog.Logger
	meetings *meetings
	opened   chan struct{}    // closed when the replica is there
	replica  *replica.Replica // from then on
	written  atomic.Uint64    // writes of the API that were acknowledged
	took     atomic.Int64     // and how long they took together

	mu      sync.Mutex
	trouble error // why it is not, after an attempt
}

// newShared returns the shared state before it is opened.
func newShared(self mesh.NodeID, log *slog.Logger, table func() *mesh.Forwarding) *shared {
	s := &shared{log: log, opened: make(chan struct{}), meetings: newMeetings(self, log, table)}
	s.meetings.meet = func(ctx context.Context, n mesh.NodeID, stream io.ReadWriteCloser) error {
		return s.replica.Meet(ctx, n, stream)
	}
	return s
}

// sharedLoop opens the replica and keeps it in touch with neighbours, and the authority log and the configuration with it, until ctx
// ends.
func (d *Daemon) sharedLoop(ctx context.Context) {
	if !d.shared.keepOpening(ctx, func() (*replica.Replica, error) { return d.openReplica(ctx) }) {
		return
	}
	r := d.shared.replica
	var wg sync.WaitGroup
	wg.Go(func() { d.followLogs(ctx, r) })
	wg.Go(func() { d.tuneLoop(ctx, r) })
	if d.identity.Authority != nil {
		wg.Go(func() { d.publishLog(ctx, r) })
	}
	wg.Go(func() { d.checkpoints(ctx, r) })
	d.shared.meetings.loop(ctx)
	wg.Wait()
}

// keepOpening tries until the replica is open; false: ctx ended before.
func (s *shared) keepOpening(ctx context.Context, open func() (*replica.Replica, error)) bool {
	for {
		r, err := open()
		if err == nil {
			s.replica = r
			close(s.opened)
			s.note(nil)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.note(err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(sharedRetry):
		}
	}
}

// note remembers why there is no replica, and says it when it is news.
func (s *shared) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && s.trouble != nil:
		s.log.Info("the shared state is open now")
	case err != nil && (s.trouble == nil || s.trouble.Error() != err.Error()):
		s.log.Error("the shared state cannot be opened; the mesh runs without it", "error", err, "next_try_in", sharedRetry.String())
	}
	s.trouble = err
}

// use returns the replica, or why there is none.
func (s *shared) use() (*replica.Replica, error) {
	select {
	case <-s.opened:
		return s.replica, nil
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil {
		return nil, api.Errorf(api.CodeUnavailable, "the shared state cannot be opened: %v", s.trouble)
	}
	return nil, api.Errorf(api.CodeUnavailable, "the shared state is being read from disk").With("try again in a moment")
}

// came holds the meeting that a neighbour began. While the replica is being opened it waits.
func (s *shared) came(id mesh.ConnID, n mesh.NodeID, stream *quicconn.StateStream) {
	select {
	case <-s.opened:
		s.meetings.came(n, id, stream)
	case <-stream.Over():
	case <-s.meetings.ctx.Done():
	}
}

// close ends what the replica does and closes its file. Nobody may use it any more.
func (s *shared) close() {
	s.meetings.end()
	select {
	case <-s.opened:
		if err := s.replica.Close(); err != nil {
			s.log.Error("the shared state was not closed in order", "error", err)
		}
	default:
	}
}

// troubles says what an operator should know of the shared state.
func (s *shared) troubles() []string {
	r, err := s.use()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.trouble == nil {
			return nil
		}
		return []string{"there is no shared state on this node: " + s.trouble.Error()}
	}
	ctx, cancel := context.WithTimeout(s.meetings.ctx, sharedPatience)
	defer cancel()
	info, err := r.State(ctx)
	if err != nil {
		return nil // going down, or busy
	}
	var all []string
	for _, w := range info.Warnings {
		all = append(all, "shared state: "+w)
	}
	if info.Held > 0 {
		all = append(all, fmt.Sprintf("%d entries of the shared state are dated in the future and wait for their time; check the clocks", info.Held))
	}
	if info.Aside > 0 {
		all = append(all, fmt.Sprintf("%d entries of the shared state are older than deletions are remembered and were set aside; "+
			"write those keys anew", info.Aside))
	}
	if info.Uncovered > 0 {
		all = append(all, fmt.Sprintf("%d entries of the shared state were signed with SVIDs that are long over and are covered by no checkpoint of "+
			"an authority: they are not taken here. If they are still there an hour after an authority ran, take a snapshot where they are, and restore it "+
			"at an authority", info.Uncovered))
	}
	return all
}

// openStateStream opens the state stream of a link's connection.
func (d *Daemon) openStateStream(id mesh.ConnID) (io.ReadWriteCloser, error) {
	err := error(quicconn.ErrNoConn)
	for _, t := range d.links {
		var s *quicconn.StateStream
		if s, err = t.OpenState(id); err == nil {
			return s, nil
		}
		if !errors.Is(err, quicconn.ErrNoConn) {
			break
		}
	}
	return nil, err
}

// openReplica opens the replica in the state directory.
func (d *Daemon) openReplica(ctx context.Context) (*replica.Replica, error) {
	folder, err := d.store.Foreign()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, stateFile)
	m := d.identity
	began, first := d.store.Exists(initFile), !d.store.Exists(foundingFile)
	r, err := replica.OpenContext(ctx, replica.Config{
		Self: d.self, Domain: d.domain, Path: path, Founder: began && first, Began: began,
		Identity: m.author, Verify: m.verifyAuthor, Ends: m.authorEnds, Checkpoint: m.checkpoint, Admits: m.Authority != nil,
		May: mayWrite, Vital: isVital, Now: d.now, Log: d.log,
	})
	if err == nil && began && !first {
		d.noteLost(r, path)
	}
	if err == nil && began && first {
		err = d.store.Write(foundingFile, []byte("{\"version\":1}\n"))
		if err != nil {
			_ = r.Close()
		}
	}
	return r, err
}

// noteLost says what the node that began the domain can do if it lost what it knew, as a whole or in part. Then it is no founder any
// more: it learns as others do.
func (d *Daemon) noteLost(r *replica.Replica, path string) {
	ctx, cancel := context.WithTimeout(context.Background(), sharedPatience)
	defer cancel()
	if info, err := r.State(ctx); err == nil && !info.Settled {
		d.log.Error("the shared state of this node is gone or damaged; nothing can be written here before a neighbour has given it again",
			"file", path, "remedy", "where no other node has it: x0t state restore, if there is a snapshot, then x0t state settle")
	}
}

// author returns what this node signs its entries of the shared state with: nothing if its SVID has ended, since nobody would
// take them.
func (m *Membership) author() replica.Identity {
	s := m.Source.Current()
	if m.clock.now().After(s.NotAfter()) {
		return replica.Identity{}
	}
	return replica.Identity{Chain: s.Raw(), Signer: s.Key}
}

// verifyAuthor checks that a chain was a member's when the member signed entries of the shared state.
func (m *Membership) verifyAuthor(raw [][]byte, author mesh.NodeID, oldest, newest time.Time) error {
	chain, err := trust.ParseChain(raw)
	if err != nil {
		return err
	}
	id, err := m.Log().Author(chain, oldest, newest)
	if err == nil && id != author {
		err = fmt.Errorf("the SVID is of %s, not of %s", id, author)
	}
	return err
}

// authorEnds returns until when the SVID of a chain is current. What is no chain has ended.
func (m *Membership) authorEnds(raw [][]byte) time.Time {
	chain, err := trust.ParseChain(raw)
	if err != nil {
		return time.Unix(0, 0)
	}
	return m.Log().Ends(chain)
}
