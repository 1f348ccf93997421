package mesh

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// Label names one link at one node: a relay that finds it in a frame sends the frame out by that link. Zero is
// no label. A label is bound to (neighbour, underlay) and means nothing at any other node.
type Label uint16

// Cost is the expected transmission time of a small frame over a link, in microseconds, never less than 1. The
// cost of a path is the sum of its links'.
type Cost uint32

// MaxCost is the largest cost a link may announce (16.7 s). A link that costs more is not announced.
const MaxCost Cost = 1<<24 - 1

// BitsPerSecond is a data rate.
type BitsPerSecond uint64

// Quality classes a link by the share of hellos that cross it in the worse of its two directions.
type Quality uint8

// The classes. The zero value means that nothing was measured yet.
const (
	QualityUnknown Quality = iota
	Bad                    // ≤ 40 %
	Poor                   // > 40 %
	Fair                   // > 60 %
	Good                   // > 80 %
	Excellent              // > 95 %
)

// QualityOf returns the class of a delivery ratio between 0 and 1.
func QualityOf(delivery float64) Quality {
	switch {
	case delivery > 0.95:
		return Excellent
	case delivery > 0.80:
		return Good
	case delivery > 0.60:
		return Fair
	case delivery > 0.40:
		return Poor
	}
	return Bad
}

func (q Quality) String() string {
	names := [...]string{"unknown", "bad", "poor", "fair", "good", "excellent"}
	if int(q) < len(names) {
		return names[q]
	}
	return fmt.Sprintf("quality(%d)", uint8(q))
}

// MarshalText makes a Quality its name in JSON.
func (q Quality) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText reads the name of a class.
func (q *Quality) UnmarshalText(b []byte) error {
	for c := QualityUnknown; c <= Excellent; c++ {
		if c.String() == string(b) {
			*q = c
			return nil
		}
	}
	return fmt.Errorf("unknown link quality %q", b)
}

// LinkState is what one end believes of a link.
type LinkState uint8

// The states: Down → Up on hellos heard both ways; Up → Suspect after 1.5 H of silence; Suspect → Up on any
// fresh frame; Suspect → Down when the probes are silent too.
const (
	LinkDown LinkState = iota
	LinkSuspect
	LinkUp
)

func (s LinkState) String() string {
	switch s {
	case LinkDown:
		return "down"
	case LinkSuspect:
		return "suspect"
	case LinkUp:
		return "up"
	}
	return fmt.Sprintf("linkstate(%d)", uint8(s))
}

// MarshalText makes a LinkState its name in JSON.
func (s LinkState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a state.
func (s *LinkState) UnmarshalText(b []byte) error {
	for c := LinkDown; c <= LinkUp; c++ {
		if c.String() == string(b) {
			*s = c
			return nil
		}
	}
	return fmt.Errorf("unknown link state %q", b)
}

// Usable reports whether frames may go by the link.
func (s LinkStatus) Usable() bool { return s.State != LinkDown && !s.Thin }

// LinkStatus is what the liveness machine of a link measured. Ratios are between 0 and 1.
type LinkStatus struct {
	State   LinkState
	Since   time.Time     // of the last change of State
	RTT     time.Duration // smoothed; 0 = not measured yet
	MinRTT  time.Duration
	Jitter  time.Duration // mean deviation of RTT
	LossIn  float64       // hellos of the neighbour's that did not arrive here
	LossOut float64       // hellos of ours that the neighbour says did not arrive there
	Quality Quality
	Cost    Cost
	MTU     uint16 // bytes of UDP payload that were shown to cross the link; 0 = not measured yet
	Thin    bool   // not even the least that a link must carry crosses it: it takes hellos only
}

// Adjacency is one link as one of its ends announces it.
type Adjacency struct {
	Neighbour NodeID
	Label     Label // the announcer's label for the link
	Remote    Label // the neighbour's label for the same link; the two announcements of a link mirror each other
	Cost      Cost
	Quality   Quality
	MTU       uint16 // bytes of UDP payload that cross the link in one datagram
	Capacity  BitsPerSecond
	Suspect   bool
	Groups    []uint32 // shared-risk groups, ascending
}

// RiskGroup returns the number by which a shared-risk group, such as a duct or a mast, is announced: the first four bytes
// of the SHA-256 of its name. Equal names mean the same group at all nodes.
func RiskGroup(name string) uint32 {
	h := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint32(h[:])
}

// Edge is one direction of a link that both ends announce: From reaches To by Label.
type Edge struct {
	From, To NodeID
	Label    Label // From's label
	Remote   Label // To's label for the same link; 0 = not known
	Cost     Cost  // the larger of both announcements
	Quality  Quality
	MTU      uint16
	Capacity BitsPerSecond
	Suspect  bool
	Groups   []uint32
}

// Path is one way from Nodes[0] to the last of Nodes. Labels[i] is the label by which Nodes[i] sends to
// Nodes[i+1]; so len(Labels) == len(Nodes)-1. A Path is immutable once made.
type Path struct {
	Nodes  []NodeID
	Labels []Label
	Cost   Cost
	MTU    uint16 // of the thinnest link

	Capacity BitsPerSecond // of the thinnest link of those that announce one; 0 = none does

	// Number is the source's own name for the path, by which both ends count what went by it: 1 to 31, 0 for none. It
	// belongs to one destination, and is no part of what makes paths the same.
	Number uint8
}

// Valid reports whether p is a path at all: at least one hop, no node twice, no zero label.
func (p Path) Valid() bool {
	if len(p.Labels) == 0 || len(p.Nodes) != len(p.Labels)+1 {
		return false
	}
	for i, n := range p.Nodes {
		for _, m := range p.Nodes[:i] {
			if n == m {
				return false
			}
		}
	}
	for _, l := range p.Labels {
		if l == 0 {
			return false
		}
	}
	return true
}

// Same reports whether p and q use the same links in the same order.
func (p Path) Same(q Path) bool {
	if len(p.Labels) != len(q.Labels) || len(p.Nodes) != len(q.Nodes) {
		return false
	}
	for i := range p.Labels {
		if p.Labels[i] != q.Labels[i] {
			return false
		}
	}
	for i := range p.Nodes {
		if p.Nodes[i] != q.Nodes[i] {
			return false
		}
	}
	return true
}
