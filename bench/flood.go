package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/lab/flood"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// A flood of garbage at half the rate that a bare sink reads here must leave a relay this share of the goodput that passes it
// when it is quiet, and all of its links. The flooder, the sink and both ends of the goodput share the machine's cores with the
// relay: what the flooder takes of them is lost to goodput without any fault of the relay's. So the rate is told too that is
// left when the same garbage crosses the same cable to a station that is not there.
const (
	floodMark = 0.3 // of the quiet goodput may be lost
	floodTime = (tcpTime + 1) * time.Second
	sinkTime  = 2 * time.Second
	cpuTime   = 3 * time.Second
	sinkPort  = 7999

	sinkRate      = "flood: a bare recvmmsg sink reads"
	floodRate     = "flood: garbage sent to the relay"
	quietGoodput  = "flood: TCP through the relay, quiet"
	floodLost     = "flood: share of it lost under blind garbage"
	forgedLost    = "flood: share of it lost under forged frames and QUIC (by who sees the cable)"
	elsewhereLost = "flood: share of it lost under garbage that misses the relay (what the flooder itself takes)"
	floodDowns    = "flood: links that went down"
	quietDowns    = "flood: links that went down while quiet"
	floodFlaps    = "flood: links that became suspect"
	quietFlaps    = "flood: links that became suspect while quiet"
	floodCost     = "flood: CPU per datagram up to the relay's sockets, flooder included"
	strayCost     = "flood: the same, of what misses the relay"
	blindCPU      = "flood: CPU of the relay's daemon under blind garbage and no traffic"
	forgedCPU     = "flood: CPU of the relay's daemon under forged frames and QUIC, and no traffic"
)

// flood measures a line of three, the middle of which is flooded from the place of its neighbour.
func (s *spine) flood(ctx context.Context) error {
	if _, err := exec.LookPath("iperf3"); err != nil {
		s.note("no flood was measured: iperf3 is not installed")
		return nil
	}
	m, err := topology.Builtin("line:3")
	if err != nil {
		return err
	}
	fs := s.figures()
	fs.mark(floodLost, "", floodMark)
	fs.mark(floodDowns, "links", 0)
	for range s.opt.Runs {
		if err := s.floodRun(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// floodRun makes a fresh lab: a link that went down in one run would be held down for longer in the next.
func (s *spine) floodRun(ctx context.Context, m *topology.Map) (err error) {
	l, err := s.up(ctx, m, lab.NoDelay, "flood")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	f := &flooded{s: s, l: l, first: m.Nodes[0].ID, victim: m.Nodes[1].ID, last: m.Nodes[2].ID}
	if err := f.prepare(ctx); err != nil {
		return err
	}
	return f.run(ctx)
}

type flooded struct {
	s                   *spine
	l                   *lab.Lab
	first, victim, last mesh.NodeID
	addr                netip.Addr    // of the victim, on the cable from the first
	seen                flood.Example // what garbage is made of
}

// prepare finds out how the victim is reached and what its traffic looks like.
func (f *flooded) prepare(ctx context.Context) error {
	names, err := cables(ctx, f.l, f.first)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has no link", f.first)
	}
	text, _ := f.l.Addr(f.victim, f.first)
	if f.addr, err = netip.ParseAddr(text); err != nil {
		return fmt.Errorf("%s and %s have no link: %w", f.first, f.victim, err)
	}
	return f.job(ctx, f.first, flood.Job{Interface: names[0], Kinds: flood.Kinds()}, &f.seen)
}

func (f *flooded) run(ctx context.Context) error {
	sink, err := f.sink(ctx)
	if err != nil {
		return err
	}
	before, err := f.events(ctx)
	if err != nil {
		return err
	}
	quiet, err := f.goodput(ctx)
	if err != nil {
		return err
	}
	between, err := f.events(ctx)
	if err != nil {
		return err
	}
	fs := f.s.figures()
	fs.add(sinkRate, "packets/s", sink)
	fs.add(quietGoodput, "Gbit/s", quiet)
	if err := errors.Join(f.goodputs(ctx, quiet, int(sink/2)), f.cpus(ctx, int(sink/2))); err != nil {
		return err
	}
	after, err := f.events(ctx)
	fs.add(floodDowns, "links", float64(after.downs-between.downs))
	fs.add(quietDowns, "links", float64(between.downs-before.downs))
	fs.add(quietFlaps, "links", float64(between.flaps-before.flaps))
	fs.add(floodFlaps, "links", float64(after.flaps-between.flaps))
	return err
}

// forged is garbage by who sees the cable.
func forged() []flood.Kind { return []flood.Kind{flood.Forged, flood.Sealed} }

// goodputs measures what is left of the quiet goodput under each flood.
func (f *flooded) goodputs(ctx context.Context, quiet float64, rate int) error {
	for _, kind := range []struct {
		figure string
		job    flood.Job
	}{
		{floodLost, flood.Job{Kinds: flood.Blind()}},
		{forgedLost, flood.Job{Kinds: forged()}},
		{elsewhereLost, flood.Job{Kinds: flood.Blind(), Stray: true}},
	} {
		kind.job.PerSecond, kind.job.For = rate, floodTime
		goodput, sent, err := f.under(ctx, kind.job)
		if err != nil {
			return err
		}
		f.s.say("%s: %.2f (%.3f instead of %.3f Gbit/s at %.0f packets/s)", kind.figure, 1-goodput/quiet, goodput, quiet, sent.PerSecond())
		f.s.figures().add(kind.figure, "", 1-goodput/quiet)
		switch each := float64(sent.CPU.Nanoseconds()) / float64(max(1, sent.Packets)); kind.figure {
		case floodLost:
			f.s.figures().add(floodRate, "packets/s", sent.PerSecond())
			f.s.figures().add(floodCost, "ns", each)
		case elsewhereLost:
			f.s.figures().add(strayCost, "ns", each)
		}
	}
	return nil
}

// cpus measures what the victim's daemon uses under each flood when it has nothing else to do.
func (f *flooded) cpus(ctx context.Context, rate int) error {
	for _, kind := range []struct {
		figure string
		kinds  []flood.Kind
	}{{blindCPU, flood.Blind()}, {forgedCPU, forged()}} {
		before, err := f.l.Usage(f.victim)
		if err != nil {
			return err
		}
		began := time.Now()
		if _, err := f.send(ctx, flood.Job{Kinds: kind.kinds, PerSecond: rate, For: cpuTime}); err != nil {
			return err
		}
		after, err := f.l.Usage(f.victim)
		if err != nil {
			return err
		}
		f.s.figures().add(kind.figure, "% of a core", 100*(after.CPU-before.CPU).Seconds()/time.Since(began).Seconds())
	}
	return nil
}

// under measures goodput while a flood is on.
func (f *flooded) under(ctx context.Context, j flood.Job) (goodput float64, sent flood.Rate, err error) {
	done := make(chan error, 1)
	go func() {
		var err error
		sent, err = f.send(ctx, j)
		done <- err
	}()
	goodput, err = f.goodput(ctx)
	return goodput, sent, errors.Join(err, <-done)
}

// sink returns how many packets a second a bare sink on the victim's machine reads of all that a flooder can send.
func (f *flooded) sink(ctx context.Context) (float64, error) {
	done := make(chan error, 1)
	go func() {
		_, err := f.send(ctx, flood.Job{Kinds: []flood.Kind{flood.Label}, Port: sinkPort, For: sinkTime})
		done <- err
	}()
	var read flood.Rate
	err := f.job(ctx, f.victim, flood.Job{Sink: netip.AddrPortFrom(f.addr, sinkPort), For: sinkTime}, &read)
	return read.PerSecond(), errors.Join(err, <-done)
}

// send floods from the first node.
func (f *flooded) send(ctx context.Context, j flood.Job) (r flood.Rate, err error) {
	j.Example = &f.seen
	err = f.job(ctx, f.first, j, &r)
	return r, err
}

// job starts this program again, on a node, and reads what it prints.
func (f *flooded) job(ctx context.Context, at mesh.NodeID, j flood.Job, result any) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	env, err := j.Env()
	if err != nil {
		return err
	}
	out, err := f.l.Exec(ctx, at, "env", env, self)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, result)
}

// goodput is that of one TCP stream from the first node to the last.
func (f *flooded) goodput(ctx context.Context) (float64, error) {
	far, err := f.l.Status(ctx, f.last)
	if err != nil {
		return 0, err
	}
	return tcp(ctx, f.l, f.first, f.last, far.Address, far.MTU-tcpHeader)
}

// events counts how often links went down or became suspect, as both ends of each saw it.
type events struct{ downs, flaps uint64 }

func (f *flooded) events(ctx context.Context) (e events, err error) {
	for _, id := range f.l.Nodes() {
		links, err := f.l.Client(id).Links(ctx)
		if err != nil {
			return e, err
		}
		for _, k := range links {
			e.downs += k.Downs
			e.flaps += k.Flaps
		}
	}
	return e, nil
}
