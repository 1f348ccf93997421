package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// peer is a program, or the kernel alone, that x0t is compared with.
type peer struct {
	name   string
	line   func(context.Context, *site) (*overlay, error) // put up on a line, for throughput; nil = it is not compared there
	net    func(context.Context, *site) (*overlay, error) // put up on a map with several ways, for failover; nil = not there
	kernel bool                                           // it is batman-adv of the kernel, or of one that is started for it
	slow   pace                                           // how failover goes with it
}

// pace is how a peer's failover is measured.
type pace struct {
	trials int           // at most: what takes a minute is not done hundreds of times
	limit  time.Duration // by when traffic has to be back
	settle time.Duration // from the end of a fault until everything is as before
}

// peers lists those that are known, in the order of the tables.
func peers() []peer {
	quick := pace{trials: 30, limit: 10 * time.Second, settle: 4 * time.Second}
	ospf := pace{trials: 20, limit: 10 * time.Second, settle: 8 * time.Second} // a router tells of its links every 5 s at most (RFC 2328, MinLSInterval)
	return []peer{
		{name: "veth", line: upVeth},
		{name: "wireguard-go", line: upWireguard},
		{name: "tinc", line: upTinc, net: upTinc, slow: pace{trials: 5, limit: 90 * time.Second, settle: 10 * time.Second}},
		{name: "nebula", line: upNebula},
		{name: "yggdrasil", line: upYggdrasil, net: upYggdrasil, slow: pace{trials: 10, limit: 60 * time.Second, settle: 10 * time.Second}},
		{name: "babeld", net: upBabel, slow: pace{trials: 5, limit: 60 * time.Second, settle: 30 * time.Second}},
		{name: "babeld-100ms", net: upBabelFast, slow: quick},
		{name: "bird-bfd", net: upBird, slow: ospf},
		{name: "frr-bfd", net: upFRR, slow: ospf},
		{name: "batman-adv", net: upBatman, kernel: true, slow: pace{trials: 10, limit: 60 * time.Second, settle: 15 * time.Second}},
		{name: "batman-adv-200ms", net: upBatmanFast, kernel: true, slow: pace{trials: 20, limit: 30 * time.Second, settle: 6 * time.Second}},
	}
}

// ThroughputPeers and FailoverPeers name those that a benchmark knows.
func ThroughputPeers() []string { return peerNames(func(p peer) bool { return p.line != nil }) }
func FailoverPeers() []string   { return peerNames(func(p peer) bool { return p.net != nil }) }

func peerNames(fits func(peer) bool) (names []string) {
	for _, p := range peers() {
		if fits(p) {
			names = append(names, p.name)
		}
	}
	return names
}

// NoPeers as the only name of a peer stands for none.
const NoPeers = "none"

// choosePeers returns the peers of these names; none given stands for all.
func choosePeers(names, known []string) ([]peer, error) {
	switch {
	case len(names) == 0:
		names = known
	case len(names) == 1 && names[0] == NoPeers:
		return nil, nil
	}
	var out []peer
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%w: %q; there are %s, and %s for nobody", errNoPeer, n, strings.Join(known, ", "), NoPeers)
		}
		for _, p := range peers() {
			if p.name == n {
				out = append(out, p)
			}
		}
	}
	return out, nil
}
