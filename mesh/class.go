package mesh

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrProtect is wrapped by every error about text that is no ProtectRule.
var ErrProtect = errors.New("not a rule of what is protected")

// ProtectKind says what a ProtectRule looks at.
type ProtectKind uint8

// The kinds. The zero value is no rule.
const (
	ProtectNone ProtectKind = iota
	ProtectAll              // every packet
	ProtectDSCP             // the code point in the traffic class (RFC 2474)
	ProtectPort             // TCP or UDP, this port at either end
	ProtectNode             // the destination
)

// ProtectRule names packets that are always sent on two paths. It is comparable and made by ParseProtect.
type ProtectRule struct {
	Kind     ProtectKind
	DSCP     uint8  // 0 to 63
	Protocol uint8  // ProtocolTCP or ProtocolUDP
	Port     uint16 // not 0
	Node     NodeID
}

// The protocols with ports, as IPv6 numbers them.
const (
	ProtocolTCP uint8 = 6
	ProtocolUDP uint8 = 17
)

// codePoints are the names of code points: RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622.
var codePoints = [...]struct {
	name  string
	value uint8
}{
	{"CS0", 0}, {"LE", 1}, {"CS1", 8}, {"AF11", 10}, {"AF12", 12}, {"AF13", 14}, {"CS2", 16}, {"AF21", 18}, {"AF22", 20},
	{"AF23", 22}, {"CS3", 24}, {"AF31", 26}, {"AF32", 28}, {"AF33", 30}, {"CS4", 32}, {"AF41", 34}, {"AF42", 36}, {"AF43", 38},
	{"CS5", 40}, {"VA", 44}, {"EF", 46}, {"CS6", 48}, {"CS7", 56},
}

// ParseProtect reads all, dscp:46, dscp:EF, tcp/22, udp/5060 or node:gamma. The error wraps ErrProtect and says what to write.
func ParseProtect(s string) (ProtectRule, error) {
	if s == "all" {
		return ProtectRule{Kind: ProtectAll}, nil
	}
	if text, ok := strings.CutPrefix(s, "dscp:"); ok {
		d, ok := codePoint(text)
		if !ok {
			return badProtect(s, "write a code point from 0 to 63, or its name: dscp:46, dscp:EF")
		}
		return ProtectRule{Kind: ProtectDSCP, DSCP: d}, nil
	}
	if text, ok := strings.CutPrefix(s, "node:"); ok {
		n, err := ParseNodeID(text)
		if err != nil {
			return badProtect(s, "write the name of a node: node:gamma")
		}
		return ProtectRule{Kind: ProtectNode, Node: n}, nil
	}
	protocol, text, ok := strings.Cut(s, "/")
	number, known := map[string]uint8{"tcp": ProtocolTCP, "udp": ProtocolUDP}[protocol]
	if !ok || !known {
		return badProtect(s, "write all, dscp:46, dscp:EF, tcp/22, udp/5060 or node:gamma")
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return badProtect(s, "write a port from 1 to 65535: "+protocol+"/5060")
	}
	return ProtectRule{Kind: ProtectPort, Protocol: number, Port: uint16(port)}, nil
}

func badProtect(s, remedy string) (ProtectRule, error) {
	return ProtectRule{}, fmt.Errorf("%w: %q; %s", ErrProtect, clip(s), remedy)
}

func codePoint(s string) (uint8, bool) {
	for _, c := range codePoints {
		if strings.EqualFold(s, c.name) {
			return c.value, true
		}
	}
	d, err := strconv.ParseUint(s, 10, 8)
	return uint8(d), err == nil && d < 64
}

// String returns what ParseProtect reads: of code points the number.
func (r ProtectRule) String() string {
	switch r.Kind {
	case ProtectAll:
		return "all"
	case ProtectDSCP:
		return "dscp:" + strconv.Itoa(int(r.DSCP))
	case ProtectPort:
		protocol := "udp/"
		if r.Protocol == ProtocolTCP {
			protocol = "tcp/"
		}
		return protocol + strconv.Itoa(int(r.Port))
	case ProtectNode:
		return "node:" + r.Node.String()
	}
	return ""
}

// Class is what some rules name, ready to be asked about packets: one that any rule names belongs to it. The zero value names
// nothing. It does not change and may be shared.
type Class struct {
	all   bool
	dscp  uint64 // bit i: code point i
	ports []ProtectRule
	nodes []NodeID
}

// NewClass returns the class of rules.
func NewClass(rules []ProtectRule) Class {
	var c Class
	for _, r := range rules {
		switch r.Kind {
		case ProtectAll:
			c.all = true
		case ProtectDSCP:
			c.dscp |= 1 << (r.DSCP & 63)
		case ProtectPort:
			c.ports = append(c.ports, r)
		case ProtectNode:
			c.nodes = append(c.nodes, r.Node)
		}
	}
	return c
}

// Empty reports whether the class names nothing.
func (c Class) Empty() bool { return !c.all && c.dscp == 0 && len(c.ports) == 0 && len(c.nodes) == 0 }

// AllTo reports whether every packet to a node belongs to the class.
func (c Class) AllTo(n NodeID) bool { return c.all || slices.Contains(c.nodes, n) }

// HasDSCP reports whether packets of a code point, 0 to 63, belong to the class wherever they go.
func (c Class) HasDSCP(d uint8) bool { return c.dscp>>(d&63)&1 != 0 }

// ByPort reports whether ports have to be looked at to know what belongs to the class.
func (c Class) ByPort() bool { return len(c.ports) > 0 }

// HasPorts reports whether packets of a protocol from one port to another belong to the class wherever they go.
func (c Class) HasPorts(protocol uint8, from, to uint16) bool {
	for i := range c.ports {
		if r := &c.ports[i]; r.Protocol == protocol && (r.Port == from || r.Port == to) {
			return true
		}
	}
	return false
}
