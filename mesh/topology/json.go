package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
// target, source_tq, target_tq, type}, where x is the latitude, y the longitude and tq the delivery ratio that batman-adv or OLSR
// measured. Real snapshots hold links to nodes that had just gone and links that deliver nothing: these are left out and
// counted in Skipped, and so is a second node with the same id.
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
		if n.X != nil && n.Y != nil && onEarth(*n.X, *n.Y) {
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
	quality := 1.0
	for _, q := range []*float64{l.SourceTQ, l.TargetTQ} {
		if q != nil {
			quality = min(quality, *q)
		}
	}
	if !ok1 || !ok2 || a == b || !(quality > 0) {
		m.Skipped++
		return
	}
	link := Link{A: a, B: b, Quality: quality, Radio: l.Type == "wifi"}
	floor := wireFloor
	if link.Radio {
		floor = radioFloor
	}
	link.Delay = fibreDelay(m.Nodes[a], m.Nodes[b], floor)
	m.Links = append(m.Links, link)
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
