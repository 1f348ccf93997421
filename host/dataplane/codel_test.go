package dataplane

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// rfcQueue is the pseudo code of RFC 8289 §5: a queue that drops when it is asked for a packet.
type rfcQueue struct {
	waiting              []rfcPacket
	firstAbove, dropNext time.Duration
	count, lastCount     uint32
	dropping             bool
	calls                []rfcCall // of dodequeue that gave a packet
}

type rfcPacket struct {
	came  time.Duration
	bytes int
}

// rfcCall is what a packet met: the machine under test is told the same of it.
type rfcCall struct {
	now, wait time.Duration
	few, drop bool
}

func (q *rfcQueue) bytes() (n int) {
	for _, p := range q.waiting {
		n += p.bytes
	}
	return n
}

func (q *rfcQueue) dodequeue(now time.Duration) (found, okToDrop bool) {
	if len(q.waiting) == 0 {
		q.firstAbove = 0
		return false, false
	}
	p := q.waiting[0]
	q.waiting = q.waiting[1:]
	wait, few := now-p.came, q.bytes() <= rfcMaxPacket
	q.calls = append(q.calls, rfcCall{now: now, wait: wait, few: few})
	if wait < 5*time.Millisecond || few {
		q.firstAbove = 0
	} else if q.firstAbove == 0 {
		q.firstAbove = now + 100*time.Millisecond
	} else if now >= q.firstAbove {
		okToDrop = true
	}
	return true, okToDrop
}

const rfcMaxPacket = 512

func rfcControlLaw(t time.Duration, count uint32) time.Duration {
	return t + time.Duration(float64(100*time.Millisecond)/math.Sqrt(float64(count)))
}

func (q *rfcQueue) drop() { q.calls[len(q.calls)-1].drop = true }

func (q *rfcQueue) deque(now time.Duration) (found bool) {
	found, okToDrop := q.dodequeue(now)
	if q.dropping {
		if !okToDrop {
			q.dropping = false
		}
		for now >= q.dropNext && q.dropping {
			q.drop()
			q.count++
			if found, okToDrop = q.dodequeue(now); !okToDrop {
				q.dropping = false
			} else {
				q.dropNext = rfcControlLaw(q.dropNext, q.count)
			}
		}
		return found
	}
	if okToDrop {
		q.drop()
		found, _ = q.dodequeue(now)
		q.dropping = true
		delta := q.count - q.lastCount
		q.count = 1
		if delta > 1 && now-q.dropNext < 16*100*time.Millisecond {
			q.count = delta
		}
		q.dropNext = rfcControlLaw(now, q.count)
		q.lastCount = q.count
	}
	return found
}

// On queues that are full, short, empty and full again the machine hits the packets that the RFC's pseudo code drops. What it
// is not told of is a queue that was asked in vain: there the next packet says so by its wait.
func TestCodelIsThatOfTheRFC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, now := &rfcQueue{}, time.Second
		for range rapid.IntRange(1, 6).Draw(t, "phases") {
			length := rapid.IntRange(10, 400).Draw(t, "packets")
			between := rapid.IntRange(0, 4000).Draw(t, "µs between arrivals")
			service := rapid.IntRange(0, 4000).Draw(t, "µs of service")
			size := rapid.SampledFrom([]int{64, 512, 1500}).Draw(t, "bytes")
			came := now
			for range length {
				q.waiting = append(q.waiting, rfcPacket{came, size})
				came += time.Duration(between) * time.Microsecond
			}
			for len(q.waiting) > 0 {
				now = max(now, q.waiting[0].came) + time.Duration(service)*time.Microsecond
				q.deque(now)
			}
			q.firstAbove = 0 // asked in vain
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms of rest")) * time.Millisecond
			q.calls = append(q.calls, rfcCall{now: now, few: true}) // and so the machine knows
		}
		var c codel
		drops := 0
		for i, call := range q.calls {
			if got := c.hit(call.now, call.wait, call.few); got != call.drop {
				t.Fatalf("packet %d of %d, %+v: hit %v, %d hits before", i, len(q.calls), call, got, drops)
			}
			if call.drop {
				drops++
			}
		}
	})
}

// The pace of hits under a constant wait above the target: first after an interval, then interval/√n apart: the times are
// those of the control law of RFC 8289 §3, summed by hand.
func TestCodelPace(t *testing.T) {
	var c codel
	var hits []time.Duration
	for now := time.Second; now < time.Second+500*time.Millisecond; now += time.Millisecond {
		if c.hit(now, 6*time.Millisecond, false) {
			hits = append(hits, now-time.Second)
		}
	}
	// 100, +100/√1, +100/√2, +100/√3, …: 200, 270.7, 328.4, 378.4, 423.2, 464.0
	want := []time.Duration{100, 200, 271, 329, 379, 424, 464}
	if len(hits) != len(want) {
		t.Fatalf("hits at %v, want %v ms", hits, want)
	}
	for i := range want {
		if hits[i] != want[i]*time.Millisecond {
			t.Errorf("hit %d at %v, want %d ms", i, hits[i], want[i])
		}
	}
	if c.hit(2*time.Second, 4*time.Millisecond, false) || c.dropping || !c.idle() {
		t.Error("it goes on below the target")
	}
}
