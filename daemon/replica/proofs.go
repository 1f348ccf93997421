package replica

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	maxTasks    = 64
	maxProofs   = 4 << 10
	proofHolds  = time.Minute // then the domain may have another view of an authority
	proofAround = time.Minute // what is checked beyond the span of one piece, for the next
)

// errSignature says that a batch was not signed by the key of the SVID that it names.
var errSignature = errors.New("the signature does not match the batch")

// proofs checks who signed what, and remembers for which chains the domain vouched. It is safe for concurrent use.
type proofs struct {
	cfg   *Config
	mu    *sync.Mutex
	known map[[32]byte]proof // by hash of the whole chain
}

// proof is that a chain was valid for an author all the time from oldest to newest.
type proof struct {
	key            *ecdsa.PublicKey
	author         mesh.NodeID
	oldest, newest time.Time
	until          time.Time
}

func newProofs(cfg *Config) proofs {
	return proofs{cfg, new(sync.Mutex), map[[32]byte]proof{}}
}

// key returns the key of a chain that was valid for an author from oldest to newest; an error wraps crdt.ErrUnproven.
func (p *proofs) key(raw []byte, author mesh.NodeID, oldest, newest time.Time) (*ecdsa.PublicKey, error) {
	h := sha256.Sum256(raw)
	now := p.cfg.Now()
	p.mu.Lock()
	old, ok := p.known[h]
	p.mu.Unlock()
	ok = ok && old.author == author && now.Before(old.until)
	if ok && !oldest.Before(old.oldest) && !newest.After(old.newest) {
		return old.key, nil
	}
	chain, err := wire.ParseChain(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", crdt.ErrUnproven, err)
	}
	fresh := proof{author: author, oldest: oldest.Add(-proofAround), newest: newest.Add(proofAround), until: now.Add(proofHolds)}
	if err := p.cfg.Verify(chain, author, fresh.oldest, fresh.newest); err != nil {
		fresh.oldest, fresh.newest = oldest, newest
		if err := p.cfg.Verify(chain, author, oldest, newest); err != nil {
			return nil, fmt.Errorf("%w: %w", crdt.ErrUnproven, err)
		}
	}
	if fresh.key, err = leafKey(chain[0]); err != nil {
		return nil, fmt.Errorf("%w: %w", crdt.ErrUnproven, err)
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
	return fresh.key, nil
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
	key, err := p.key(chain, job.Author, job.Oldest, job.Newest)
	if err != nil {
		return fmt.Errorf("batch of %s: %w", job.Author, err)
	}
	if h := sha256.Sum256(job.Signed); !ecdsa.VerifyASN1(key, h[:], job.Sig) {
		return fmt.Errorf("batch of %s: %w", job.Author, errSignature)
	}
	return nil
}

// task is a batch to be checked.
type task struct {
	job   *crdt.Job
	chain []byte
	done  func(out crdt.Outcome, err error) // nil: nobody else wants to know
}

// checkers returns how many batches are checked at once: the loop needs a core of its own.
func checkers() int { return min(max(runtime.GOMAXPROCS(0)-1, 1), 4) }

// checker checks batches until the loop ends.
func (r *Replica) checker() {
	for t := range r.tasks {
		err := r.proofs.verify(t.job, t.chain)
		r.box.post(func(now time.Time) { r.checked(now, t, err) })
	}
}

// handOut gives checkers what they have room for.
func (r *Replica) handOut() {
	n := 0
	for ; n < len(r.checks); n++ {
		select {
		case r.tasks <- r.checks[n]:
			continue
		default:
		}
		break
	}
	clear(r.checks[:n])
	if r.checks = r.checks[n:]; len(r.checks) == 0 {
		r.checks = nil
	}
}

// checked merges a batch that was checked. Its chain is kept with it, also if its entries must wait for their time.
func (r *Replica) checked(now time.Time, t task, err error) {
	if err == nil && r.chains.kept[t.job.SVID] == nil && len(r.chains.kept) >= maxChains {
		err = fmt.Errorf("%w: %d chains are kept already", crdt.ErrUnproven, maxChains)
	}
	out := r.sync.Verified(now, t.job, err)
	if err == nil {
		r.told.count("verified_batches")
		r.apply(now, out, r.chains.keep(t.chain, t.job.SVID)...)
	} else {
		r.cfg.Log.Debug("shared state: a batch is refused", "of", t.job.From, "err", err)
	}
	if t.done != nil {
		t.done(out, err)
	}
}
