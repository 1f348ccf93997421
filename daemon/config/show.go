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
	b.WriteString("identity:\n")
	optional("trust_domain", quoteIf(c.Identity.TrustDomain.Name()))
	ttl := ""
	if c.Identity.TTL > 0 {
		ttl = plain(c.Identity.TTL)
	}
	optional("ttl", ttl)
	fmt.Fprintf(&b, "links:\n  listen: %s\n  neighbours: %s\n  advertise: %s\n  hello: %s\n",
		addrs(c.Links.Listen), addrs(c.Links.Neighbours), addrs(c.Links.Advertise), plain(c.Links.Hello))
	fmt.Fprintf(&b, "routing:\n  k: %d\n", c.Routing.K)
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

func addrs(as []netip.AddrPort) string {
	q := make([]string, len(as))
	for i, a := range as {
		q[i] = quoteIf(a.String())
	}
	return "[" + strings.Join(q, ", ") + "]"
}
