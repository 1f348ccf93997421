package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
)

var (
	mShOpen    = gauge("shared_open", "1 if the replica of the shared state is open, else 0.")
	mShSettled = gauge("shared_settled", "1 if this node may write: it has learnt what others have, or began the domain.")
	mShEntries = gauge("shared_entries", "Entries of the shared state, deletions that are remembered among them.")
	mShBytes   = gauge("shared_bytes", "Memory that counts against the limit of the shared state.")
	mShMeet    = gauge("shared_neighbours", "Neighbours that it is exchanged with; agreeing: those that hold the very same.", "state")
	mShHeld    = gauge("shared_held", "Entries from the future that wait for their time.")
	mShAside   = gauge("shared_aside", "Entries that are older than deletions are remembered, set aside for an operator.")
	mShUncover = gauge("shared_uncovered", "Entries of SVIDs that are long over, not taken while no checkpoint covers them.")
	mShWrites  = counter("shared_writes", "Writes of this node that were acknowledged.")
	mShWait    = counter("shared_write_seconds", "Time that these took, which is most of all the disk's.")
	mShRefused = counter("shared_refused", "Entries of others that were not taken, by reason.", "reason")
	mShEvents  = counter("shared_events", "What else the shared state counts.", "event")
	mShStream  = counter("shared_stream_bytes", "Bytes on the streams of the shared state, without what QUIC adds.", "direction")

	mConfChanges = counter("config_changes", "Values of the configuration that changed while the node ran.")
	mConfIgnored = counter("config_ignored", "Changes of the shared configuration by members that are no authorities, which count nowhere.")
)

// refusals are the counters of a replica that count what was not taken.
var refusals = strings.Fields("malformed forbidden future old over full quota busy shunned refused uncovered known_bad equivocal twin")

// levels are the counters of a replica that are none: how many there are now.
var levels = strings.Fields("chains waiting writes")

// sharedSnapshot is the shared state at one moment.
type sharedSnapshot struct {
	open           bool
	info           api.StateInfo
	counts         map[string]uint64
	writes         uint64
	took           time.Duration
	sent, received uint64

	configChanges, configIgnored uint64
}

func (d *Daemon) snapShared(ctx context.Context) (s sharedSnapshot) {
	for _, t := range d.links {
		sent, received := t.StateBytes()
		s.sent += sent
		s.received += received
	}
	s.configChanges, s.configIgnored = d.tuning.changes.Load(), d.tuning.ignored.Load()
	s.writes, s.took = d.shared.written.Load(), time.Duration(d.shared.took.Load())
	r, err := d.shared.use()
	if err != nil {
		return s
	}
	if s.info, err = r.State(ctx); err != nil {
		return s
	}
	s.counts, err = r.Counters(ctx)
	s.open = err == nil
	return s
}

func (s *sharedSnapshot) emit(e emitter) {
	e(mShOpen, flag(s.open))
	e(mShWrites, float64(s.writes))
	e(mShWait, s.took.Seconds())
	e(mConfChanges, float64(s.configChanges))
	e(mConfIgnored, float64(s.configIgnored))
	e(mShStream, float64(s.sent), "out")
	e(mShStream, float64(s.received), "in")
	if !s.open {
		return
	}
	e(mShSettled, flag(s.info.Settled))
	e(mShEntries, float64(s.info.Entries))
	e(mShBytes, float64(s.info.Bytes))
	e(mShMeet, float64(s.info.Agreeing), "agreeing")
	e(mShMeet, float64(s.info.Neighbours-s.info.Agreeing), "differing")
	e(mShHeld, float64(s.info.Held))
	e(mShAside, float64(s.info.Aside))
	e(mShUncover, float64(s.info.Uncovered))
	for name, n := range s.counts {
		switch {
		case slices.Contains(refusals, name):
			e(mShRefused, float64(n), name)
		case !slices.Contains(levels, name):
			e(mShEvents, float64(n), name)
		}
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
