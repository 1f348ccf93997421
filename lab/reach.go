package lab

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// How the first packets are sent.
const (
	knockTime   = 2 * time.Second  // for the first try of one direction of a pair
	reachTime   = 10 * time.Second // for the second one
	knockPeriod = time.Second
	retriesOnce = 8  // second tries at the same time
	manyNodes   = 16 // from here on the nodes share the processors so much that knocking has to be paced

	// knockCost is the processor time that one pair's first packet is given, twice what it takes on all nodes together (two
	// ends of a TLS handshake, every relay between them, new tables), so that what is measured is the mesh and not a machine
	// that runs sixty of them.
	knockCost = 50 * time.Millisecond

	calmTime  = 15 * time.Second // to wait at most for the mesh to agree again
	calmTimes = 4                // that this is done

	firstPacketRTTs = 2.5                   // what the first packet may take …
	firstPacketSlop = 20 * time.Millisecond // … and this
)

// pair is two nodes; probes go both ways between them.
type pair struct{ a, b mesh.NodeID }

func (p pair) String() string { return p.a.String() + "-" + p.b.String() }

// joined lists pairs.
func joined(ps []pair) string {
	var s []string
	for _, q := range ps {
		s = append(s, q.String())
	}
	return strings.Join(s, ", ")
}

// pairs lists every unordered pair once. Which of the two comes first alternates, so that no node always begins.
func (m *Map) pairs() []pair {
	var ps []pair
	for i, a := range m.Nodes {
		for k, b := range m.Nodes[i+1:] {
			if k%2 == 0 {
				ps = append(ps, pair{a, b})
			} else {
				ps = append(ps, pair{b, a})
			}
		}
	}
	return ps
}

// knocks is the fate of one pair's first packets.
type knocks struct {
	took    time.Duration // from a's first packet to its arrival at b; 0 = none of the first try came through
	missing []pair        // directions that do not work
}

// reach sends the first packets: in small labs one pair after the other, so that none waits for another's handshake. Only
// the first direction of a pair finds it cold: both share the session. What does not come through is tried again at the
// end.
func (l *Lab) reach(ctx context.Context, p *Prober, r *Report) error {
	l.say("first packets between %d pairs", r.Pairs)
	ps := l.m.pairs()
	all := make([]knocks, len(ps))
	done := l.progress("pairs reached", len(ps))
	t := &turnstile{lab: l, patience: calmTimes}
	atOnce := 1
	if len(l.m.Nodes) >= manyNodes {
		t.pace, atOnce = knockCost/time.Duration(runtime.NumCPU()), runtime.NumCPU()
	}
	each(len(ps), atOnce, func(i int) {
		if t.pass(ctx) {
			all[i] = l.knock(ctx, p, ps[i])
			if len(all[i].missing) > 0 {
				t.calm(ctx)
			}
		}
		done()
	})
	var again []*knocks
	for i := range all {
		if len(all[i].missing) > 0 {
			again = append(again, &all[i])
		}
	}
	if len(again) > 0 {
		l.say("%d pairs did not answer at once and are tried again", len(again))
	}
	each(len(again), retriesOnce, func(i int) { again[i].missing = l.retry(ctx, p, again[i].missing) })
	l.tellReach(r, ps, all)
	return ctx.Err()
}

// turnstile lets knocks pass one after the other at a pace.
type turnstile struct {
	lab      *Lab
	pace     time.Duration // 0 = as fast as they come
	patience int

	mu   sync.Mutex
	next time.Time
}

// pass returns when it is the caller's turn; false if ctx ended.
func (t *turnstile) pass(ctx context.Context) bool {
	t.mu.Lock()
	wait := time.Until(t.next)
	t.next = time.Now().Add(max(0, wait) + t.pace)
	t.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// calm holds everybody back until the mesh agrees again, for some time and some times: on a crowded machine a burst of
// handshakes can cost links, and more handshakes would not bring them back.
func (t *turnstile) calm(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pace == 0 || t.patience == 0 {
		return
	}
	t.patience--
	ctx, cancel := context.WithTimeout(ctx, calmTime)
	defer cancel()
	_ = t.lab.await(ctx, t.lab.m.Nodes, t.lab.disagree) // whether it does or not, the knocks go on
}

// knock sends a pair's first packets, there and back.
func (l *Lab) knock(ctx context.Context, p *Prober, q pair) (k knocks) {
	there, cancel := context.WithTimeout(ctx, knockTime)
	defer cancel()
	var err error
	if k.took, err = p.Knock(there, q.a, q.b, knockPeriod); err != nil {
		k.missing = append(k.missing, q)
	}
	back, cancelBack := context.WithTimeout(ctx, knockTime)
	defer cancelBack()
	if _, err := p.Knock(back, q.b, q.a, knockPeriod); err != nil {
		k.missing = append(k.missing, pair{q.b, q.a})
	}
	return k
}

// retry returns those directions of ps that do not work with patience either.
func (l *Lab) retry(ctx context.Context, p *Prober, ps []pair) (missing []pair) {
	for _, q := range ps {
		long, cancel := context.WithTimeout(ctx, reachTime)
		if _, err := p.Knock(long, q.a, q.b, knockPeriod); err != nil {
			missing = append(missing, q)
		}
		cancel()
	}
	return missing
}

// tellReach fills in what the first packets showed.
func (l *Lab) tellReach(r *Report, ps []pair, all []knocks) {
	var cold []time.Duration
	far := map[mesh.NodeID]map[mesh.NodeID]distance{}
	for i, q := range ps {
		for _, m := range all[i].missing {
			r.Unreachable = append(r.Unreachable, m.String())
		}
		took := all[i].took
		if took == 0 {
			r.FirstPacket.Late++
			continue
		}
		cold = append(cold, took)
		if far[q.a] == nil {
			far[q.a] = l.m.distances(q.a, damage{})
		}
		rtt := 2 * far[q.a][q.b].delay
		if took > time.Duration(firstPacketRTTs*float64(rtt))+firstPacketSlop {
			r.FirstPacket.Late++
		}
		if rtt > 0 {
			r.FirstPacket.Ratio = max(r.FirstPacket.Ratio, float64(took-firstPacketSlop)/float64(rtt))
		}
	}
	r.PairsReachable = r.Pairs - len(r.Unreachable)
	r.FirstPacket.P50, r.FirstPacket.P99 = api.Millis(percentile(cold, 50)), api.Millis(percentile(cold, 99))
	r.FirstPacket.all = cold
}

// progressPeriod is how often a long step says how far it has come.
const progressPeriod = 5 * time.Second

// progress returns a function to be called after each of so many pieces of a step.
func (l *Lab) progress(what string, all int) func() {
	var mu sync.Mutex
	said, n := time.Now(), 0
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if n++; time.Since(said) >= progressPeriod {
			said = time.Now()
			l.say("%d of %d %s", n, all, what)
		}
	}
}

// each calls f for 0 … n-1, some at once.
func each(n, atOnce int, f func(int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}
