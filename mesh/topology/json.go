package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

type jsonMap struct {
	Nodes []jsonNode `json:"nodes"`
	Links []jsonLink `json:"links"`
}

type jsonNode struct {
	ID   json.RawMessage `json:"id"` // a number or a string
	Name string          `json:"name"`
	X    *float64        `json:"x"` // latitude
	Y    *float64        `json:"y"` // longitude
}

type jsonLink struct {
	Source   json.RawMessage `json:"source"`
	Target   json.RawMessage `json:"target"`
	SourceTQ *float64        `json:"source_tq"` // delivery, 0 to 1
	TargetTQ *float64        `json:"target_tq"`
	Type     string          `json:"type"`
}

// ParseJSON reads a community network as meshnet-lab collects them: nodes {id, name, x, y} and links {source,
// target, source_tq, target_tq, type}, where x is the latitude, y the longitude and tq the share of broadcast frames that
// batman-adv or OLSR saw arrive. What that means for the packets of a mesh on top (q is the worse of the two):
//
//	wifi    quality 1-(1-q)⁴: the radio sends a frame that is not acknowledged up to three times more, a broadcast never;
//	        delay: that of the distance, at least 1 ms, times the number of sendings that one frame takes on average
//	vpn     quality q; delay: 5 ms for two access lines and the distance
//	other   (cables, unknown) quality q; delay: that of the distance
//
// Real snapshots hold links to nodes that had just gone and links that deliver nothing (q < 0.05): these are left out
// and counted in Skipped, and so is a second node with the same id. Names that are no host names are respelled, places
// that are not on earth are ignored.
func ParseJSON(b []byte) (*Map, error) {
	var in jsonMap
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, jsonError(b, err)
	}
	if len(in.Nodes) > MaxNodes || len(in.Links) > MaxLinks {
		return nil, tooLarge()
	}
	m := &Map{}
	names := newNamer()
	index := map[string]int{}
	for i, n := range in.Nodes {
		id := string(n.ID)
		if id == "" {
			return nil, fmt.Errorf("%w: node %d of the list has no id: give it one", ErrFormat, i)
		}
		if _, ok := index[id]; ok {
			m.Skipped++
			continue
		}
		index[id] = len(m.Nodes)
		node := Node{Label: n.Name, ID: names.name(n.Name)}
		// 0, 0 is what a router reports that nobody told where it is.
		if n.X != nil && n.Y != nil && onEarth(*n.X, *n.Y) && (*n.X != 0 || *n.Y != 0) {
			node.Lat, node.Lon, node.Located = *n.X, *n.Y, true
		}
		m.Nodes = append(m.Nodes, node)
	}
	for _, l := range in.Links {
		m.jsonLink(l, index)
	}
	return m, nil
}

func (m *Map) jsonLink(l jsonLink, index map[string]int) {
	a, ok1 := index[string(l.Source)]
	b, ok2 := index[string(l.Target)]
	q := 1.0
	for _, tq := range []*float64{l.SourceTQ, l.TargetTQ} {
		if tq != nil {
			q = min(q, *tq)
		}
	}
	if !ok1 || !ok2 || a == b || q < leastTQ {
		m.Skipped++
		return
	}
	link := Link{A: a, B: b, Quality: q}
	switch l.Type {
	case "wifi":
		link.Radio = true
		lost := float64(float64(1-q) * float64(1-q))
		link.Quality = 1 - float64(lost*lost)
		air := max(m.apartness(a, b), radioFloor)
		link.Delay = time.Duration(sendings(q) * float64(air)).Truncate(time.Microsecond)
	case "vpn":
		link.Delay = accessDelay + m.apartness(a, b)
	default:
		link.Delay = fibreDelay(m.Nodes[a], m.Nodes[b], wireFloor)
	}
	m.Links = append(m.Links, link)
}

// apartness is the delay of the distance between two nodes; 0 if it is not known.
func (m *Map) apartness(a, b int) time.Duration {
	if !m.Nodes[a].Located || !m.Nodes[b].Located {
		return 0
	}
	return fibreDelay(m.Nodes[a], m.Nodes[b], 0)
}

// What lies between the numbers of a community's map and the packets of a mesh.
const (
	leastTQ     = 0.05                 // below it a link is an accident: no protocol would call it one
	accessDelay = 5 * time.Millisecond // of a tunnel between two homes, beside the distance
	radioTries  = 4                    // sendings of a unicast frame before 802.11 gives up
)

// sendings is how often a frame is sent on average if each sending arrives with probability q and the last is number
// radioTries.
func sendings(q float64) float64 {
	sum, p := 0.0, 1.0
	for range radioTries {
		sum += p
		p *= 1 - q
	}
	return sum
}

// jsonError adds the line to what encoding/json says.
func jsonError(b []byte, err error) error {
	offset := int64(len(b))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = syntax.Offset
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset = wrong.Offset
	}
	offset = min(max(offset, 0), int64(len(b)))
	line := 1 + bytes.Count(b[:offset], []byte("\n"))
	return fmt.Errorf("%w: line %d, byte %d: %w: write an object with the lists nodes and links", ErrFormat, line, offset, err)
}

func tooLarge() error {
	return fmt.Errorf("%w: the most are %d nodes and %d links: cut out a part", ErrSize, MaxNodes, MaxLinks)
}
