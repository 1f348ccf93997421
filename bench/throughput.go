package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
)

// What the flood's stream is.
const (
	tcpTime   = 4 // seconds
	tcpPort   = "5201"
	tcpHeader = 40 + 20 // IPv6 and TCP
)

// The marks of throughput. The one to beat is wireguard-go.
const (
	rival         = "wireguard-go"
	directMark    = 2.0 // times as much, where links carry segments whole
	realMark      = 1.5 // times as much, in packets of 1500 bytes
	hopsMark      = 3.0 // times as much over three hops, where the rival decrypts and encrypts at each
	relayMark     = 0.35
	rttMark       = 1.0 // of the rival's
	rttLoadedMark = 2.0 // ms
)

// throughput compares x0t with its peers over one link and over three, each with and without segmentation offload.
func (s *spine) throughput(ctx context.Context) error {
	for _, hops := range []int{1, 3} {
		for _, noOffload := range []bool{false, true} {
			opt := ThroughputOptions{Binary: s.opt.Binary, Hops: hops, NoOffload: noOffload, Runs: s.opt.Runs, Peers: s.known(ThroughputPeers()), Progress: s.opt.Progress}
			r, err := Throughput(ctx, opt)
			if err != nil {
				return err
			}
			if err := s.keep(fmt.Sprintf("throughput-%dhop-offload-%s", hops, onOff(!noOffload)), r); err != nil {
				return err
			}
			s.carried(r)
		}
	}
	return nil
}

func onOff(on bool) string { return map[bool]string{true: "on", false: "off"}[on] }

// carried adds what a comparison found to the figures.
func (s *spine) carried(r *ThroughputReport) {
	fs := s.figures()
	where := fmt.Sprintf("TCP over %d link(s), offload %s", r.Hops, onOff(r.Offload))
	factor := where + ", times " + rival
	switch {
	case r.Hops > 1:
		fs.markLeast(factor, "×", hopsMark)
		fs.mark(where+", CPU of one relay over that of both ends", "", relayMark)
	case r.Offload:
		fs.markLeast(factor, "×", directMark)
	default:
		fs.markLeast(factor, "×", realMark)
	}
	rtt := where + ": idle RTT over that of " + rival
	if r.Hops == 1 {
		fs.mark(rtt, "", rttMark)
		fs.mark(where+": RTT beside the stream", "ms", rttLoadedMark)
	}
	theirs := &Carried{}
	if p := r.Peers[rival]; p != nil {
		theirs = p
	}
	for _, q := range ratios(r.Samples, theirs.Samples) {
		fs.add(factor, "×", q)
	}
	for i, c := range r.Samples {
		fs.add(where, "Gbit/s", c.Gbps)
		fs.add(where+": RTT beside the stream", "ms", c.RTTLoad)
		if r.Hops > 1 {
			fs.add(where+", CPU of one relay over that of both ends", "", c.RelayCost)
		}
		if i < len(theirs.Samples) && theirs.Samples[i].RTT > 0 {
			fs.add(rtt, "", c.RTT/theirs.Samples[i].RTT)
		}
	}
	if theirs.Unmeasured != "" {
		s.note("%s: %s was not measured: %s", where, rival, theirs.Unmeasured)
	}
}

// cables returns the interfaces that lead from a node to its neighbours.
func cables(ctx context.Context, l *lab.Lab, id mesh.NodeID) (names []string, err error) {
	out, err := l.Exec(ctx, id, "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 {
			name, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
			names = append(names, name)
		}
	}
	return names, nil
}

// offloadOff makes a node's links carry packets of the size that a real network carries.
func offloadOff(ctx context.Context, l *lab.Lab, id mesh.NodeID) error {
	names, err := cables(ctx, l, id)
	if err != nil {
		return err
	}
	for _, name := range names {
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
