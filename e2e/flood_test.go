package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/lab/flood"
)

const (
	floodRate = 120000 // datagrams a second that are attempted
	floodFor  = 2 * time.Second

	floodLoss = 0.05 // of the mesh's packets may be lost meanwhile

	floodGrowth = 64 // MiB that the daemon may grow by, race detector and all

	// What is forged reaches the daemon, one by one; with the race detector it is ten times slower than it is.
	forgedRate     = 100000
	forgedRateRace = 5000
)

// Where each kind of garbage ends. What strangers may send at all is limited, and more of it than is read overflows.
var floodEnds = map[flood.Kind][]string{
	flood.Random:  {"udp_refused"},
	flood.Label:   {"udp_refused"},
	flood.Version: {"udp_refused"},
	flood.Short:   {"udp_refused"},
	flood.Initial: {"udp_overflow_newcomer", "udp_newcomers_limited", "udp_newcomers"},
	flood.Forged:  {"link_bad_mac", "link_replay", "udp_overflow_frames"},
	flood.Sealed:  {"udp_quic", "udp_quic_dropped", "udp_overflow_quic"},
}

// A relay is flooded from its neighbour's place, by forged hosts and by the neighbour's own address: no link goes down,
// the traffic that it relays goes on, its memory stays bounded, each kind is counted by a name, and afterwards all is as
// before.
func TestFlood(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	if log := string(beta.log()); strings.Contains(log, "does not sort") {
		t.Skipf("floods are not tried: the kernel does not sort datagrams here:\n%s", tail(beta.log(), 3))
	}
	a, g := listen(t, alpha), listen(t, gamma)
	t.Cleanup(func() { a.close(); g.close() })
	knockAll(t, 20*time.Second, a, g)
	rss := beta.rss(t)
	for _, kind := range flood.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			if downs := n.flooded(t, kind, a, g); downs != 0 {
				t.Errorf("links went down %d times", downs)
			}
		})
	}
	if grown := beta.rss(t) - rss; grown > floodGrowth<<20 {
		t.Errorf("the daemon grew by %d MiB", grown>>20)
	} else {
		t.Logf("the daemon grew by %.1f MiB", float64(grown)/(1<<20))
	}
	n.converged(n.machines...)
	knockAll(t, 10*time.Second, a, g)
}

// flooded sends one kind of garbage to beta while two applications talk through it, and returns how often links went down.
func (n *network) flooded(t *testing.T, kind flood.Kind, a, g *endpoint) (downs uint64) {
	t.Helper()
	beta, rate := n.at("beta"), floodRate
	if kind == flood.Forged || kind == flood.Sealed {
		if rate = forgedRate; raceEnabled {
			rate = forgedRateRace
		}
	}
	flows := [][2]*endpoint{{a, g}, {g, a}}
	was := [2]tally{a.tally(g), g.tally(a)}
	s := a.m.garbage(t, "to-beta", kind)
	before, busy, up := beta.counters(t), beta.busy(t), n.downs()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); stream(done, 5*time.Millisecond, flows...) }()
	sent := s.send(t, rate)
	busy = beta.busy(t) - busy
	close(done)
	<-ended
	settled(time.Second, flows...)
	var counted int
	eventually(t, 10*time.Second, "count the garbage", func(context.Context) error {
		// The kernel takes what it is sent, but the cable's queue may be full now and then.
		if counted = risen(before, beta.counters(t), floodEnds[kind]...); counted < int(sent.Packets)*8/10 {
			return fmt.Errorf("%v rose by %d, of %d sent", floodEnds[kind], counted, sent.Packets)
		}
		return nil
	})
	t.Logf("%.0f a second, %d of %d counted; beta used %.0f %% of a core", sent.PerSecond(), counted, sent.Packets, 100*busy.Seconds()/sent.Took.Seconds())
	if downs = n.downs() - up; downs != 0 {
		return downs
	}
	for i, f := range flows {
		now := f[0].tally(f[1])
		sent, lost := now.sent-was[i].sent, now.lost()-was[i].lost()
		t.Logf("%s to %s: %d of %d lost", f[0].m.id, f[1].m.id, lost, sent)
		if sent < 100 || float64(lost) > floodLoss*float64(sent) {
			t.Errorf("%s to %s: %d of %d packets lost", f[0].m.id, f[1].m.id, lost, sent)
		}
	}
	return 0
}

// sender is a flood.Sender of one test.
type sender struct{ *flood.Sender }

// garbage prepares one kind of garbage for the machine at the other end of a cable. send uses it up.
func (m *machine) garbage(t *testing.T, iface string, kind flood.Kind) sender {
	t.Helper()
	kinds := []flood.Kind{kind}
	var s sender
	if err := m.do(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		e, err := flood.Catch(ctx, iface, kinds)
		if err != nil {
			return err
		}
		s.Sender, err = flood.NewSender(e, kinds, 1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// send floods for floodFor.
func (s sender) send(t *testing.T, rate int) flood.Rate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), floodFor)
	defer cancel()
	r, err := s.Send(ctx, rate)
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return r
}

// flood sends one kind of garbage to the machine at the other end of a cable.
func (m *machine) flood(t *testing.T, iface string, kind flood.Kind, rate int) flood.Rate {
	t.Helper()
	s := m.garbage(t, iface, kind)
	return s.send(t, rate)
}

// downs counts how often links went down, as both ends of each saw it.
func (n *network) downs() (sum uint64) {
	n.t.Helper()
	for _, m := range n.machines {
		links, err := m.client.Links(n.t.Context())
		if err != nil {
			n.t.Fatal(err)
		}
		for _, l := range links {
			sum += l.Downs
		}
	}
	return sum
}

// busy returns the processor time that the machine's daemon has used, in hundredths of a second.
func (m *machine) busy(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.daemon.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, f := range strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))[11:13] { // utime and stime (proc_pid_stat(5))
		sum += must(strconv.Atoi(f))(t)
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

// rss returns the resident memory of the machine's daemon in bytes.
func (m *machine) rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", m.daemon.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
