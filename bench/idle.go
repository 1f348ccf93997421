package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

//go:embed testdata/plus.txt
var plusMap []byte

//go:embed testdata/star.txt
var starMap []byte

// The marks of a daemon that has nothing to do, and how it is measured: the centre of a plus, then of a star, with four and
// eight links, hellos every 50 ms, no traffic, nobody asking.
const (
	rssMark  = 60 // MB, of 10^6 bytes
	cpuMark  = 1  // percent of one core
	idleWait = 12 * time.Second
	idleTime = 20 * time.Second
	idleNode = "centre"
)

func (s *spine) idle(ctx context.Context) error {
	return errors.Join(s.idleWith(ctx, "plus", plusMap, 4), s.idleWith(ctx, "star", starMap, 8))
}

// idleWith measures the daemon in the centre of a map, which has so many neighbours.
func (s *spine) idleWith(ctx context.Context, name string, text []byte, neighbours int) (err error) {
	idleRSS := fmt.Sprintf("idle daemon with %d neighbours: RSS", neighbours)
	idleCPU := fmt.Sprintf("idle daemon with %d neighbours: CPU of a core", neighbours)
	m, err := topology.Parse(name+".txt", text)
	if err != nil {
		return err
	}
	centre, err := mesh.ParseNodeID(idleNode)
	if err != nil {
		return err
	}
	s.figures().mark(idleRSS, "MB", rssMark)
	s.figures().mark(idleCPU, "%", cpuMark)
	l, err := s.up(ctx, m, linkDelay, "idle-"+name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s.say("%s is idle", centre)
	if err := sleep(ctx, idleWait); err != nil { // what follows a start is over
		return err
	}
	for range s.opt.Runs {
		before, err := l.Usage(centre)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := sleep(ctx, idleTime); err != nil {
			return err
		}
		after, err := l.Usage(centre)
		if err != nil {
			return err
		}
		share := 100 * (after.CPU - before.CPU).Seconds() / time.Since(began).Seconds()
		s.say("%s in %s: %.2f %% of a core, %.1f MB", centre, idleTime, share, float64(after.RSS)/1e6)
		s.figures().add(idleCPU, "%", share)
		s.figures().add(idleRSS, "MB", float64(after.RSS)/1e6)
	}
	return nil
}
