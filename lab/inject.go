package lab

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"x0tta6bl4/mesh/fault"
)

// errNotInjected says that a fault was to end that is not there.
var errNotInjected = errors.New("no such fault is injected")

// injector breaks things and mends them. It knows interfaces and processes, and never speaks with a daemon. How a
// link has to be follows from all faults that hold, so that one which ends leaves the others as they are.
type injector struct {
	lab     *Lab
	holding []*injury
	past    []moment
	effects map[string]Effect // of faults that have ended, by their line
}

// injury is a fault that holds.
type injury struct {
	fault  Fault
	before uint64        // packets that the kind had changed where it strikes
	rests  bool          // a flap that has the link up
	ended  chan struct{} // closed by whoever ends it
	err    error         // of a flap's turn
}

// moment is a time at which what is broken changed.
type moment struct {
	at     time.Time
	damage damage
}

// Effect is what the injector itself saw a fault do.
type Effect struct {
	Engine  string `json:"engine"`            // what did it: relay, nftables, qdisc, interface, signal or clock
	Packets uint64 `json:"packets,omitempty"` // that it dropped, delayed or changed; of those kinds that touch packets
}

// inject makes a fault happen and checks that it is in force. Its target must be a link, a node or two sets of nodes:
// a path has to be resolved before.
func (j *injector) inject(f Fault) error {
	if err := resolved(f); err != nil {
		return err
	}
	if _, err := j.lab.struck(f); err != nil {
		return fmt.Errorf("inject %s: %w", f, err)
	}
	i := &injury{fault: f, ended: make(chan struct{})}
	var err error
	if i.before, err = j.changed(f); err != nil {
		return fmt.Errorf("inject %s: %w", f, err)
	}
	if f.Kind.OnNode() && f.Kind != fault.Greydrop {
		if err := j.injectNode(f); err != nil {
			return fmt.Errorf("inject %s: %w", f, err)
		}
	}
	j.holding = append(j.holding, i)
	if err := j.apply(); err != nil {
		j.holding = without(j.holding, i)
		return fmt.Errorf("inject %s: %w", f, errors.Join(err, j.apply()))
	}
	if f.Kind == fault.Flap {
		go j.flap(i)
	}
	return nil
}

// mend ends a fault that inject made.
func (j *injector) mend(f Fault) error {
	at := slices.IndexFunc(j.holding, func(i *injury) bool { return reflect.DeepEqual(i.fault, f) })
	if at < 0 {
		return fmt.Errorf("end of %s: %w", f, errNotInjected)
	}
	i := j.holding[at]
	if f.Kind.OnNode() && f.Kind != fault.Greydrop {
		if err := j.mendNode(f); err != nil {
			return fmt.Errorf("end of %s: %w", f, err)
		}
	}
	effect, err := j.effect(i)
	if err == nil {
		err = i.err
	}
	close(i.ended)
	if j.effects == nil {
		j.effects = map[string]Effect{}
	}
	j.effects[f.String()] = effect
	j.holding = without(j.holding, i)
	if err = errors.Join(err, j.apply()); err != nil {
		return fmt.Errorf("end of %s: %w", f, err)
	}
	return nil
}

// flap takes a link up and down again until its fault ends.
func (j *injector) flap(i *injury) {
	for {
		phase := i.fault.Param.Down
		if i.rests {
			phase = i.fault.Param.Up
		}
		timer := time.NewTimer(phase)
		select {
		case <-timer.C:
		case <-i.ended:
			timer.Stop()
			return
		}
		if !j.turn(i) {
			return
		}
	}
}

// turn begins the next phase of a flap; false if the fault is over.
func (j *injector) turn(i *injury) bool {
	j.lab.injecting.Lock()
	defer j.lab.injecting.Unlock()
	if !slices.Contains(j.holding, i) {
		return false
	}
	i.rests = !i.rests
	i.err = errors.Join(i.err, j.apply())
	return i.err == nil
}

// now returns the faults that are felt at this moment.
func (j *injector) now() []Fault {
	var fs []Fault
	for _, i := range j.holding {
		if !i.rests {
			fs = append(fs, i.fault)
		}
	}
	return fs
}

// apply makes every link as the faults that hold will have it, and notes when that was.
func (j *injector) apply() error {
	felt := j.now()
	var errs []error
	for _, w := range j.lab.wires {
		want := w.natural()
		for _, f := range felt {
			want = w.worsen(want, f)
		}
		if err := w.apply(want); err != nil {
			errs = append(errs, err)
		}
	}
	now := moment{time.Now(), j.lab.harm(felt)}
	if n := len(j.past); n == 0 || !reflect.DeepEqual(j.past[n-1].damage, now.damage) {
		j.past = append(j.past, now)
	}
	return errors.Join(errs...)
}

// changed counts the packets that a kind changed so far where a fault strikes.
func (j *injector) changed(f Fault) (uint64, error) {
	var n uint64
	for _, w := range j.lab.wires {
		if !w.strikes(f) {
			continue
		}
		for i := range w.ends {
			if (f.Kind == fault.Oneway || f.Kind == fault.Greydrop) && i != w.from(f.Target.A) {
				continue
			}
			t, err := w.tally(i)
			if err != nil {
				return 0, err
			}
			n += *t.of(f.Kind)
		}
	}
	return n, nil
}

func (j *injector) effect(i *injury) (Effect, error) {
	n, err := j.changed(i.fault)
	return Effect{Engine: j.lab.engine(i.fault), Packets: n - i.before}, err
}

// close ends all faults, without mending anything: the lab goes.
func (j *injector) close() {
	j.lab.injecting.Lock()
	defer j.lab.injecting.Unlock()
	for _, i := range j.holding {
		close(i.ended)
	}
	j.holding = nil
}

// without returns s without one x, leaving s as it is: readers may hold it.
func without[T comparable](s []T, x T) []T {
	i := slices.Index(s, x)
	if i < 0 {
		return s
	}
	return slices.Delete(slices.Clone(s), i, i+1)
}

// Inject makes one fault happen now, whatever its At and For say. Its target must be a link, a node or the two sides
// of a partition.
func (l *Lab) Inject(f Fault) error {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return l.injector.inject(f)
}

// Mend ends a fault that Inject made.
func (l *Lab) Mend(f Fault) error {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return l.injector.mend(f)
}

// Effect tells what a fault that was injected did, up to now or until it ended.
func (l *Lab) Effect(f Fault) (Effect, error) {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	for _, i := range l.injector.holding {
		if reflect.DeepEqual(i.fault, f) {
			return l.injector.effect(i)
		}
	}
	e, ok := l.injector.effects[f.String()]
	if !ok {
		return e, fmt.Errorf("%s: %w", f, errNotInjected)
	}
	return e, nil
}

// broken tells what is broken now.
func (l *Lab) broken() damage {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return l.harm(l.injector.now())
}

// breakages tells what was broken from which time on, beginning with the start of the lab.
func (l *Lab) breakages() []moment {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return append([]moment{{}}, l.injector.past...)
}
