package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/tun"
	"x0tta6bl4/mesh"
)

// Times of the judgement.
const (
	unseenFor  = 10 * time.Second // a link that is up is announced by the neighbour much sooner than this
	clockLimit = time.Minute      // announcements dated further ahead are refused (docs/protocol.md)
)

// vitals are what a node's health is judged by, at one moment.
type vitals struct {
	now     time.Time
	svid    api.SVID
	up      int // links
	total   int // links and configured addresses that no link leads to
	members int // nodes known, this one included

	unseen  time.Duration // for how long no neighbour has announced a link with us although one is up; 0 = it does
	tun     error         // of tun.Device.Check
	sockets []string      // what ails each socket through which nothing passes
	of      int           // so many sockets there are

	used     int              // peers that packets were sent to lately
	stalled  []mesh.NodeID    // of them, those that nothing came back from
	clocks   []node.ClockView // of the neighbours
	warnings []string
}

// judge says how the node is and why: what keeps traffic from passing first, then what needs care. Each reason is a
// sentence that ends in what to do.
func (v vitals) judge() (api.Health, []string) {
	down, care := v.identity()
	bad := func(s string) { down = append(down, s) }
	mind := func(s string) { care = append(care, s) }
	if s := v.device(); s != "" {
		bad(s)
	}
	cut := false
	switch {
	case v.up == 0 && (v.total > 0 || v.members > 1):
		cut = true
		bad("no link is up; see x0t links for why, and check cables, addresses and firewalls (UDP) on the way to a neighbour")
	case v.unseen >= unseenFor:
		cut = true
		bad(fmt.Sprintf("links are up, but for %s no neighbour has announced one, so no path leads here; "+
			"see the clocks and the authority's certificates here and at the neighbours", v.unseen.Round(time.Second)))
	}
	if n := len(v.sockets); n > 0 && n == v.of {
		cut = true
		bad("nothing passes the UDP sockets: " + strings.Join(v.sockets, "; ") + "; check the interfaces and restart x0t")
	} else if n > 0 {
		mind("nothing passes a UDP socket: " + strings.Join(v.sockets, "; "))
	}
	if len(v.stalled) > 0 {
		s := "packets to " + nodes(v.stalled) + " get no answer, not even to a probe; try x0t trace " + v.stalled[0].String()
		if len(v.stalled) == v.used && (v.used > 1 || v.members <= 2) {
			bad(s)
		} else { // a single member that answers nothing is that member's doing, for all that is known
			mind(s)
		}
	}
	switch s, ours := v.clock(); {
	case s == "":
	case ours && cut:
		down = slices.Insert(down, 0, s) // the cause of what else is wrong
	default:
		mind(s)
	}
	if missing := v.total - v.up; v.up > 0 && missing > 0 {
		mind(fmt.Sprintf("%d of %d links are not up; see x0t links", missing, v.total))
	}
	for _, w := range v.warnings {
		mind(w)
	}
	switch {
	case len(down) > 0:
		return api.HealthDown, append(down, care...)
	case len(care) > 0:
		return api.HealthDegraded, care
	}
	return api.HealthOK, nil
}

func (v vitals) identity() (down, care []string) {
	s := v.svid
	const remedy = "; see that an authority runs and can be reached"
	switch {
	case v.now.After(s.NotAfter):
		down = []string{"the node's SVID expired at " + s.NotAfter.Format(time.RFC3339) + " and no authority renewed it" + remedy}
	case v.now.Before(s.NotBefore):
		down = []string{"the node's SVID is valid from " + s.NotBefore.Format(time.RFC3339) + " only; set this node's clock"}
	case !s.RenewAt.IsZero() && v.now.Sub(s.RenewAt) > s.NotAfter.Sub(s.RenewAt)/4:
		care = []string{"the SVID should have been renewed at " + s.RenewAt.Format(time.RFC3339) +
			" and ends at " + s.NotAfter.Format(time.RFC3339) + remedy}
	}
	return down, care
}

func (v vitals) device() string {
	switch {
	case v.tun == nil:
		return ""
	case errors.Is(v.tun, tun.ErrDown):
		return "the network device " + TunName + " was set down from outside; set it up again with: ip link set dev " + TunName + " up"
	case errors.Is(v.tun, tun.ErrBare):
		return "the network device cannot carry packets: " + v.tun.Error() + "; x0t restores it, unless another program takes it away again"
	}
	return "the network device cannot carry packets: " + v.tun.Error() + "; restart x0t"
}

// clock says what is wrong with clocks, and whether it is most likely ours: that most neighbours' differ from it alike.
func (v vitals) clock() (s string, ours bool) {
	var ahead, behind []node.ClockView
	for _, c := range v.clocks {
		switch {
		case c.Ahead > clockLimit:
			ahead = append(ahead, c)
		case c.Ahead < -clockLimit:
			behind = append(behind, c)
		}
	}
	off, word := ahead, "behind"
	if len(behind) > len(ahead) {
		off, word = behind, "ahead of"
	}
	if len(off) == 0 {
		return "", false
	}
	var who []mesh.NodeID
	for _, c := range off {
		who = append(who, c.Neighbour)
	}
	mid := off[len(off)/2].Ahead.Abs().Round(time.Second) // any of them serves: they are of one sign
	s = fmt.Sprintf("this node's clock is about %s %s that of %s: more than %s apart, nodes refuse each other's announcements; "+
		"set the clock that is wrong, and keep it with NTP", mid, word, nodes(who), clockLimit)
	return s, 2*len(off) > len(v.clocks)
}

// nodes names some nodes, no more than a sentence bears.
func nodes(ns []mesh.NodeID) string {
	const most = 5
	names := make([]string, 0, most)
	for _, n := range ns[:min(len(ns), most)] {
		names = append(names, n.String())
	}
	s := strings.Join(names, ", ")
	if len(ns) > most {
		s += fmt.Sprintf(" and %d more", len(ns)-most)
	}
	return s
}
