package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
)

// How one contender is measured in one run.
const (
	idlePings  = 100
	idlePing   = 10 * time.Millisecond
	loadPing   = 20 * time.Millisecond
	loadWarm   = 500 * time.Millisecond // the stream has found its rate
	streamSlop = 20 * time.Second       // that iperf3 may take beside its stream
)

func sorted(s []string) []string { slices.Sort(s); return s }

// run measures one contender once: pings alone, then a TCP stream with pings beside it.
func (c *comparison) run(ctx context.Context, o *overlay) (Carry, error) {
	ids := c.site.nodes()
	from, to := ids[0], ids[len(ids)-1]
	var got Carry
	idle, err := c.site.pings(ctx, from, o.addrs[to].String(), idlePing, idlePings)
	if err != nil {
		return got, err
	}
	got.RTT = 1000 * percentile(idle, 50)
	before, err := o.usages(ids)
	if err != nil {
		return got, err
	}
	began := time.Now()
	var loaded []float64
	var pinging error
	var wg sync.WaitGroup
	wg.Go(func() {
		if pinging = sleep(ctx, loadWarm); pinging == nil {
			loaded, pinging = c.site.pings(ctx, from, o.addrs[to].String(), loadPing, int((c.opt.Time-loadWarm)/loadPing))
		}
	})
	got.Gbps, err = c.stream(ctx, o, from, to)
	took := time.Since(began)
	after, usageErr := o.usages(ids)
	wg.Wait()
	if err := errors.Join(err, usageErr, pinging); err != nil {
		return got, err
	}
	got.RTTLoad = percentile(loaded, 50)
	got.spend(before, after, took)
	return got, nil
}

// spend fills in what the daemons used between two looks, those of the first and the last node being the ends.
func (c *Carry) spend(before, after []lab.Usage, took time.Duration) {
	last := len(after) - 1
	for i := range after {
		cores := (after[i].CPU - before[i].CPU).Seconds() / took.Seconds()
		if c.CPU += cores; i == 0 || i == last {
			c.Ends += cores
		} else {
			c.Relays += cores
		}
		c.RSS = max(c.RSS, float64(after[i].RSS)/1e6)
	}
	if c.Ends > 0 && last > 1 {
		c.RelayCost = c.Relays / float64(last-1) / c.Ends
	}
}

func (o *overlay) usages(ids []mesh.NodeID) (out []lab.Usage, err error) {
	for _, id := range ids {
		u, err := o.usage(id)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// stream returns the rate at which TCP is received, in Gbit/s.
func (c *comparison) stream(ctx context.Context, o *overlay, from, to mesh.NodeID) (float64, error) {
	seconds := strconv.Itoa(int(c.opt.Time.Seconds()))
	return iperf(ctx, c.site.lab, from, to, o.addrs[to], c.opt.Time+streamSlop, "-t", seconds, "-P", strconv.Itoa(c.opt.Streams))
}

// pings returns the round trips that ping measured, in milliseconds. Some may be lost, not all.
func (s *site) pings(ctx context.Context, from mesh.NodeID, to string, every time.Duration, count int) ([]float64, error) {
	count = max(count, 1)
	limited, cancel := context.WithTimeout(ctx, time.Duration(count)*every+streamSlop)
	defer cancel()
	out, err := s.lab.Exec(limited, from, "ping", "-n", "-i", fmt.Sprintf("%.3f", every.Seconds()), "-c", strconv.Itoa(count), "-W", "1", to)
	times := pingTimes(string(out))
	if len(times) == 0 {
		return nil, fmt.Errorf("no ping from %s to %s came back: %w", from, to, errors.Join(err, ctx.Err()))
	}
	return times, ctx.Err()
}

// pingTimes reads the round trips in what ping writes: "64 bytes from …: icmp_seq=1 ttl=64 time=0.123 ms".
func pingTimes(out string) (times []float64) {
	for line := range strings.Lines(out) {
		_, after, ok := strings.Cut(line, " time=")
		text, _, unit := strings.Cut(after, " ms")
		if v, err := strconv.ParseFloat(text, 64); ok && unit && err == nil && v >= 0 {
			times = append(times, v)
		}
	}
	return times
}
