// Package crdt is the state that all nodes share and each may write, also while the mesh is cut in two: registers, counters,
// sets and multi-value keys, which agree again whatever happened meanwhile. It is pure: messages, the results of signature
// checks and the time go in; what is to be written, signed, checked and sent comes out.
//
//	ops ──► Begin ─► (host signs) ─► Seal ─► (host writes) ─► Commit ──┐
//	                                                                   ├──► State ──► Outcome: to disk; changed keys
//	neighbour ─► Sync.Handle ─► Job ─► (host checks) ─► Sync.Verified ─┘      │
//	neighbour ◄─ Sync.Pull ◄──── what is new; what it lacks; what it asks ────┘
//
// The state is a delta-state CRDT (Almeida et al., J. Parallel Distrib. Comput. 111, 2018) of the plainest kind. Every write
// is an entry with a slot, and of all entries with one slot the newest counts, in an order that all replicas share (newer).
// A map from slots to entries with that merge is a join semilattice whatever the entries say: merging commutes, associates
// and may be repeated, also where authors lie. What entries mean is settled when they are read:
//
//	register     one slot a key; its value
//	counter      a slot for each incarnation of each author, with all that it ever added and took; their sum
//	set          the same for each element; in, if an add stands that no removal or later add covers
//	multi-value  as a set with one element; the values that no later write covers
//
// An entry covers those that its author had seen, by their dots, and only such as are older by the clock that they share:
// nobody can cover what is yet to be written. Deletions are remembered for Life. Whatever appears from before, in a replica
// that was there all the time, is kept aside: it may have been deleted and forgotten. So a replica that was silent for longer
// (Silent) agrees with the others again when it begins as an empty one (Rejoin), or somebody settles those keys.
//
// A replica that lost its state has another incarnation, so that its counters and dots never stand for the old ones; it
// writes nothing before it has learnt what others have, and its clock is then ahead of all of that.
package crdt

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Life is how long deletions are remembered.
const Life = 30 * 24 * time.Hour

// Defaults and bounds.
const (
	maxBytes       = 1 << 30
	maxAuthorBytes = maxBytes / 4
	maxVitalBytes  = 1 << 20
	vitalShare     = 16 // the part of MaxBytes that vital keys alone may take
	maxAhead       = time.Minute
	maxHeld        = 1 << 10 // entries of the future
	maxHeldBytes   = 16 << 20
	maxAside       = 1 << 10 // entries kept aside
	maxAsideBytes  = 16 << 20
	maxPending     = 4 << 10 // pieces out for verification
	maxPendingByte = 64 << 20
	maxRefused     = 1 << 10
	maxUnwanted    = 16 << 10
	grudge         = 10 * time.Minute // what was refused is not looked at again
	maxBatchBytes  = 256 << 10        // of several entries that are signed together
)

// Write is what a policy is asked about.
type Write struct {
	wire.Dot
	Kind    wire.EntryKind
	Gone    bool
	Time    mesh.Hybrid
	Key     []byte
	Element []byte
}

// Config is what a replica knows of itself.
type Config struct {
	Self        mesh.NodeID
	Incarnation uint64            // random, made once with an empty state directory
	Founder     bool              // there is nobody to learn from before the first write
	Floor       mesh.Hybrid       // a time that is over for certain, for a node whose clock may have been lost; 0 = none
	May         func(Write) error // who may write what: by what the entry says, not by when it is asked; nil = all may all
	// Covered says whether a batch counts although the SVID that signed it is over since Grace; nil: all do. Proves says whether an
	// entry that was signed alone does, for what it says; nil: none does.
	Covered        func(batch [32]byte) bool
	Proves         func(w Write, value []byte) bool
	MaxBytes       int                   // of all that is held, with what is kept about it; 0 = 1 GiB
	MaxAuthorBytes int                   // of what one author wrote; 0 = a quarter of that
	Vital          func(key []byte) bool // whether the mesh cannot go on without a key: for these a sixteenth of MaxBytes is kept free; nil = there are none
	MaxVitalBytes  int                   // of such that one author wrote, besides MaxAuthorBytes of other keys; 0 = 1 MiB
	MaxAhead       time.Duration         // how far an author's clock may be ahead of ours; 0 = a minute
}

// State is one replica. Invariants: tree, index and the live items of batches hold the same items; bytes is the sum of
// their sizes and the batches', used[a] that of what a wrote, and usedVital[a] that of its items with vital keys; nothing in it was accepted without verified, commit or Restore.
type State struct {
	cfg       Config
	clock     Clock
	next      uint64    // of our entries
	opened    time.Time // when New or Restore was called
	ahead     bool      // all neighbours say that the clock of this node is
	born      time.Time // when this replica began
	synced    time.Time // when it last agreed with another; zero = never
	settled   bool      // it may write
	tree      tree
	index     index
	batches   map[[32]byte]*batch
	lives     map[life][]*batch // the same, ascending by First
	order     []life            // of these, ascending
	svids     map[[32]byte]int  // how many of them name it
	used      map[mesh.NodeID]int
	bytes     int
	usedVital map[mesh.NodeID]int // of used, with vital keys
	vital     int                 // the sum of these
	beside    int                 // see Beside
	draft     *Draft
	held      shelf // until their time comes
	aside     shelf // for an operator
	pending   pending
	uncovered uncovered
	sweep     sweep
	skew      Skew
	pairs     []Pair // to be written
	counts    [len(named)]uint64
}

// New returns an empty replica.
func New(now time.Time, cfg Config) *State {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = maxBytes
	}
	if cfg.MaxAuthorBytes <= 0 {
		cfg.MaxAuthorBytes = cfg.MaxBytes / 4
	}
	if cfg.MaxVitalBytes <= 0 {
		cfg.MaxVitalBytes = maxVitalBytes
	}
	if cfg.MaxAhead <= 0 {
		cfg.MaxAhead = maxAhead
	}
	s := &State{
		cfg: cfg, clock: NewClock(cfg.Floor), next: 1, opened: now, born: now, settled: cfg.Founder,
		held: newShelf(maxHeld, maxHeldBytes), aside: newShelf(maxAside, maxAsideBytes), pending: newPending(),
		uncovered: newUncovered(),
	}
	s.clear()
	return s
}

func (s *State) clear() {
	s.tree, s.index, s.sweep = tree{}, index{}, sweep{}
	s.batches, s.lives, s.order = map[[32]byte]*batch{}, map[life][]*batch{}, nil
	s.used, s.bytes = map[mesh.NodeID]int{}, 0
	s.usedVital, s.vital = map[mesh.NodeID]int{}, 0
	s.svids = map[[32]byte]int{}
}

// Digest stands for the whole state: replicas with the same one hold the same entries. Count is how many.
func (s *State) Digest() wire.StateRoot {
	return wire.StateRoot{Digest: s.tree.root.sum(), Count: uint64(s.tree.root.count)}
}

// Bytes returns the memory that is counted against Config.MaxBytes.
func (s *State) Bytes() int { return s.bytes + s.beside }

// Beside tells how many bytes the host keeps for what is held here. They are counted against Config.MaxBytes, too.
func (s *State) Beside(n int) { s.beside = n }

// Held returns how many entries wait for their time.
func (s *State) Held() int { return len(s.held.all) }

// Kept returns how many entries are kept aside.
func (s *State) Kept() int { return len(s.aside.all) }

// SVIDs returns the hashes of all leaf certificates that something here, or a draft, needs as its proof, ascending.
func (s *State) SVIDs() [][32]byte {
	all := slices.Collect(maps.Keys(s.svids))
	if s.draft != nil && s.draft.b != nil {
		all = append(all, s.draft.b.SVID)
	}
	for _, on := range [...]*shelf{&s.held, &s.aside} {
		for i := range on.all {
			all = append(all, on.all[i].it.batch.SVID)
		}
	}
	slices.SortFunc(all, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(all)
}

// Needs reports whether anything here but a draft needs an SVID as its proof.
func (s *State) Needs(svid [32]byte) bool {
	if s.svids[svid] > 0 {
		return true
	}
	for _, on := range [...]*shelf{&s.held, &s.aside} {
		for i := range on.all {
			if on.all[i].it.batch.SVID == svid {
				return true
			}
		}
	}
	return false
}

// Skew is how far the clock of an author was ahead of ours when an entry of it came: the worst since the last report.
type Skew struct {
	Author mesh.NodeID
	Ahead  time.Duration
}

// TakeSkew returns the worst skew since it was asked for last; without an author there was none.
func (s *State) TakeSkew() Skew {
	k := s.skew
	s.skew = Skew{}
	return k
}

// Settled reports whether this replica may write: it founded the domain, or has learnt what one had that was settled.
func (s *State) Settled() bool { return s.settled }

// Found settles a replica that was the first of its domain when it was last on disk.
func (s *State) Found() { s.settled = true }

// agreed notes that this replica has what a neighbour has. One that is not settled settles nobody: both may have lost the same.
func (s *State) agreed(now time.Time, settled bool) {
	if !s.settled && !settled {
		return
	}
	if now.Sub(s.synced).Abs() >= time.Hour || !s.settled {
		s.settled, s.synced = true, now
		s.saveMeta()
	}
}

// Silent reports whether this replica last agreed with another longer than Life ago. If the others went on without it, it is to
// Rejoin; the last one of a domain, or one half of it, is not: that is for an operator to know.
func (s *State) Silent(now time.Time) bool { return !s.synced.IsZero() && now.Sub(s.synced) > Life }
