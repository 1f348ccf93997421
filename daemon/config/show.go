package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// YAML writes c with every key, so that it shows what is in effect. Parse reads it back to the same Config.
func (c Config) YAML() string {
	var b strings.Builder
	for _, s := range schema(&c) {
		b.WriteString(s.name + ":\n")
		for _, k := range s.keys {
			if v := k.show(); v != "" {
				fmt.Fprintf(&b, "  %s: %s\n", k.name, v)
			} else {
				fmt.Fprintf(&b, "  # %s: not set\n", k.name)
			}
		}
	}
	return b.String()
}

func quoteIf(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s) // names of all digits, or "no", are text
}

func quoteAddr(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return quoteIf(a.String())
}

func plainIf(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return plain(d)
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
