package replica

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	maxProofs   = 4 << 10
	proofHolds  = time.Minute // then the domain may have another view of an authority
	proofAround = time.Minute // what is checked beyond the span of one piece, for the next
	badHolds    = 10 * time.Second
)

// errSignature says that a batch was not signed by the key of the SVID that it names.
var errSignature = errors.New("the signature does not match the batch")

// proofs checks who signed what, and remembers for which chains the domain vouched. It is safe for concurrent use.
type proofs struct {
	cfg   *Config
	mu    *sync.Mutex
	known map[[32]byte]proof // by hash of the whole chain
	bad   map[badChain]notProven
}

// badChain is a chain that was not an author's from oldest to newest. To look again at once would be as dear, for nothing.
type badChain struct {
	chain          [32]byte
	author         mesh.NodeID
	oldest, newest time.Time
}

type notProven struct {
	err   error
	until time.Time
}

// proof is that a chain was valid for an author all the time from oldest to newest.
type proof struct {
	key            *ecdsa.PublicKey
	author         mesh.NodeID
	oldest, newest time.Time
	ends           time.Time // crdt.Job.Ends
	until          time.Time
}

func newProofs(cfg *Config) proofs {
	return proofs{cfg, new(sync.Mutex), map[[32]byte]proof{}, map[badChain]notProven{}}
}

// key returns the key of a chain that was valid for an author from oldest to newest, and until when it is; an error wraps
// crdt.ErrUnproven.
func (p *proofs) key(raw []byte, author mesh.NodeID, oldest, newest time.Time) (*ecdsa.PublicKey, time.Time, error) {
	h := sha256.Sum256(raw)
	now := p.cfg.Now()
	p.mu.Lock()
	old, ok := p.known[h]
	bad := p.bad[badChain{h, author, oldest, newest}]
	p.mu.Unlock()
	if now.Before(bad.until) {
		return nil, time.Time{}, bad.err
	}
	ok = ok && old.author == author && now.Before(old.until)
	if ok && !oldest.Before(old.oldest) && !newest.After(old.newest) {
		return old.key, old.ends, nil
	}
	fresh := proof{author: author, oldest: oldest, newest: newest, until: now.Add(proofHolds)}
	if err := p.look(raw, &fresh); err != nil {
		err = fmt.Errorf("%w: %w", crdt.ErrUnproven, err)
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.bad) >= maxProofs {
			clear(p.bad)
		}
		p.bad[badChain{h, author, oldest, newest}] = notProven{err, now.Add(badHolds)}
		return nil, time.Time{}, err
	}
	if ok { // the time in which a chain is valid has no gaps
		fresh.until = old.until
		fresh.oldest, fresh.newest = earlier(old.oldest, fresh.oldest), later(old.newest, fresh.newest)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxProofs {
		clear(p.known)
	}
	p.known[h] = fresh
	return fresh.key, fresh.ends, nil
}

// look has the domain judge a chain for the time of a proof, and for a while around it if it was valid then, too.
func (p *proofs) look(raw []byte, of *proof) error {
	chain, err := wire.ParseChain(raw)
	if err != nil {
		return err
	}
	if of.key, err = leafKey(chain[0]); err != nil {
		return err
	}
	if p.cfg.Ends != nil {
		of.ends = p.cfg.Ends(chain)
	}
	if a, b := of.oldest.Add(-proofAround), of.newest.Add(proofAround); p.cfg.Verify(chain, of.author, a, b) == nil {
		of.oldest, of.newest = a, b
		return nil
	}
	return p.cfg.Verify(chain, of.author, of.oldest, of.newest)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// leafKey returns the key of a certificate if batches may be signed with it.
func leafKey(der []byte) (*ecdsa.PublicKey, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("its key is of the kind %T: batches are signed by ECDSA with P-256 and SHA-256", leaf.PublicKey)
	}
	return key, nil
}

// verify checks that a batch was signed by its author, with an SVID that was valid when its entries were made.
func (p *proofs) verify(job *crdt.Job, chain []byte) error {
	key, ends, err := p.key(chain, job.Author, job.Oldest, job.Newest)
	if err != nil {
		return fmt.Errorf("batch of %s: %w", job.Author, err)
	}
	if h := sha256.Sum256(job.Signed); !ecdsa.VerifyASN1(key, h[:], job.Sig) {
		return fmt.Errorf("batch of %s: %w", job.Author, errSignature)
	}
	job.Ends = ends
	return nil
}

// task is a batch to be checked.
type task struct {
	job   *crdt.Job
	chain []byte
	admit bool                              // also if its SVID is long over and no checkpoint covers it
	done  func(out crdt.Outcome, err error) // nil: nobody else wants to know
}

// checkers returns how many batches are checked at once: the loop needs a core of its own.
func checkers() int { return min(max(runtime.GOMAXPROCS(0)-1, 1), 4) }

// checker checks batches until the loop ends.
func (r *Replica) checker() {
	for t := range r.tasks {
		err := r.proofs.verify(t.job, t.chain)
		if err == nil {
			t.chain, t.job.Ends = r.proofs.enough(t.job, t.chain)
		}
		r.box.post(func(now time.Time) { r.checked(now, t, err) })
	}
}

// queue is batches to be checked, of each neighbour in order, of all in turn: nobody waits for what another one sends. What has
// waited too long is taken out, so that it holds no more of a neighbour than core/crdt lets be out.
type queue struct {
	of   map[mesh.NodeID][]task
	turn []mesh.NodeID // who has some, the next one first
}

// errLate says that a piece was not checked in time.
var errLate = fmt.Errorf("%w in time: there is too much to check", crdt.ErrUnproven)

func (r *Replica) toCheck(now time.Time, t task) {
	q, from := &r.checks, t.job.From
	for len(q.of[from]) > 0 && !now.Before(q.of[from][0].job.Until) {
		late := q.of[from][0]
		q.pop(from)
		r.checked(now, late, errLate)
	}
	if len(q.of[from]) == 0 {
		q.turn = append(q.turn, from)
	}
	if q.of == nil {
		q.of = map[mesh.NodeID][]task{}
	}
	q.of[from] = append(q.of[from], t)
}

// pop takes out the first of a neighbour that has some.
func (q *queue) pop(from mesh.NodeID) {
	w := q.of[from]
	q.turn = slices.DeleteFunc(q.turn, func(n mesh.NodeID) bool { return n == from })
	if len(w) == 1 {
		delete(q.of, from)
		return
	}
	q.of[from] = slices.Delete(w, 0, 1)
	q.turn = append(q.turn, from)
}

// handOut gives checkers what they have room for.
func (r *Replica) handOut(now time.Time) {
	for len(r.checks.turn) > 0 {
		from := r.checks.turn[0]
		t := r.checks.of[from][0]
		if now.Before(t.job.Until) {
			select {
			case r.tasks <- t:
			default:
				return
			}
			r.checks.pop(from)
			continue
		}
		r.checks.pop(from)
		r.checked(now, t, errLate)
	}
}

// checked merges a batch that was checked. Its chain is kept with it, also if its entries must wait for their time.
func (r *Replica) checked(now time.Time, t task, err error) {
	if err == nil && r.chains.kept[t.job.SVID] == nil && len(r.chains.kept) >= maxChains {
		err = fmt.Errorf("%w: %d chains are kept already", crdt.ErrUnproven, maxChains)
	}
	if t.admit {
		t.job.Ends = time.Time{}
	}
	out := r.sync.Verified(now, t.job, err)
	if err == nil {
		r.told.count("verified_batches")
		var proof []store.Pair
		if r.state.Needs(t.job.SVID) { // or none of it was taken
			proof = r.chains.keep(t.chain, t.job.SVID)
		}
		r.apply(now, out, proof...)
	} else {
		r.cfg.Log.Debug("shared state: a batch is refused", "of", t.job.From, "err", err)
	}
	if t.done != nil {
		t.done(out, err)
	}
}
