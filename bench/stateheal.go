package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// pairMap is a link of 100 Mbit/s; in newsMap there is a node behind it of which news come over that link. It takes what the
// others write, too, so how fast they agree is measured without it.
const (
	pairMap = "name pair\nlink left right rate=100M\n"
	newsMap = "name news\nlink left right rate=100M\nlink right far\n"
)

const (
	stateKeys  = 100_000 // written on each side of the cut
	manyKeys   = 1_000_000
	fillers    = 64 // writers at once
	healLimit  = 3 * time.Minute
	fillLimit  = 8 * time.Minute
	newsEvery  = 2 * time.Second
	newsPeriod = 5 * time.Millisecond
	newsLimit  = 10 * time.Second
)

// The names of its figures.
const (
	linkBack   = "state: link up again after the cut"
	agreeLarge = "state: 100,000 keys of 1 KiB on each side agree, from then"
	bytesLarge = "state: bytes moved for each byte of those keys"
	agreeThird = "state: such keys agree where a third node takes them too, and comes and goes"
	agreeSmall = "state: 100,000 small keys on each side agree"
	bytesSmall = "state: bytes moved for each small key"
	healCPU    = "state: CPU of a core that each side takes meanwhile"
	newsHeal   = "state: news of a lost link two links away, while that moves"
	newsRest   = "state: news of a lost link two links away, at rest"
	fillRate   = "state: puts by 64 callers of the API"
	million    = "state: RSS with 1,000,000 small keys"
)

var (
	healLeft, healRight, healFar = mesh.MustNodeID("left"), mesh.MustNodeID("right"), mesh.MustNodeID("far")
	healCut                      = lab.Fault{Kind: fault.Cut, Target: lab.Target{A: healLeft, B: healRight}}
	newsCut                      = lab.Fault{Kind: fault.Cut, Target: lab.Target{A: healRight, B: healFar}}
)

// stateHeal has two nodes write while they are apart, and measures how they agree afterwards.
func (s *spine) stateHeal(ctx context.Context) error {
	fs := s.figures()
	fs.mark(putExcess, "ms", 0)
	fs.mark(agreeLarge, "s", agreeMark)
	fs.mark(bytesLarge, "", bytesMark)
	fs.mark(bytesSmall, "B", smallMark)
	for run := range s.opt.Runs {
		for _, h := range []heal{
			{"large", pairMap, 1 << 10, s.toldLarge}, {"small", pairMap, 16, s.toldSmall}, {"news", newsMap, 1 << 10, nil},
		} {
			s.say("%d %s keys on each side of a cut, run %d of %d", stateKeys, h.name, run+1, s.opt.Runs)
			if err := s.healRun(ctx, h); err != nil {
				return fmt.Errorf("agree after a cut, run %d: %w", run+1, err)
			}
		}
	}
	return nil
}

// heal is one way to have two nodes agree.
type heal struct {
	name, text string
	size       int // of a value
	told       func(h healed)
}

// healed is what it took.
type healed struct {
	took  time.Duration // from when the link was up
	moved float64       // bytes that left sent and received
	cpu   float64       // percent of a core, at left
}

func (s *spine) toldLarge(h healed) {
	fs := s.figures()
	fs.add(agreeLarge, "s", h.took.Seconds())
	fs.add(bytesLarge, "", h.moved/float64(2*stateKeys*(1<<10+len(fillKey(healLeft.String(), 0)))))
	fs.add(healCPU, "%", h.cpu)
}

func (s *spine) toldSmall(h healed) {
	s.figures().add(agreeSmall, "s", h.took.Seconds())
	s.figures().add(bytesSmall, "B", h.moved/(2*stateKeys))
}

func (s *spine) healRun(ctx context.Context, h heal) (err error) {
	m, err := topology.Parse(h.name+".txt", []byte(h.text))
	if err != nil {
		return err
	}
	l, err := s.up(ctx, m, linkDelay, "state-"+h.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := s.apart(ctx, l, h); err != nil {
		return err
	}
	before, busy, err := leftState(ctx, l)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.Mend(healCut); err != nil {
		return err
	}
	up, err := linkUp(ctx, l, healLeft)
	if err != nil {
		return err
	}
	s.figures().add(linkBack, "ms", millis(up.Sub(began)))
	if h.told == nil {
		return s.newsBeside(ctx, l, up)
	}
	same, err := sameState(ctx, l)
	if err != nil {
		return err
	}
	after, used, err := leftState(ctx, l)
	took := same.Sub(up)
	h.told(healed{took, after - before, 100 * (used - busy).Seconds() / took.Seconds()})
	return err
}

// apart has both sides of a cut write.
func (s *spine) apart(ctx context.Context, l *lab.Lab, h heal) error {
	if err := s.writable(ctx, l, l.Nodes()); err != nil {
		return err
	}
	if err := l.Inject(healCut); err != nil {
		return err
	}
	if h.told != nil {
		if err := s.putAlone(ctx, l, healLeft); err != nil {
			return err
		}
	}
	began := time.Now()
	var sides sync.WaitGroup
	errs := make([]error, 2)
	for i, id := range []mesh.NodeID{healLeft, healRight} {
		sides.Go(func() { errs[i] = fill(ctx, l, id, id.String(), stateKeys, h.size) })
	}
	sides.Wait()
	s.figures().add(fillRate, "/s", 2*stateKeys/time.Since(began).Seconds())
	return errors.Join(errs...)
}

// leftState returns what left has sent and received of the state, and the CPU time that it took.
func leftState(ctx context.Context, l *lab.Lab) (bytes float64, cpu time.Duration, err error) {
	c, err := l.Client(healLeft).Counters(ctx)
	if err != nil {
		return 0, 0, err
	}
	u, err := l.Usage(healLeft)
	return float64(c["link_state_sent_bytes"] + c["link_state_received_bytes"]), u.CPU, err
}

// newsBeside measures how soon news come while the state moves, since the link is up again, and then at rest.
func (s *spine) newsBeside(ctx context.Context, l *lab.Lab, up time.Time) error {
	moving, stop := context.WithCancel(ctx)
	var news sync.WaitGroup
	news.Go(func() { s.news(moving, l, newsHeal) })
	same, err := sameState(ctx, l)
	stop()
	news.Wait()
	if err != nil {
		return err
	}
	s.figures().add(agreeThird, "s", same.Sub(up).Seconds())
	resting, stop := context.WithTimeout(ctx, 5*newsEvery)
	defer stop()
	s.news(resting, l, newsRest)
	return nil
}

// sameState returns when left and right have the same digest.
func sameState(ctx context.Context, l *lab.Lab) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, healLimit)
	defer cancel()
	for {
		a, err1 := l.Client(healLeft).State(ctx)
		b, err2 := l.Client(healRight).State(ctx)
		if err1 == nil && err2 == nil && a.Digest == b.Digest && a.Entries >= 2*stateKeys {
			return time.Now(), nil
		}
		if sleep(ctx, 4*newsPeriod) != nil {
			return time.Time{}, fmt.Errorf("they did not agree within %s: %d and %d entries: %w", healLimit, a.Entries, b.Entries, errors.Join(err1, err2))
		}
	}
}

// linkUp returns when a node has all its links up.
func linkUp(ctx context.Context, l *lab.Lab, id mesh.NodeID) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		st, err := l.Status(ctx, id)
		if err == nil && st.LinksUp == st.LinksTotal {
			return time.Now(), nil
		}
		if sleep(ctx, newsPeriod) != nil {
			return time.Time{}, fmt.Errorf("the link of %s did not come up within %s: %w", id, settleTime, err)
		}
	}
}

// news cuts the link behind right off now and then, and measures how soon left knows: what floods, floods beside the state.
func (s *spine) news(ctx context.Context, l *lab.Lab, figure string) {
	for sleep(ctx, newsEvery) == nil {
		began := time.Now()
		if l.Inject(newsCut) != nil {
			return
		}
		if knows(ctx, l, healFar, false) {
			s.figures().add(figure, "ms", millis(time.Since(began)))
		}
		if l.Mend(newsCut) != nil || !knows(ctx, l, healFar, true) {
			return
		}
	}
}

// knows waits until left has a path to a node, or none.
func knows(ctx context.Context, l *lab.Lab, of mesh.NodeID, path bool) bool {
	ctx, cancel := context.WithTimeout(ctx, newsLimit)
	defer cancel()
	for {
		peers, err := l.Client(healLeft).Peers(ctx)
		for _, p := range peers {
			if err == nil && p.Node == of && (p.State != api.PeerUnreachable) == path {
				return true
			}
		}
		if sleep(ctx, newsPeriod) != nil {
			return false
		}
	}
}

func fillKey(name string, i int) string { return fmt.Sprintf("%s/%07d", name, i) }

// fill puts so many keys at a node, by callers at once.
func fill(ctx context.Context, l *lab.Lab, id mesh.NodeID, name string, keys, size int) error {
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	value := make([]byte, size)
	errs := make([]error, fillers)
	var all sync.WaitGroup
	for f := range fillers {
		all.Go(func() {
			c, err := l.NewClient(id)
			if err != nil {
				errs[f] = err
				return
			}
			defer c.Close()
			for i := f; i < keys && errs[f] == nil; i += fillers {
				_, errs[f] = c.KVPut(ctx, []byte(fillKey(name, i)), value)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// stateMillion measures how much memory a node takes that holds a million small keys, of which it wrote all or none.
func (s *spine) stateMillion(ctx context.Context) (err error) {
	m, err := topology.Builtin("line:2")
	if err != nil {
		return err
	}
	s.figures().mark(million, "MB", millionMark)
	l, err := s.up(ctx, m, linkDelay, "state-million")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := s.writable(ctx, l, l.Nodes()); err != nil {
		return err
	}
	s.say("%d small keys", manyKeys)
	if err := fill(ctx, l, l.Nodes()[0], "m", manyKeys, 16); err != nil {
		return err
	}
	for range s.opt.Runs {
		if err := sleep(ctx, stateIdle/4); err != nil {
			return err
		}
		for _, id := range l.Nodes() {
			u, err := l.Usage(id)
			if err != nil {
				return err
			}
			info, err := l.Client(id).State(ctx)
			if err != nil {
				return err
			}
			s.say("%s holds %d entries in %.0f MB", id, info.Entries, float64(u.RSS)/1e6)
			if info.Entries >= manyKeys {
				s.figures().add(million, "MB", float64(u.RSS)/1e6)
			}
		}
	}
	return nil
}
