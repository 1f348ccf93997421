package bench

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

//go:embed testdata/plus.txt
var plusMap []byte

// The marks of a daemon that has nothing to do, and how it is measured: the centre of a plus, four links with hellos
// every 50 ms, no traffic, nobody asking.
const (
	rssMark  = 60 // MB, of 10^6 bytes
	cpuMark  = 1  // percent of one core
	idleWait = 12 * time.Second
	idleTime = 20 * time.Second
	idleRSS  = "idle daemon with 4 neighbours: RSS"
	idleCPU  = "idle daemon with 4 neighbours: CPU of a core"
	idleNode = "centre"
)

func (s *spine) idle(ctx context.Context) (err error) {
	m, err := topology.Parse("plus.txt", plusMap)
	if err != nil {
		return err
	}
	centre, err := mesh.ParseNodeID(idleNode)
	if err != nil {
		return err
	}
	s.figures().mark(idleRSS, "MB", rssMark)
	s.figures().mark(idleCPU, "%", cpuMark)
	l, err := s.up(ctx, m, linkDelay, "idle")
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
