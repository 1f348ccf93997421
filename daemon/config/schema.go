package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"

	"x0tta6bl4/mesh"
)

type section struct {
	name string
	keys []key
}

type key struct {
	name string
	read func(p *parser, at string, n *yaml.Node)
	show func() string // in YAML; empty: not set
	live bool          // a running daemon takes it up, so nodes may share it
}

// schema lists every key there is, bound to its place in c. Messages are "what is wrong; what to write".
func schema(c *Config) []section {
	return []section{
		{"node", []key{
			{"name", scalar(&c.Node.Name, mesh.ParseNodeID), func() string { return quoteIf(c.Node.Name.String()) }, false},
			{"failure_domain", scalar(&c.Node.FailureDomain, groupName), func() string { return quoteIf(c.Node.FailureDomain) }, false},
		}},
		{"identity", []key{
			{"trust_domain", scalar(&c.Identity.TrustDomain, trustDomain), func() string { return quoteIf(c.Identity.TrustDomain.Name()) }, false},
			{"ttl", scalar(&c.Identity.TTL, duration(minTTL, maxTTL)), func() string { return plainIf(c.Identity.TTL) }, true},
		}},
		{"links", c.Links.keys(c)},
		{"routing", c.Routing.keys()},
		{"dns", []key{
			{"mode", scalar(&c.DNS.Mode, dnsMode), func() string { return string(c.DNS.Mode) }, false},
		}},
		{"api", []key{
			{"listen", scalar(&c.API.Listen, loopbackAddr), func() string { return quoteAddr(c.API.Listen) }, false},
		}},
		{"log", []key{
			{"level", scalar(&c.Log.Level, level), func() string { return strings.ToLower(c.Log.Level.String()) }, true},
			{"format", scalar(&c.Log.Format, format), func() string { return string(c.Log.Format) }, true},
		}},
	}
}

func (l *Links) keys(c *Config) []key {
	return []key{
		{"listen", list(&l.Listen, listenAddr), func() string { return addrs(l.Listen) }, false},
		{"neighbours", neighbours(c), func() string { return addrs(l.Neighbours, l.Names...) }, false},
		{"advertise", list(&l.Advertise, remoteAddr), func() string { return addrs(l.Advertise) }, false},
		{"hello", scalar(&l.Hello, duration(minHello, maxHello)), func() string { return plain(l.Hello) }, false},
		{"interfaces", interfaces(&l.Interfaces), func() string { return texts(l.Interfaces) }, false},
		{"groups", interfaceGroups(&l.Groups), func() string { return groupsYAML(l.Groups) }, false},
		{"capacity", interfaceCapacity(&l.Capacity), func() string { return capacityYAML(l.Capacity) }, false},
	}
}

func scalar[T any](to *T, parse func(string) (T, error)) func(*parser, string, *yaml.Node) {
	return func(p *parser, at string, n *yaml.Node) {
		if v, ok := value(p, at, n, parse); ok {
			*to = v
		}
	}
}

func value[T any](p *parser, at string, n *yaml.Node, parse func(string) (T, error)) (v T, ok bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		p.complain(n.Line, at, kindOf(n)+" where one value is expected; write the value, or leave the key out for its default")
		return v, false
	}
	v, err := parse(n.Value)
	if err != nil {
		p.complain(n.Line, at, err.Error())
		return v, false
	}
	return v, true
}

func list[T comparable](to *[]T, parse func(string) (T, error)) func(*parser, string, *yaml.Node) {
	return func(p *parser, at string, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			p.complain(n.Line, at, kindOf(n)+" where a list is expected; write [\"A\", \"B\"], or one item a line after a dash")
			return
		}
		if len(n.Content) > maxList {
			p.complain(n.Line, at, fmt.Sprintf("%d items; at most %d make sense", len(n.Content), maxList))
			return
		}
		*to = nil // of what a value takes the place of
		for i, item := range n.Content {
			v, ok := value(p, fmt.Sprintf("%s[%d]", at, i), item, parse)
			if !ok {
				continue
			}
			if slices.Contains(*to, v) {
				p.complain(item.Line, fmt.Sprintf("%s[%d]", at, i), printable(item.Value)+" stands here twice; keep one")
				continue
			}
			*to = append(*to, v)
		}
	}
}

func trustDomain(s string) (spiffeid.TrustDomain, error) {
	bad := func(why string) (spiffeid.TrustDomain, error) {
		return spiffeid.TrustDomain{}, fmt.Errorf("%s is not a trust domain: %s; write a name such as example.mesh", printable(s), why)
	}
	if strings.Contains(s, "/") {
		return bad("only the name, without spiffe:// and path")
	}
	td, err := spiffeid.TrustDomainFromString(s)
	if err != nil {
		return bad(err.Error())
	}
	return td, nil
}

func duration(least, most time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || strings.Trim(s, "0123456789.+-") == "" {
			return 0, fmt.Errorf("%s is not a length of time; write a number and its unit: 50ms, 10s, 24h", printable(s))
		}
		if d < least || d > most {
			return 0, fmt.Errorf("%s is out of range; use %s to %s", printable(s), plain(least), plain(most))
		}
		return d, nil
	}
}

// plain writes a duration without the zero parts: 24h, not 24h0m0s.
func plain(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func number(least, most int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("%s is not a whole number from %d to %d; write one", printable(s), least, most)
		}
		return n, nil
	}
}

// addrPort reads ADDRESS:PORT; an IPv4 address in IPv6 clothes is that IPv4 address.
func addrPort(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, err
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

func listenAddr(s string) (netip.AddrPort, error) {
	a, err := addrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().IsMulticast() {
		return a, fmt.Errorf(`%s is not an address to listen on; write ADDRESS:PORT, for instance "[::]:%d" or "192.0.2.1:%d"`,
			printable(s), DefaultPort, DefaultPort)
	}
	return a, nil
}

func remoteAddr(s string) (netip.AddrPort, error) {
	a, err := addrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().IsMulticast() || a.Addr().IsUnspecified() {
		return a, fmt.Errorf(`%s is not an address to reach a node at; write ADDRESS:PORT, for instance "192.0.2.1:%d" or "[2001:db8::1]:%d"`,
			printable(s), DefaultPort, DefaultPort)
	}
	return a, nil
}

func loopbackAddr(s string) (netip.AddrPort, error) {
	a, err := addrPort(s)
	if err != nil || a.Port() == 0 || !a.Addr().IsLoopback() {
		return a, fmt.Errorf(`%s is not a loopback address with port; write "127.0.0.1:PORT" or "[::1]:PORT"`, printable(s))
	}
	return a, nil
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func level(s string) (slog.Level, error) {
	l, ok := levels[s]
	if !ok {
		return l, fmt.Errorf("%s is not a log level; use debug, info, warn or error", printable(s))
	}
	return l, nil
}

func dnsMode(s string) (DNSMode, error) {
	switch m := DNSMode(s); m {
	case DNSAuto, DNSResolved, DNSResolvconf, DNSHosts, DNSOff:
		return m, nil
	}
	return "", fmt.Errorf("%s is not a way to make names known; use auto, resolved, resolvconf, hosts or off", printable(s))
}

func format(s string) (Format, error) {
	if f := Format(s); f == FormatText || f == FormatJSON {
		return f, nil
	}
	return "", fmt.Errorf("%s is not a log format; use text or json", printable(s))
}
