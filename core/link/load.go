package link

import "time"

const (
	loadLeast   = 500 * time.Microsecond // the load term may be this large on any way
	loadNoise   = 100 * time.Microsecond // and a change of it is more than this and than a quarter of the way
	loadPersist = 10 * time.Second       // for so long on end
	loadDwell   = 2 * time.Minute        // and it changes this often at most
)

// load is the part of a link's cost that its queues cause. It is at most the way itself, or loadLeast, so a full link is
// never dearer than one twice as long. Traffic that leaves a link for its load takes the load along, which would soon
// call it back: so the term stays for a while, and what moves then comes back at most once in that time.
type load struct {
	term  time.Duration
	way   time.Duration // as of the last settle
	set   time.Time     // when the term last changed
	wrong time.Time     // since when it has been wrong; zero = it is right
}

// settle returns the term at now on a way that takes this long, while queues add this much.
func (l *load) settle(now time.Time, way, queueing time.Duration) time.Duration {
	most, noise := max(way, loadLeast), max(way/4, loadNoise)
	if shift := way - l.way; l.way > 0 && shift.Abs() > noise {
		// What looked like a queue was the way, or the other way round: the sum stays, as far as it may, for as long as
		// a change of the term would.
		l.term -= shift
		l.set, l.wrong = now, time.Time{}
		l.way = way
	} else if l.way == 0 {
		l.way = way
	}
	l.term = min(max(l.term, 0), most)
	want := min(queueing, most)
	if (want - l.term).Abs() <= noise {
		l.wrong = time.Time{}
		return l.term
	}
	if l.wrong.IsZero() {
		l.wrong = now
	}
	if now.Sub(l.wrong) >= loadPersist && (l.set.IsZero() || now.Sub(l.set) >= loadDwell) {
		l.term, l.set, l.wrong = want, now, time.Time{}
	}
	return l.term
}
