package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// YAML writes c with every key, so that it shows what is in effect. Parse reads it back to the same Config.
func (c Config) YAML() string {
	var b strings.Builder
	optional := func(key, value string) {
		if value == "" {
			fmt.Fprintf(&b, "  # %s: not set\n", key)
			return
		}
		fmt.Fprintf(&b, "  %s: %s\n", key, value)
	}
	b.WriteString("node:\n")
	optional("name", quoteIf(c.Node.Name.String()))
	optional("failure_domain", quoteIf(c.Node.FailureDomain))
	b.WriteString("identity:\n")
	optional("trust_domain", quoteIf(c.Identity.TrustDomain.Name()))
	ttl := ""
	if c.Identity.TTL > 0 {
		ttl = plain(c.Identity.TTL)
	}
	optional("ttl", ttl)
	fmt.Fprintf(&b, "links:\n  listen: %s\n  neighbours: %s\n  advertise: %s\n  hello: %s\n",
		addrs(c.Links.Listen), addrs(c.Links.Neighbours, c.Links.Names...), addrs(c.Links.Advertise), plain(c.Links.Hello))
	fmt.Fprintf(&b, "  interfaces: %s\n", texts(c.Links.Interfaces))
	fmt.Fprintf(&b, "  groups: %s\n", groupsYAML(c.Links.Groups))
	fmt.Fprintf(&b, "  capacity: %s\n", capacityYAML(c.Links.Capacity))
	b.WriteString(c.Routing.yaml())
	fmt.Fprintf(&b, "dns:\n  mode: %s\n", c.DNS.Mode)
	b.WriteString("api:\n")
	if c.API.Listen.IsValid() {
		optional("listen", quoteIf(c.API.Listen.String()))
	} else {
		optional("listen", "")
	}
	fmt.Fprintf(&b, "log:\n  level: %s\n  format: %s\n", strings.ToLower(c.Log.Level.String()), c.Log.Format)
	return b.String()
}

func quoteIf(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s) // names of all digits, or "no", are text
}

func texts(ss []string) string {
	q := make([]string, len(ss))
	for i, s := range ss {
		q[i] = quoteIf(s)
	}
	return "[" + strings.Join(q, ", ") + "]"
}

func addrs(as []netip.AddrPort, names ...HostPort) string {
	q := make([]string, 0, len(as)+len(names))
	for _, a := range as {
		q = append(q, quoteIf(a.String()))
	}
	for _, n := range names {
		q = append(q, quoteIf(n.String()))
	}
	return "[" + strings.Join(q, ", ") + "]"
}
