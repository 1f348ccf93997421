package replica

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Bounds of chains, and how long one is waited for.
const (
	maxChains   = 64 << 10
	maxOffers   = 64 // of one neighbour, that nothing has proven yet
	maxAsk      = 4 << 10
	askOthers   = 2 * time.Second // the neighbour that brought the piece is to have it
	giveUpChain = 6 * time.Second

	chainOverhead = 150 // bytes that are kept about one
)

// chains is what proves who wrote: the chains of all SVIDs that held entries name, and the pieces that wait for one. A
// neighbour sends a chain before the first piece that needs it, so waiting is rare: it means that the chain was forgotten here.
type chains struct {
	kept  map[[32]byte][]byte // wire.AppendChain; on disk or on its way there
	bytes int                 // of these, with what is kept about them
	waits map[[32]byte]*wait
}

// wait is pieces whose chain is missing.
type wait struct {
	jobs  []*crdt.Job
	since time.Time
	broad bool // all neighbours were asked
}

// offers is the chains that a neighbour sent and nothing has proven yet, the oldest first.
type offers []offer

type offer struct {
	svid [32]byte
	raw  []byte
}

func newChains() chains {
	return chains{kept: map[[32]byte][]byte{}, waits: map[[32]byte]*wait{}}
}

func chainKey(svid [32]byte) []byte { return append([]byte{'C'}, svid[:]...) }

// keep notes that a chain is needed and returns what is to be written for that.
func (c *chains) keep(raw []byte, svid [32]byte) []store.Pair {
	if c.kept[svid] != nil {
		return nil
	}
	c.put(raw, svid)
	return []store.Pair{{Key: chainKey(svid), Value: raw}}
}

func (c *chains) put(raw []byte, svid [32]byte) {
	c.kept[svid] = raw
	c.bytes += len(raw) + chainOverhead
}

// forget removes all chains but those that are needed.
func (c *chains) forget(needed [][32]byte) (pairs []store.Pair) {
	for _, h := range slices.SortedFunc(maps.Keys(c.kept), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		if _, ok := slices.BinarySearchFunc(needed, h, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }); !ok {
			c.bytes -= len(c.kept[h]) + chainOverhead
			delete(c.kept, h)
			pairs = append(pairs, store.Pair{Key: chainKey(h)})
		}
	}
	return pairs
}

// awaits reports whether a piece of this neighbour waits for its chain.
func (c *chains) awaits(id mesh.NodeID) bool {
	for _, w := range c.waits {
		if slices.ContainsFunc(w.jobs, func(j *crdt.Job) bool { return j.From == id }) {
			return true
		}
	}
	return false
}

// due returns when expire has something to do; zero: nothing waits.
func (c *chains) due() (t time.Time) {
	for _, w := range c.waits {
		at := w.since.Add(askOthers)
		if w.broad {
			at = w.since.Add(giveUpChain)
		}
		if t.IsZero() || at.Before(t) {
			t = at
		}
	}
	return t
}

// check has a piece checked, as soon as its chain is there.
func (r *Replica) check(now time.Time, job *crdt.Job) {
	s := r.sessions[job.From]
	chain := r.chains.kept[job.SVID]
	if chain == nil && s != nil {
		chain = s.offers.get(job.SVID)
	}
	if chain != nil {
		r.toCheck(now, task{job: job, chain: chain})
		return
	}
	w := r.chains.waits[job.SVID]
	if w == nil {
		w = &wait{since: now}
		r.chains.waits[job.SVID] = w
	}
	w.jobs = append(w.jobs, job)
	if s != nil {
		s.wants(job.SVID)
	}
}

// enough returns the beginning of a chain that proves a batch by itself. What a relay has put behind it proves nothing: it is neither
// kept nor passed on.
func (p *proofs) enough(job *crdt.Job, raw []byte) []byte {
	chain, err := wire.ParseChain(raw)
	if err != nil {
		return raw
	}
	for n := 1; n < len(chain); n++ {
		short := wire.AppendChain(nil, chain[:n])
		if _, err := p.key(short, job.Author, job.Oldest, job.Newest); err == nil {
			return short
		}
	}
	return raw
}

func (o offers) get(svid [32]byte) []byte {
	for i := range o {
		if o[i].svid == svid {
			return o[i].raw
		}
	}
	return nil
}

func (s *session) wants(svid [32]byte) {
	if len(s.ask) < maxAsk && !slices.Contains(s.ask, svid) {
		s.ask = append(s.ask, svid)
	}
}

// offered takes a chain that a neighbour sent. Whether it is one, and whose, is found out with the first piece that names it.
func (r *Replica) offered(now time.Time, s *session, chain [][]byte) {
	svid := wire.ChainHash(chain)
	if r.chains.kept[svid] != nil {
		return
	}
	raw := wire.AppendChain(nil, chain)
	s.offers = slices.DeleteFunc(s.offers, func(o offer) bool { return o.svid == svid })
	if len(s.offers) >= maxOffers {
		s.offers = slices.Delete(s.offers, 0, 1)
	}
	s.offers = append(s.offers, offer{svid, raw})
	w := r.chains.waits[svid]
	if w == nil {
		return
	}
	w.jobs = slices.DeleteFunc(w.jobs, func(j *crdt.Job) bool {
		if j.From != s.id && !w.broad {
			return false
		}
		r.toCheck(now, task{job: j, chain: raw})
		return true
	})
	if len(w.jobs) == 0 {
		delete(r.chains.waits, svid)
	}
}

// expire asks others for chains that did not come, and gives up what waits in vain.
func (r *Replica) expire(now time.Time) {
	for svid, w := range r.chains.waits {
		if !w.broad && !now.Before(w.since.Add(askOthers)) {
			w.broad = true
			for _, s := range r.sessions {
				s.wants(svid)
			}
		}
		if now.Before(w.since.Add(giveUpChain)) {
			continue
		}
		delete(r.chains.waits, svid)
		for _, j := range w.jobs {
			r.apply(now, r.sync.Verified(now, j, fmt.Errorf("%w: nobody sends the one with the hash %x", crdt.ErrUnproven, svid[:8])))
		}
	}
}

// owe notes that a neighbour asks for a chain.
func (r *Replica) owe(s *session, svid [32]byte) {
	if r.chains.kept[svid] != nil && len(s.give) < maxAsk && !slices.Contains(s.give, svid) {
		s.give = append(s.give, svid)
	}
}

// chain appends a chain to what a neighbour gets.
func (r *Replica) chain(buf []byte, s *session, svid [32]byte) []byte {
	chain, err := wire.ParseChain(r.chains.kept[svid])
	if err != nil {
		return buf // it will ask
	}
	if len(s.sent) >= maxSent {
		clear(s.sent)
	}
	s.sent[svid] = true
	return r.encode(buf, wire.StateChain{Chain: chain})
}
