package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// Throughput has no mark yet. All of it happens on one machine: sender, receiver, every daemon and the kernel's links
// share its cores, so three hops cost more than they would between machines.
const (
	tcpTime   = 4 // seconds
	tcpPort   = "5201"
	tcpHeader = 40 + 20 // IPv6 and TCP
	rawTCP    = "TCP over a bare veth, same segment size, no offload"
	oneHop    = "TCP over one link"
	threeHops = "TCP over three hops"
	oneRatio  = "TCP over one link, share of bare veth"
	hopsRatio = "TCP over three hops, share of one link"
)

// throughput measures a line of four nodes: over the bare link between the first two, between them through the mesh,
// and from end to end.
func (s *spine) throughput(ctx context.Context) (err error) {
	for _, program := range []string{"iperf3", "ethtool"} {
		if _, err := exec.LookPath(program); err != nil {
			s.note("no throughput was measured: %s is not installed", program)
			return nil
		}
	}
	m, err := topology.Builtin("line:4")
	if err != nil {
		return err
	}
	l, err := s.up(ctx, m, lab.NoDelay, "throughput")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, n := range m.Nodes {
		if err := offloadOff(ctx, l, n.ID); err != nil {
			return err
		}
	}
	for range s.opt.Runs {
		if err := s.throughputRun(ctx, l, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *spine) throughputRun(ctx context.Context, l *lab.Lab, m *topology.Map) error {
	first, second, last := m.Nodes[0].ID, m.Nodes[1].ID, m.Nodes[len(m.Nodes)-1].ID
	near, err := l.Status(ctx, second)
	if err != nil {
		return err
	}
	far, err := l.Status(ctx, last)
	if err != nil {
		return err
	}
	bare, ok := l.Addr(second, first)
	if !ok {
		return fmt.Errorf("%s and %s have no link", first, second)
	}
	underlay, err := netip.ParseAddr(bare)
	if err != nil {
		return err
	}
	var rate [3]float64
	for i, to := range []struct {
		node mesh.NodeID
		addr netip.Addr
	}{{second, underlay}, {second, near.Address}, {last, far.Address}} {
		if rate[i], err = tcp(ctx, l, first, to.node, to.addr, near.MTU-tcpHeader); err != nil {
			return err
		}
	}
	s.say("TCP: bare veth %.2f, one link %.3f, three hops %.3f Gbit/s", rate[0], rate[1], rate[2])
	fs := s.figures()
	fs.add(rawTCP, "Gbit/s", rate[0])
	fs.add(oneHop, "Gbit/s", rate[1])
	fs.add(threeHops, "Gbit/s", rate[2])
	fs.add(oneRatio, "", rate[1]/rate[0])
	fs.add(hopsRatio, "", rate[2]/rate[1])
	return nil
}

// offloadOff makes a node's links carry packets of the size that a real network carries.
func offloadOff(ctx context.Context, l *lab.Lab, id mesh.NodeID) error {
	out, err := l.Exec(ctx, id, "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
		if _, err := l.Exec(ctx, id, "ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off"); err != nil {
			return err
		}
	}
	return nil
}

// tcp returns the rate at which one TCP stream is received, in Gbit/s, if its segments are so long.
func tcp(ctx context.Context, l *lab.Lab, from, to mesh.NodeID, addr netip.Addr, segment int) (float64, error) {
	if addr.Is4() {
		segment += 20 // the shorter IP header: the packets are the same size
	}
	return iperf(ctx, l, from, to, addr, (tcpTime+20)*time.Second, "-t", fmt.Sprint(tcpTime), "-M", fmt.Sprint(segment))
}

// iperf runs iperf3 between two nodes and returns the rate at which TCP is received, in Gbit/s.
func iperf(ctx context.Context, l *lab.Lab, from, to mesh.NodeID, addr netip.Addr, limit time.Duration, options ...string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	server, err := l.Command(ctx, to, "iperf3", "-s", "-1", "-p", tcpPort, "-B", addr.String())
	if err != nil {
		return 0, err
	}
	stop, err := l.Start(to, server)
	if err != nil {
		return 0, err
	}
	defer stop()
	args := append([]string{"iperf3", "-J", "-c", addr.String(), "-p", tcpPort}, options...)
	for { // the server says nothing when it listens
		out, err := l.Exec(ctx, from, args...)
		rate, refused, err := received(out, err)
		if !refused {
			return rate, err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// received reads iperf3's report, which comes whether it failed or not. refused says that nobody listened yet.
func received(out []byte, failed error) (gbps float64, refused bool, err error) {
	var r struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	err = json.Unmarshal(out, &r)
	switch {
	case strings.Contains(r.Error, "unable to connect"):
		return 0, true, nil
	case failed != nil || err != nil || r.Error != "":
		return 0, false, fmt.Errorf("iperf3: %w", errors.Join(failed, err, errors.New(r.Error)))
	case r.End.Received.BitsPerSecond <= 0:
		return 0, false, fmt.Errorf("iperf3 reports that nothing arrived: %s", out)
	}
	return r.End.Received.BitsPerSecond / 1e9, false, nil
}
