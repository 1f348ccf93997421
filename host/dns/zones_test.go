package nameserver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

var (
	domain = spiffeid.RequireTrustDomainFromString("example.mesh")
	alpha  = mesh.MustNodeID("alpha")
	beta   = mesh.MustNodeID("beta")
)

// The addresses of alpha and beta in example.mesh, from docs/protocol.md.
const (
	alphaAddr = "fd64:9143:f1ab:0:c965:d6d7:3166:ca19"
	betaAddr  = "fd64:9143:f1ab:0:7486:e830:9836:e91e"
	alphaPTR  = "9.1.a.c.6.6.1.3.7.d.6.d.5.6.9.c.0.0.0.0.b.a.1.f.3.4.1.9.4.6.d.f.ip6.arpa."
	reverse48 = "b.a.1.f.3.4.1.9.4.6.d.f.ip6.arpa."
)

func zones(t testing.TB, members ...mesh.NodeID) *Zones {
	t.Helper()
	z, err := NewZones(domain, alpha, members, 7)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestZoneNames(t *testing.T) {
	f, r, err := ZoneNames(domain)
	if f != "example.mesh." || r != reverse48 || err != nil {
		t.Errorf("%s, %s, %v", f, r, err)
	}
	long := strings.Repeat("a", 64)
	for name, why := range map[string]string{
		"a..b": `"" is empty`, ".": `"" is empty`, long + ".mesh": "longer than 63", "192.0.2.1": "an address",
		strings.Repeat("abcdefg.", 31) + "abcdef": "longer than 253",
	} {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			t.Fatal(err) // SPIFFE allows it
		}
		if _, _, err := ZoneNames(td); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %s", name, err, why)
		}
		if _, err := NewZones(td, alpha, nil, 1); err == nil {
			t.Errorf("zones of %s", name)
		}
	}
}

// A member whose name does not fit has none; this node itself must.
func TestNamesThatDoNotFit(t *testing.T) {
	td := spiffeid.RequireTrustDomainFromString(strings.Repeat("abcdefg.", 30) + "mesh") // 244 bytes
	long := mesh.MustNodeID("a-name-too-long")
	z, err := NewZones(td, mesh.MustNodeID("a"), []mesh.NodeID{mesh.MustNodeID("b"), long}, 1)
	if err != nil || z.Len() != 2 {
		t.Errorf("%v, %v", z, err)
	}
	if _, err := NewZones(td, long, nil, 1); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
}

// The library's own idea of a reverse name is an independent one.
func TestReverseNames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		a := netip.AddrFrom16(b)
		want, err := dns.ReverseAddr(a.String())
		if err != nil {
			t.Fatal(err)
		}
		if got := reverseName(digits(a)); got != want {
			t.Fatalf("%s: %s, want %s", a, got, want)
		}
		if d, ok := digitsOf(want); !ok || d != digits(a) {
			t.Fatalf("%s reads as %s, %v", want, d, ok)
		}
	}
	for _, name := range []string{"ip6.arpa.", ".ip6.arpa.", "f.ip6.arpa", "g.ip6.arpa.", "df.ip6.arpa.", "f..ip6.arpa.", "0." + alphaPTR, "F.ip6.arpa.", "-.f.ip6.arpa."} {
		if d, ok := digitsOf(name); ok {
			t.Errorf("%q reads as %s", name, d)
		}
	}
}

// What the zones say to every kind of question.
func TestLook(t *testing.T) {
	z := zones(t, alpha, beta)
	ask := func(name string, kind uint16) string {
		out := z.look(dns.Question{Name: name, Qtype: kind, Qclass: dns.ClassINET})
		s := []string{dns.RcodeToString[out.rcode], out.zone}
		for _, rr := range append(out.answer, out.extra...) {
			s = append(s, strings.Join(strings.Fields(rr.String()), " "))
		}
		return strings.TrimSpace(strings.Join(s, " "))
	}
	soa := "SOA alpha.example.mesh. hostmaster.example.mesh. 7 60 10 600 5"
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"alpha.example.mesh.", dns.TypeAAAA, "NOERROR example.mesh. alpha.example.mesh. 30 IN AAAA " + alphaAddr},
		{"bEtA.eXample.MESH.", dns.TypeAAAA, "NOERROR example.mesh. bEtA.eXample.MESH. 30 IN AAAA " + betaAddr},
		{"beta.example.mesh.", dns.TypeA, "NOERROR example.mesh."},
		{"beta.example.mesh.", dns.TypeCNAME, "NOERROR example.mesh."},
		{"beta.example.mesh.", dns.TypeANY, `NOERROR example.mesh. beta.example.mesh. 30 IN HINFO "RFC8482" ""`},
		{"gamma.example.mesh.", dns.TypeAAAA, "NXDOMAIN example.mesh."},
		{"gamma.example.mesh.", dns.TypeANY, "NXDOMAIN example.mesh."},
		{"www.beta.example.mesh.", dns.TypeAAAA, "NXDOMAIN example.mesh."},
		{`be\.ta.example.mesh.`, dns.TypeAAAA, "NXDOMAIN example.mesh."},
		{"*.example.mesh.", dns.TypeAAAA, "NXDOMAIN example.mesh."},
		{"example.mesh.", dns.TypeAAAA, "NOERROR example.mesh."},
		{"example.mesh.", dns.TypeDS, "NOERROR example.mesh."},
		{"EXAMPLE.mesh.", dns.TypeSOA, "NOERROR example.mesh. EXAMPLE.mesh. 30 IN " + soa},
		{"example.mesh.", dns.TypeNS, "NOERROR example.mesh. example.mesh. 30 IN NS alpha.example.mesh. alpha.example.mesh. 30 IN AAAA " + alphaAddr},
		{"example.mesh.", dns.TypeANY, `NOERROR example.mesh. example.mesh. 30 IN HINFO "RFC8482" ""`},
		{alphaPTR, dns.TypePTR, "NOERROR " + reverse48 + " " + alphaPTR + " 30 IN PTR alpha.example.mesh."},
		{strings.ToUpper(alphaPTR), dns.TypePTR, "NOERROR " + reverse48 + " " + strings.ToUpper(alphaPTR) + " 30 IN PTR alpha.example.mesh."},
		{alphaPTR, dns.TypeAAAA, "NOERROR " + reverse48},
		{alphaPTR, dns.TypeANY, "NOERROR " + reverse48 + " " + alphaPTR + ` 30 IN HINFO "RFC8482" ""`},
		{"0" + alphaPTR[1:], dns.TypePTR, "NXDOMAIN " + reverse48},
		{"0." + alphaPTR, dns.TypePTR, "NXDOMAIN " + reverse48},
		{"c.0.0.0.0." + reverse48, dns.TypePTR, "NOERROR " + reverse48}, // between the apex and alpha
		{"d.0.0.0.0." + reverse48, dns.TypePTR, "NXDOMAIN " + reverse48},
		{"x." + reverse48, dns.TypePTR, "NXDOMAIN " + reverse48},
		{reverse48, dns.TypeSOA, "NOERROR " + reverse48 + " " + reverse48 + " 30 IN " + soa},
		{reverse48, dns.TypePTR, "NOERROR " + reverse48},
		{"example.net.", dns.TypeAAAA, "REFUSED"},
		{"mesh.", dns.TypeAAAA, "REFUSED"},
		{"notexample.mesh.", dns.TypeAAAA, "REFUSED"},
		{`alpha\.example.mesh.`, dns.TypeAAAA, "REFUSED"},
		{".", dns.TypeNS, "REFUSED"},
		{"ip6.arpa.", dns.TypePTR, "REFUSED"},
	} {
		if got := ask(c.name, c.kind); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.name, dns.TypeToString[c.kind], got, c.want)
		}
	}
}

// Whatever members there are: everyone is found both ways, and each name above an address is there, by a slow reading of
// the rule.
func TestEveryMemberIsFound(t *testing.T) {
	var members []mesh.NodeID
	for i := range 50 {
		members = append(members, mesh.MustNodeID(fmt.Sprintf("n%d", i)))
	}
	z := zones(t, members...)
	for _, m := range append(members, alpha) {
		a := mesh.Addr(domain, m)
		if out := z.look(dns.Question{Name: m.String() + ".example.mesh.", Qtype: dns.TypeAAAA}); len(out.answer) != 1 ||
			out.answer[0].(*dns.AAAA).AAAA.String() != a.String() {
			t.Errorf("%s: %v", m, out)
		}
		name := reverseName(digits(a))
		if out := z.look(dns.Question{Name: name, Qtype: dns.TypePTR}); len(out.answer) != 1 ||
			out.answer[0].(*dns.PTR).Ptr != m.String()+".example.mesh." {
			t.Errorf("%s: %v", name, out)
		}
	}
	for i := range 4096 {
		d := fmt.Sprintf("fd649143f1ab0000%03x", i)
		slow := false
		for _, m := range append(members, alpha) {
			slow = slow || strings.HasPrefix(digits(mesh.Addr(domain, m)), d)
		}
		if z.begins(d) != slow {
			t.Errorf("%s: %v", d, !slow)
		}
	}
}
