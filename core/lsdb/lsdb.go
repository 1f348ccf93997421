// Package lsdb is a node's copy of the topology: what every node says of itself (its record) and of its links (its
// link-state announcement, LSA), each signed by its author and flooded to all. It is pure: signed bytes and the time
// go in, jobs for the signature check, messages to flood and the graph of links come out.
//
//	Offer ──► Drop / Have
//	  │ └───► Park: the record is missing, ask the sender ──┐
//	  ▼                                                     │ when the record is in
//	Verify: VerifyJob ──► (host checks chain, signature) ──► Verified ──► stored, Outcome.Flood
//
// The order of checks is from cheap to dear: size, format, own origin, sequence, clock, lifetime, credit of the
// neighbour, rate of the origin, hash, signature. So nobody can make a node compute signatures faster than the rates
// allow, nobody's bytes cost another node its place, and nobody can say anything about another node at all.
//
// All nodes that saw the same set of announcements hold the same database: of one origin the newest LSA counts, by
// (boot, incarnation, sequence), and the four newest records, by sequence; everything ends at an absolute time.
package lsdb

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Kind says what a signed object is.
type Kind uint8

// The kinds.
const (
	KindRecord Kind = 1 + iota
	KindLSA
)

// Bounds of what is kept.
const (
	maxOrigins = 20_000
	maxRecords = 4    // of one origin: SVIDs overlap when they are rotated
	maxParked  = 4096 // LSAs that wait for a record, and their bytes
	maxPending = 8192 // objects out for verification
	maxRefused = 1024 // hashes of what did not verify, twice at most

	maxParkedBytes = 16 << 20
)

// Times.
const (
	Lifetime    = 30 * time.Minute // of our own LSAs; renewed at a third
	maxLifetime = time.Hour        // of anybody's; labels are kept unused for longer than this
	MaxAhead    = time.Minute      // how far an author's clock may be ahead of ours
	patience    = 30 * time.Second // what waits for verification or for a record is forgotten after this
)

// Config is what a node knows of itself.
type Config struct {
	Incarnation  uint64 // random, made once with an empty state directory
	Boot         uint64 // milliseconds since 1970 at process start; orders the lives of a node
	Capabilities uint32
	MaxOrigins   int     // 0 = 20,000
	Shared       *Shared // with other databases of this goroutine; nil = nothing
}

// DB is the database. Invariants: an origin has at least one record; an LSA's record is one of its origin's; order
// is sorted and names exactly the keys of origins; nothing in it was accepted without Verified or SetSelf.
type DB struct {
	self        mesh.NodeID
	cfg         Config
	origins     map[mesh.NodeID]*origin
	numbered    []*origin // the same by number, if something is shared
	order       []mesh.NodeID
	owner       map[[32]byte]mesh.NodeID // of every record, by its SVID
	endings     endings
	firstEnd    time.Time                // of the first of them; zero: there is none
	parked      map[mesh.NodeID][]parked // at most one of each neighbour
	parkedCount int
	parkedBytes int
	unparked    time.Time // when all that are parked were looked at
	pending     pending
	refused     Memo[[32]byte, time.Time] // what did not verify, by its hash, and when
	senders     senders
	own         own
	counts      [len(named)]uint64

	version   uint64
	members   uint64 // changes with order
	holds     Sum    // of all records and LSAs
	ways      Sum    // of what the graph is made of
	edges     []mesh.Edge
	edgesOf   uint64 // the version that edges were made from; 0 = never
	stirred   stirred
	digest    [32]byte
	digestOld bool
}

// origin is everything that is held of one node.
type origin struct {
	id      mesh.NodeID
	records []*record  // ascending by sequence, then SVID
	first   [1]*record // memory of records, and of the first of them, for there is mostly one
	one     record
	lsa     *announcement // held, or nil
	held    announcement
	rate    bucket
	ends    time.Time // when something of it may end, if it is in endings; else zero
	place   int       // in endings
}

type record struct {
	*Object
	notAfter time.Time
}

type announcement struct {
	*Object
	expires time.Time
}

// New returns the empty database of a node.
func New(self mesh.NodeID, cfg Config) *DB {
	if cfg.MaxOrigins <= 0 {
		cfg.MaxOrigins = maxOrigins
	}
	return &DB{
		self: self, cfg: cfg,
		origins:   map[mesh.NodeID]*origin{},
		owner:     map[[32]byte]mesh.NodeID{},
		parked:    map[mesh.NodeID][]parked{},
		refused:   newRefused(),
		pending:   newPending(),
		senders:   newSenders(),
		own:       newOwn(cfg.Boot),
		version:   1,
		digestOld: true,
		stirred:   stirred{all: true},
	}
}

// Version changes whenever Edges or Nodes may have: not when an announcement is merely renewed.
func (db *DB) Version() uint64 { return db.version }

// Members changes whenever the set of nodes does.
func (db *DB) Members() uint64 { return db.members }

// Len returns the number of nodes.
func (db *DB) Len() int { return len(db.order) }

// IDs returns all nodes, ascending. Callers must not change it; it is good until the database changes.
func (db *DB) IDs() []mesh.NodeID { return db.order }

// Holds stands for everything in the database, and Ways for what paths are made of: equal sums, equal graphs.
func (db *DB) Holds() Sum { return db.holds }

// Ways stands for the edges, but for their suspicion.
func (db *DB) Ways() Sum { return db.ways }

// stamp is the place of an LSA among those of its origin. An incarnation is random, so between two of them only the
// boot time can say which is the newer.
type stamp struct{ boot, incarnation, seq uint64 }

func stampOf(l *wire.LSA) stamp { return stamp{l.Boot, l.Incarnation, l.Seq} }

func (s stamp) newer(o stamp) bool {
	if s.boot != o.boot {
		return s.boot > o.boot
	}
	if s.incarnation != o.incarnation {
		return s.incarnation > o.incarnation
	}
	return s.seq > o.seq
}

func (o *origin) record(svid [32]byte) *record {
	for _, r := range o.records {
		if r.svid == svid {
			return r
		}
	}
	return nil
}

// admit returns the origin n, making it if there is room.
func (db *DB) admit(n mesh.NodeID) *origin {
	if o := db.origins[n]; o != nil {
		return o
	}
	if len(db.origins) >= db.cfg.MaxOrigins && n != db.self {
		return nil
	}
	o := &origin{id: n, rate: bucket{tokens: rateBurst}}
	o.records = o.first[:0]
	db.origins[n] = o
	db.setNumbered(n, o)
	i, _ := slices.BinarySearchFunc(db.order, n, mesh.NodeID.Compare)
	db.order = slices.Insert(db.order, i, n)
	db.members++
	return o
}

func (db *DB) forget(o *origin) {
	delete(db.origins, o.id)
	db.setNumbered(o.id, nil)
	db.unwatch(o)
	db.members++
	if i, ok := slices.BinarySearchFunc(db.order, o.id, mesh.NodeID.Compare); ok {
		db.order = slices.Delete(db.order, i, i+1)
	}
}

func (db *DB) setNumbered(n mesh.NodeID, o *origin) {
	k := int(db.cfg.Shared.numberOf(n))
	if k == 0 {
		return
	}
	if k >= len(db.numbered) {
		db.numbered = slices.Grow(db.numbered, k+1-len(db.numbered))[:k+1]
	}
	db.numbered[k] = o
}

// originOf returns what is held of the origin of an object, nil if that is nothing.
func (db *DB) originOf(x *Object) *origin {
	switch {
	case x.number == 0:
		return db.origins[x.Origin]
	case int(x.number) < len(db.numbered):
		return db.numbered[x.number]
	}
	return nil
}

// changed marks the database changed; topology says that Edges or Nodes may be other now.
func (db *DB) changed(topology bool) {
	db.digestOld = true
	if topology {
		db.version++
	}
}

// Remove drops all that is held of a node, as when it was banned. The host must refuse its signatures from then
// on, or the next neighbour brings it back.
func (db *DB) Remove(n mesh.NodeID) {
	db.unparkAll(n)
	o := db.origins[n]
	if o == nil {
		return
	}
	for _, r := range slices.Clone(o.records) {
		db.dropRecord(o, r)
	}
	db.forget(o)
}
