package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
)

// Times of a trial.
const (
	trialLead  = 300 * time.Millisecond // of probes before the fault, and up to …
	trialPhase = 200 * time.Millisecond // … so much more, by chance: some hellos long
	trialHold  = 700 * time.Millisecond // that a fault holds at least
	trialLimit = 5 * time.Second        // by when traffic must be back
	backFor    = 300 * time.Millisecond // of probes of which nearly all arrive: then it is back
	placeTries = 200                    // to find a path in use that is long enough, and stays
	knockLimit = 10 * time.Second
	sayEvery   = 30 * time.Second // how far a long cell is

	// A link that falls again and again is held down for longer each time, up to half a minute, which is another matter than
	// failover: after so many trials there is a new mesh.
	meshTrials = 25
)

// oursUp is a mesh of x0t that is struck again and again.
type oursUp struct {
	*failing
	options lab.Options
	meshes  int // that there were

	lab              *lab.Lab             // nil = none yet
	control, guarded *lab.Prober          // guarded is of the protected class, nil = not measured
	struck           map[string]time.Time // when a place was struck last
	addrs            map[mesh.NodeID]netip.Addr
}

// open brings up another mesh in place of the one there is, and opens the probe sockets.
func (o *oursUp) open(ctx context.Context) (err error) {
	if err := o.close(); err != nil {
		return err
	}
	opt := o.options
	if opt.Keep != "" {
		opt.Keep = filepath.Join(opt.Keep, fmt.Sprint(o.meshes))
	}
	if o.meshes++; o.meshes > 1 {
		opt.Progress = nil // all has been said
	}
	l, err := lab.Up(ctx, opt)
	if err != nil {
		return err
	}
	o.lab, o.struck, o.addrs = l, map[string]time.Time{}, map[mesh.NodeID]netip.Addr{}
	for _, id := range o.lab.Nodes() {
		st, err := o.lab.Status(ctx, id)
		if err != nil {
			return err
		}
		o.addrs[id], o.report.Version = st.Address, st.Version
	}
	if o.control, err = o.lab.ProberOn(o.addrs, controlPort); err != nil {
		return err
	}
	if o.report.Unprotected == "" {
		o.guarded, err = o.lab.ProberOn(o.addrs, protectPort)
	}
	return err
}

func (o *oursUp) close() error {
	for _, p := range []*lab.Prober{o.control, o.guarded} {
		if p != nil {
			p.Close()
		}
	}
	l := o.lab
	o.lab, o.control, o.guarded = nil, nil, nil
	if l == nil {
		return nil
	}
	return l.Close()
}

// cell takes all trials of one kind at one place. The cell is there, as far as it goes, also if there is an error.
func (o *oursUp) cell(ctx context.Context, s strike, place int) (*Cell, error) {
	c := &Cell{Samples: []Trial{}}
	noise := listenEvery(5 * time.Millisecond)
	var err error
	moved := 0
	began := time.Now()
	said := began
	for trials := 0; len(c.Samples) < o.opt.trials(place) && err == nil; trials++ {
		if trials%meshTrials == 0 {
			if err = o.open(ctx); err != nil {
				break
			}
		}
		var t Trial
		switch t, err = o.trial(ctx, s, place); {
		case err == nil:
			c.Samples = append(c.Samples, t)
		case errors.Is(err, errMoved) && moved < placeTries:
			moved++
			err = nil
		}
		if done := len(c.Samples); time.Since(said) >= sayEvery && done > 0 {
			said = time.Now()
			left := said.Sub(began) / time.Duration(done) * time.Duration(o.opt.trials(place)-done)
			o.say("%s, %s: %d of %d trials, about %v left", s.name, placeName(place), done, o.opt.trials(place), left.Round(time.Second))
		}
	}
	c.sumUp(noise.stop())
	if err != nil {
		return c, fmt.Errorf("%s, %s, trial %d: %w", s.name, placeName(place), len(c.Samples)+1, err)
	}
	o.say("%s, %s: outage p50 %s, p99 %s, max %s ms in %d trials; %d probes lost%s", s.name, placeName(place), number(c.Outage.P50), number(c.Outage.P99),
		number(c.Outage.Max), c.Trials, c.Control, protectedText(c))
	return c, nil
}

func protectedText(c *Cell) string {
	if c.Protected == nil {
		return ""
	}
	return fmt.Sprintf(", %d of protected flows", *c.Protected)
}

// trial strikes once.
func (o *oursUp) trial(ctx context.Context, s strike, place int) (Trial, error) {
	if err := settle(ctx, o.lab, o.m); err != nil {
		return Trial{}, err
	}
	sc, err := o.stage(ctx, s, place)
	if err != nil {
		return Trial{}, err
	}
	t := Trial{Target: sc.fault.Where(), Pair: sc.a.String() + "-" + sc.b.String()}
	plain := []*lab.Flow{o.control.Flow(sc.a, sc.b), o.control.Flow(sc.b, sc.a)}
	defer o.control.Forget(plain...)
	sent := plain
	var reference, guarded []*lab.Flow
	if o.guarded != nil {
		guarded = []*lab.Flow{o.guarded.Flow(sc.a, sc.b), o.guarded.Flow(sc.b, sc.a)}
		defer o.guarded.Forget(guarded...)
		if !sc.c.IsZero() {
			reference = []*lab.Flow{o.control.Flow(sc.c, sc.d), o.control.Flow(sc.d, sc.c)}
			defer o.control.Forget(reference...)
			sent = append(sent, reference...)
		}
	}
	if err := o.warm(ctx, sc); err != nil {
		return t, err
	}
	begin, end, offset, err := o.play(ctx, sc, plain, sent, guarded, &t) // and what was under way has arrived
	if err != nil {
		return t, err
	}
	for i, ms := range []*float64{&t.There, &t.Back} {
		w := plain[i].Look(begin, end)
		*ms = millis(w.Outage)
		t.Lost += w.Lost
	}
	if guarded != nil {
		t.Protected = lost(guarded, begin+offset, end+offset)
	}
	if reference != nil {
		t.Reference = lost(reference, begin, end)
	}
	return t, nil
}

// errMoved says that the path in use changed before the fault could strike it: the trial does not count.
var errMoved = errors.New("the path in use moved away from the place of the fault")

// lost adds up what flows lost.
func lost(flows []*lab.Flow, begin, end time.Duration) *int {
	n := 0
	for _, f := range flows {
		n += f.Look(begin, end).Lost
	}
	return &n
}

// warm has the pairs that will talk open their sessions.
func (o *oursUp) warm(ctx context.Context, sc scene) error {
	limited, cancel := context.WithTimeout(ctx, knockLimit)
	defer cancel()
	_, err := o.control.Knock(limited, sc.a, sc.b, firstPeriod)
	if err == nil && o.guarded != nil && !sc.c.IsZero() {
		_, err = o.control.Knock(limited, sc.c, sc.d, firstPeriod)
	}
	return errors.Join(err, ctx.Err())
}

// play probes, strikes, waits until traffic is back, and mends. begin and end are the fault's on the clock of the control
// prober; that of the guarded one is ahead of it by offset.
func (o *oursUp) play(ctx context.Context, sc scene, plain, sent, guarded []*lab.Flow, t *Trial) (begin, end, offset time.Duration, err error) {
	probing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { o.control.Stream(probing, sent) })
	if guarded != nil {
		wg.Go(func() { o.guarded.Stream(probing, guarded) })
		offset = o.guarded.Now() - o.control.Now()
	}
	defer func() { stop(); wg.Wait() }()
	if err := sleep(ctx, trialLead+time.Duration(o.random.Int64N(int64(trialPhase)))); err != nil {
		return 0, 0, 0, err
	}
	if paths, err := o.lab.Client(sc.a).Paths(ctx, sc.b); err != nil || !on(inUse(paths), sc.fault.Target) {
		return 0, 0, 0, errors.Join(err, errMoved)
	}
	begin = o.control.Now()
	if err := o.lab.Inject(sc.fault); err != nil {
		return 0, 0, 0, err
	}
	back, err := returned(ctx, o.control, plain, begin, trialLimit)
	t.Unhealed = !back
	end = o.control.Now()
	if err := errors.Join(err, o.lab.Mend(sc.fault)); err != nil {
		return 0, 0, 0, err
	}
	return begin, end, offset, nil
}

// returned waits until nearly all of what flows send arrives again, at least trialHold, at most limit.
func returned(ctx context.Context, p *lab.Prober, flows []*lab.Flow, begin, limit time.Duration) (bool, error) {
	if err := sleep(ctx, trialHold); err != nil {
		return false, err
	}
	for p.Now()-begin < limit {
		to := p.Now() - underWay
		fine := true
		for _, f := range flows {
			w := f.Look(to-backFor, to)
			fine = fine && w.Sent > 0 && float64(w.Sent-w.Lost) >= backAt*float64(w.Sent)
		}
		if fine {
			return true, nil
		}
		if err := sleep(ctx, statusPeriod/2); err != nil {
			return false, err
		}
	}
	return false, nil
}
