package sim

import "time"

// What an event does. Those that happen millions of times are values; the others are closures.
type kind uint8

const (
	doCall    kind = iota // what is a func()
	doTurn                // the fast loop's deadline
	doTick                // the slow loop's deadline
	doReport              // what is a node.ControlEvent for the slow loop
	doChecked             // what is a *lsdb.VerifyJob whose result is due
	doDeliver             // what is a *parcel of control messages
	doArrive              // what is a *flight: a frame at the far end of a link
	doHello               // what is a *greeting: a hello that is worth a turn of its own
)

// event is something that happens at a time. who, if not nil, is the node whose process it belongs to: it is lost when
// that ends.
type event struct {
	at   int64  // ns since epoch
	seq  uint64 // of two at the same time the earlier made one runs first; turns run last, in the order of nodes
	who  *simNode
	what any
	boot uint32
	do   kind
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a heap of events in which every event has four children: half as deep as a binary one.
type queue []event

func (q *queue) push(e event) {
	*q = append(*q, e)
	h := *q
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *queue) pop() event {
	h := *q
	top, n := h[0], len(h)-1
	last := h[n]
	h[n] = event{}
	h = h[:n]
	*q = h
	if n == 0 {
		return top
	}
	i := 0
	for {
		first := 4*i + 1
		if first >= n {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, n); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if !h[least].before(&last) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = last
	return top
}

// after has run called when d has passed.
func (w *World) after(d time.Duration, run func()) { w.post(d, nil, doCall, run) }

// tick is the grain of simulated time, that of the clocks in hellos: so round trips are measured exactly.
const tick = int64(time.Microsecond)

// ceil returns the first moment of simulated time that is not before a time.
func ceil(at int64) int64 { return (at + tick - 1) / tick * tick }

// post has something happen when d has passed, unless the process that it belongs to has ended by then.
func (w *World) post(d time.Duration, who *simNode, do kind, what any) {
	w.seq++
	e := event{at: ceil(w.at + int64(max(d, 0))), seq: w.seq, who: who, what: what, do: do}
	if do == doTurn {
		// How often the time of a turn was moved, which depends on the short cuts, must not decide what it comes before.
		e.seq = 1<<63 | uint64(who.index) // #nosec G115 -- an index
	}
	if who != nil {
		e.boot = who.boots
	}
	w.queue.push(e)
}
