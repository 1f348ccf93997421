package authority

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// How often one caller may come in vain, or be carried to an authority, before it has to wait. A token cannot be guessed,
// but each guess costs a TLS handshake; whoever mistyped one has tried a few times.
const (
	triesBurst   = 64
	triesEvery   = time.Second // one more for each of these
	memberBurst  = 128         // of a member, which carries the joins of others
	memberEvery  = 250 * time.Millisecond
	maxTriedFrom = 4096 // callers remembered
)

// tries counts what each caller did lately. A caller is a network as Server.caller has it.
type tries struct {
	mu   sync.Mutex
	full map[netip.Prefix]time.Time // when it will have all its tries again
}

func rateOf(member bool) (burst int, every time.Duration) {
	if member {
		return memberBurst, memberEvery
	}
	return triesBurst, triesEvery
}

// left reports whether a caller may come once more.
func (t *tries) left(from netip.Prefix, member bool, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	full, known := t.full[from]
	if !known && len(t.full) >= maxTriedFrom {
		t.tidy(now)
		return len(t.full) < maxTriedFrom || member
	}
	burst, every := rateOf(member)
	return full.Sub(now) <= time.Duration(burst-1)*every
}

// spend takes one try of a caller's.
func (t *tries) spend(from netip.Prefix, member bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full == nil {
		t.full = map[netip.Prefix]time.Time{}
	}
	full, known := t.full[from]
	if !known && len(t.full) >= maxTriedFrom {
		return
	}
	if full.Before(now) {
		full = now
	}
	_, every := rateOf(member)
	t.full[from] = full.Add(every)
}

// tidy forgets who has all tries again.
func (t *tries) tidy(now time.Time) {
	for p, full := range t.full {
		if !full.After(now) {
			delete(t.full, p)
		}
	}
}

// tally counts how connections to a Server ended.
type tally struct{ served, relayed, failed, busy, often atomic.Uint64 }

// Counters returns how connections ended so far, by name.
func (s *Server) Counters() map[string]uint64 {
	return map[string]uint64{
		"join_served":  s.tally.served.Load(),  // joins and renewals answered with an SVID
		"join_relayed": s.tally.relayed.Load(), // exchanges carried to an authority, whatever came of them
		"join_failed":  s.tally.failed.Load(),  // exchanges that came to nothing: noise, unknown tokens, silence
		"join_busy":    s.tally.busy.Load(),    // turned away because too many were there
		"join_often":   s.tally.often.Load(),   // turned away because their caller had come in vain too often
	}
}
