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
	kept   map[[32]byte][]byte // wire.AppendChain; on disk or on its way there
	bytes  int                 // of these, with what is kept about them
	waits  map[[32]byte]*wait
	from   map[mesh.NodeID]int // how many jobs in waits are of whom
	narrow []*wait             // for which only who brought a piece was asked, the oldest first; some may be over
	broad  []*wait             // for which all were asked
}

// wait is pieces whose chain is missing.
type wait struct {
	svid  [32]byte
	jobs  []*crdt.Job // none: it is over
	since time.Time
	broad bool // all neighbours were asked
}

// hashes is a list without doubles, the first to be taken first.
type hashes struct {
	list [][32]byte
	in   map[[32]byte]bool
}

func (l *hashes) add(h [32]byte, room int) {
	if len(l.list) >= room || l.in[h] {
		return
	}
	if l.in == nil {
		l.in = map[[32]byte]bool{}
	}
	l.in[h] = true
	l.list = append(l.list, h)
}

// take removes and returns the first n, or as many as there are.
func (l *hashes) take(n int) [][32]byte {
	n = min(n, len(l.list))
	some := l.list[:n:n]
	for _, h := range some {
		delete(l.in, h)
	}
	if l.list = l.list[n:]; len(l.list) == 0 {
		l.list = nil
	}
	return some
}

// offers is the chains that a neighbour sent and nothing has proven yet, the oldest first.
type offers []offer

type offer struct {
	svid [32]byte
	raw  []byte
}

func newChains() chains {
	return chains{kept: map[[32]byte][]byte{}, waits: map[[32]byte]*wait{}, from: map[mesh.NodeID]int{}}
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
func (c *chains) awaits(id mesh.NodeID) bool { return c.from[id] > 0 }

// await has a piece wait for its chain.
func (c *chains) await(now time.Time, job *crdt.Job) {
	w := c.waits[job.SVID]
	if w == nil {
		w = &wait{svid: job.SVID, since: now}
		c.waits[w.svid] = w
		c.narrow = append(c.narrow, w)
	}
	w.jobs = append(w.jobs, job)
	c.from[job.From]++
}

// release takes out the jobs of a wait that are let go, and ends the wait when it has none.
func (c *chains) release(w *wait, let func(*crdt.Job) bool) (jobs []*crdt.Job) {
	w.jobs = slices.DeleteFunc(w.jobs, func(j *crdt.Job) bool {
		if !let(j) {
			return false
		}
		jobs = append(jobs, j)
		if c.from[j.From]--; c.from[j.From] == 0 {
			delete(c.from, j.From)
		}
		return true
	})
	if len(w.jobs) == 0 {
		delete(c.waits, w.svid)
	}
	return jobs
}

// due returns when expire has something to do; zero: nothing waits.
func (c *chains) due() (t time.Time) {
	if c.narrow = current(c.narrow); len(c.narrow) > 0 {
		t = c.narrow[0].since.Add(askOthers)
	}
	if c.broad = current(c.broad); len(c.broad) > 0 {
		if at := c.broad[0].since.Add(giveUpChain); t.IsZero() || at.Before(t) {
			t = at
		}
	}
	return t
}

// current drops those from the front that are over.
func current(ws []*wait) []*wait {
	for len(ws) > 0 && len(ws[0].jobs) == 0 {
		ws = ws[1:]
	}
	return ws
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
	r.chains.await(now, job)
	if s != nil {
		s.ask.add(job.SVID, maxAsk)
	}
}

// enough returns the beginning of a chain that proves a batch by itself, and until when that is current. What a relay has put behind it
// proves nothing: it is neither kept nor passed on, nor does it hide which authority the SVID ends with.
func (p *proofs) enough(job *crdt.Job, raw []byte) ([]byte, time.Time) {
	chain, err := wire.ParseChain(raw)
	if err != nil {
		return raw, job.Ends
	}
	for n := 1; n < len(chain); n++ {
		short := wire.AppendChain(nil, chain[:n])
		if _, ends, err := p.key(short, job.Author, job.Oldest, job.Newest); err == nil {
			return short, ends
		}
	}
	return raw, job.Ends
}

func (o offers) get(svid [32]byte) []byte {
	for i := range o {
		if o[i].svid == svid {
			return o[i].raw
		}
	}
	return nil
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
	for _, j := range r.chains.release(w, func(j *crdt.Job) bool { return j.From == s.id || w.broad }) {
		r.toCheck(now, task{job: j, chain: raw})
	}
}

// expire asks others for chains that did not come, and gives up what waits in vain.
func (r *Replica) expire(now time.Time) {
	c := &r.chains
	for c.narrow = current(c.narrow); len(c.narrow) > 0 && !now.Before(c.narrow[0].since.Add(askOthers)); c.narrow = current(c.narrow[1:]) {
		w := c.narrow[0]
		w.broad = true
		c.broad = append(c.broad, w)
		for _, s := range r.sessions {
			s.ask.add(w.svid, maxAsk)
		}
	}
	for c.broad = current(c.broad); len(c.broad) > 0 && !now.Before(c.broad[0].since.Add(giveUpChain)); c.broad = current(c.broad[1:]) {
		w := c.broad[0]
		for _, j := range c.release(w, func(*crdt.Job) bool { return true }) {
			r.apply(now, r.sync.Verified(now, j, fmt.Errorf("%w: nobody sends the one with the hash %x", crdt.ErrUnproven, w.svid[:8])))
		}
	}
}

// owe notes that a neighbour asks for a chain.
func (r *Replica) owe(s *session, svid [32]byte) {
	if r.chains.kept[svid] != nil {
		s.give.add(svid, maxAsk)
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
