package link

import "math/bits"

const (
	windowLen = 100     // hellos that a loss ratio is taken over
	priorLoss = 0.1     // what a link is expected to lose before anything is known of it
	priorLen  = 10      // how many hellos that expectation weighs
	restart   = 1 << 16 // a jump in the numbers that no loss explains
	leastLen  = 10      // a ratio of fewer hellos is taken as if of this many
)

// arrivals is the sliding window over the neighbour's hello numbers.
type arrivals struct {
	newest uint32
	seen   [2]uint64 // bit k = newest-k came
	n      int       // numbers the window covers, ≤ windowLen
	from   uint32    // the number that heard counts from
	heard  uint32    // hellos that came since
	prior  float64
}

// add takes one number and reports whether it is the newest. A jump that no loss explains is a neighbour that
// started again.
func (a *arrivals) add(seq uint32) bool {
	ahead := int32(seq - a.newest)
	switch {
	case a.n == 0 || ahead > restart || ahead < -128:
		if a.heard == 0 || a.n > 0 {
			a.from, a.heard = seq, 0
		}
		*a = arrivals{newest: seq, seen: [2]uint64{1}, n: 1, from: a.from, heard: a.heard + 1, prior: a.prior}
		return true
	case ahead > 0:
		a.shift(int(ahead))
		a.newest = seq
		a.seen[0] |= 1
		a.heard++
		return true
	}
	k := -ahead
	if bit := uint64(1) << (k % 64); k < 128 && a.seen[k/64]&bit == 0 {
		a.seen[k/64] |= bit
		a.heard++
	}
	return false
}

func (a *arrivals) shift(by int) {
	a.n = min(a.n+by, windowLen)
	for ; by >= 64; by -= 64 {
		a.seen[1], a.seen[0] = a.seen[0], 0
		if a.seen == [2]uint64{} {
			return
		}
	}
	a.seen[1] = a.seen[1]<<by | a.seen[0]>>(64-by)
	a.seen[0] <<= by
}

// lost returns how many of the n hellos in the window did not come.
func (a *arrivals) lost() (lost, n int) {
	hi := a.seen[1] & (1<<(windowLen-64) - 1)
	got := bits.OnesCount64(a.seen[0]) + bits.OnesCount64(hi)
	if a.n < windowLen {
		got = min(got, a.n)
	}
	return a.n - got, a.n
}

// expected is the loss to reckon with: the window's, tempered by what was expected before it.
func (a *arrivals) expected() float64 {
	lost, n := a.lost()
	return (float64(lost) + a.prior*priorLen) / float64(n+priorLen)
}

// reset forgets the window, and keeps the count that the neighbour is told.
func (a *arrivals) reset() {
	*a = arrivals{prior: a.expected(), from: a.from, heard: a.heard}
}

// report is one statement of the neighbour's: when number seq had come, count hellos of ours had.
type report struct{ seq, count uint32 }

// reports is the sliding window over the neighbour's statements about our hellos.
type reports struct {
	ring  [windowLen + 28]report
	first int // index of the oldest
	n     int
	from  uint32 // what the neighbour counts from; statements with another are not comparable
	prior float64
}

func (r *reports) at(i int) report { return r.ring[(r.first+i)%len(r.ring)] }

// newest returns the number that the newest statement is about; 0 if there is none.
func (r *reports) newest() uint32 {
	if r.n == 0 {
		return 0
	}
	return r.at(r.n - 1).seq
}

// add takes a statement and reports whether it is about a newer hello than all before.
func (r *reports) add(from, seq, count uint32) bool {
	if r.n > 0 {
		last := r.at(r.n - 1)
		if int32(seq-last.seq) <= 0 {
			return false
		}
		if from != r.from || count-last.count > seq-last.seq {
			r.n = 0 // the neighbour started to count anew
		}
	}
	r.from = from
	for r.n > 1 && (seq-r.at(1).seq >= windowLen || r.n == len(r.ring)) {
		r.first = (r.first + 1) % len(r.ring)
		r.n--
	}
	r.ring[(r.first+r.n)%len(r.ring)] = report{seq, count}
	r.n++
	return true
}

// lost returns how many of the n hellos between the oldest and the newest statement did not arrive.
func (r *reports) lost() (lost, n int) {
	if r.n < 2 {
		return 0, 0
	}
	first, last := r.at(0), r.at(r.n-1)
	n = int(last.seq - first.seq)
	return max(n-int(last.count-first.count), 0), n
}

func (r *reports) reset() { *r = reports{prior: r.expected()} }

func (r *reports) expected() float64 {
	lost, n := r.lost()
	return (float64(lost) + r.prior*priorLen) / float64(n+priorLen)
}

// ratio returns lost/n; few hellos count as if they were leastLen, so that one early loss is not a bad link.
func ratio(lost, n int) float64 {
	return float64(lost) / float64(max(n, leastLen))
}
