package nameserver

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

// Zones are the names of a mesh at one moment. They are not changed once made.
type Zones struct {
	forward, reverse string // apexes, in lower case, with the final dot
	ns               string // this node's name
	serial           uint32
	addrs            map[string]netip.Addr // by name, in lower case with the final dot
	nibbles          []string              // the 32 hexadecimal digits of each address, ascending
	names            map[string]string     // by those digits
}

// ZoneNames returns the zone of a trust domain and that of its addresses, with the final dot. Not every trust domain is a
// name in the DNS: the error says why this one is not.
func ZoneNames(td spiffeid.TrustDomain) (forward, reverse string, err error) {
	name := td.Name()
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", "", fmt.Errorf("the trust domain %s is no name for the DNS: its part %q is empty or longer than 63 bytes", name, label)
		}
	}
	if len(name) > 253 {
		return "", "", fmt.Errorf("the trust domain %s is no name for the DNS: it is longer than 253 bytes", name)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", "", fmt.Errorf("the trust domain %s is no name for the DNS: it is an address", name)
	}
	p := mesh.Prefix(td)
	return dns.Fqdn(name), reverseName(digits(p.Addr())[:p.Bits()/4]), nil
}

// NewZones makes the zones of a trust domain as seen by node self, which is a member too. A member whose name would be too
// long for the DNS is left out. The serial number must grow with every change.
func NewZones(td spiffeid.TrustDomain, self mesh.NodeID, members []mesh.NodeID, serial uint32) (*Zones, error) {
	forward, reverse, err := ZoneNames(td)
	if err != nil {
		return nil, err
	}
	z := &Zones{
		forward: forward, reverse: reverse, ns: self.String() + "." + forward, serial: serial,
		addrs: make(map[string]netip.Addr, len(members)+1), names: make(map[string]string, len(members)+1),
	}
	if len(z.ns) > 254 {
		return nil, fmt.Errorf("%s is too long for a name in the DNS", z.ns)
	}
	z.add(td, self)
	for _, m := range members {
		z.add(td, m)
	}
	slices.Sort(z.nibbles)
	return z, nil
}

func (z *Zones) add(td spiffeid.TrustDomain, n mesh.NodeID) {
	name := n.String() + "." + z.forward
	if _, twice := z.addrs[name]; twice || len(name) > 254 {
		return
	}
	a := mesh.Addr(td, n)
	d := digits(a)
	z.addrs[name], z.names[d] = a, name
	z.nibbles = append(z.nibbles, d)
}

// Len returns how many members have a name.
func (z *Zones) Len() int { return len(z.addrs) }

// Name returns the name under which a node is known.
func Name(td spiffeid.TrustDomain, n mesh.NodeID) string { return n.String() + "." + td.Name() }

func digits(a netip.Addr) string {
	b := a.As16()
	return hex.EncodeToString(b[:])
}

// reverseName writes hexadecimal digits as the DNS does (RFC 3596 §2.5).
func reverseName(digits string) string {
	var b strings.Builder
	for i := len(digits) - 1; i >= 0; i-- {
		b.WriteByte(digits[i])
		b.WriteByte('.')
	}
	b.WriteString("ip6.arpa.")
	return b.String()
}

// digitsOf is the reverse of reverseName, for names in lower case.
func digitsOf(name string) (string, bool) {
	labels, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(labels) > 63 || len(labels)%2 == 0 {
		return "", false
	}
	d := make([]byte, 0, 32)
	for i := len(labels) - 1; i >= 0; i -= 2 {
		c := labels[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') || i > 0 && labels[i-1] != '.' {
			return "", false
		}
		d = append(d, c)
	}
	return string(d), true
}

// outcome is what there is to say to a question.
type outcome struct {
	rcode  int
	answer []dns.RR
	extra  []dns.RR
	zone   string // that the name lies in; "" = in none of ours
}

// look answers a question of the class IN.
func (z *Zones) look(q dns.Question) outcome {
	name := dns.CanonicalName(q.Name)
	switch {
	case dns.IsSubDomain(z.forward, name):
		return z.lookForward(q, name)
	case dns.IsSubDomain(z.reverse, name):
		return z.lookReverse(q, name)
	}
	return outcome{rcode: dns.RcodeRefused}
}

func (z *Zones) lookForward(q dns.Question, name string) outcome {
	out := outcome{zone: z.forward}
	if name == z.forward {
		z.apex(q, &out)
		return out
	}
	a, ok := z.addrs[name]
	if !ok {
		out.rcode = dns.RcodeNameError
		return out
	}
	switch q.Qtype {
	case dns.TypeAAAA:
		out.answer = []dns.RR{&dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA, ttl), AAAA: a.AsSlice()}}
	case dns.TypeANY:
		out.answer = anything(q)
	}
	return out
}

func (z *Zones) lookReverse(q dns.Question, name string) outcome {
	out := outcome{zone: z.reverse}
	if name == z.reverse {
		z.apex(q, &out)
		return out
	}
	d, ok := digitsOf(name)
	if !ok || !z.begins(d) {
		out.rcode = dns.RcodeNameError
		return out
	}
	host, whole := z.names[d]
	if !whole {
		return out // nothing here, but below (RFC 8020)
	}
	switch q.Qtype {
	case dns.TypePTR:
		out.answer = []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR, ttl), Ptr: host}}
	case dns.TypeANY:
		out.answer = anything(q)
	}
	return out
}

// begins reports whether an address begins with these digits.
func (z *Zones) begins(d string) bool {
	i, _ := slices.BinarySearch(z.nibbles, d)
	return i < len(z.nibbles) && strings.HasPrefix(z.nibbles[i], d)
}

// apex answers a question about a zone itself.
func (z *Zones) apex(q dns.Question, out *outcome) {
	switch q.Qtype {
	case dns.TypeSOA:
		out.answer = []dns.RR{z.soa(q.Name, ttl)}
	case dns.TypeNS:
		out.answer = []dns.RR{&dns.NS{Hdr: header(q.Name, dns.TypeNS, ttl), Ns: z.ns}}
		out.extra = []dns.RR{&dns.AAAA{Hdr: header(z.ns, dns.TypeAAAA, ttl), AAAA: z.addrs[z.ns].AsSlice()}}
	case dns.TypeANY:
		out.answer = anything(q)
	}
}

// soa says who speaks for a zone. As part of "there is nothing" its life is that of the answer (RFC 2308 §3).
func (z *Zones) soa(zone string, life uint32) dns.RR {
	return &dns.SOA{
		Hdr: header(zone, dns.TypeSOA, life), Ns: z.ns, Mbox: "hostmaster." + z.forward, Serial: z.serial,
		Refresh: 60, Retry: 10, Expire: 600, Minttl: negativeTTL,
	}
}

// anything is the answer to a question for all there is (RFC 8482 §4.2).
func anything(q dns.Question) []dns.RR {
	return []dns.RR{&dns.HINFO{Hdr: header(q.Name, dns.TypeHINFO, ttl), Cpu: "RFC8482"}}
}

func header(name string, kind uint16, life uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: life}
}
