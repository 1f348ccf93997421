package nameserver

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var (
	self  = netip.MustParseAddr(alphaAddr)
	other = netip.MustParseAddr(betaAddr)
)

func serverOf(z *Zones) *Server {
	s := New(netip.AddrPortFrom(self, 53), nil)
	if z != nil {
		s.Publish(z)
	}
	return s
}

// ask sends a message through the wire form and returns the answer.
func (s *Server) ask(t testing.TB, m *dns.Msg, from netip.Addr, tcp bool) *dns.Msg {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := s.respond(b, from, tcp)
	if reply == nil {
		return nil
	}
	var r dns.Msg
	if err := r.Unpack(reply); err != nil {
		t.Fatalf("%v in %x", err, reply)
	}
	return &r
}

func question(name string, kind uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, kind)
}

// Bytes on the wire, drawn by hand after RFC 1035 §4.1 and RFC 3596 §2.2: a question for AlPHa.example.mesh with RD, the
// same name in the same letters in the answer, AA set and RA clear.
func TestGoldenAnswer(t *testing.T) {
	query := "abcd 0100 0001 0000 0000 0000" + "05416c504861 076578616d706c65 046d657368 00 001c 0001"
	want := "abcd 8500 0001 0001 0000 0000" + "05416c504861 076578616d706c65 046d657368 00 001c 0001" +
		"c00c 001c 0001 0000001e 0010 fd649143f1ab0000c965d6d73166ca19"
	got := serverOf(zones(t)).respond(unhex(t, query), self, false)
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("got  %x\nwant %x", got, unhex(t, want))
	}
}

// A name that is not there: NXDOMAIN and the zone's SOA, which lives five seconds (RFC 2308 §3).
func TestGoldenNoSuchName(t *testing.T) {
	query := "0001 0000 0001 0000 0000 0000" + "0178 076578616d706c65 046d657368 00 001c 0001"
	want := "0001 8403 0001 0000 0001 0000" + "0178 076578616d706c65 046d657368 00 001c 0001" +
		"c00e 0006 0001 00000005 0029 05616c706861c00e 0a686f73746d6173746572c00e 00000007 0000003c 0000000a 00000258 00000005"
	got := serverOf(zones(t)).respond(unhex(t, query), self, false)
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("got  %x\nwant %x", got, unhex(t, want))
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every way to be answered, with the counter that it moves. Each is one change away from a question that is answered.
func TestRespond(t *testing.T) {
	for _, c := range []struct {
		what  string
		make  func(*dns.Msg)
		from  netip.Addr
		rcode int
		count string
	}{
		{"answered", nil, self, dns.RcodeSuccess, "answered"},
		{"from loopback", nil, netip.IPv6Loopback(), dns.RcodeSuccess, "answered"},
		{"from loopback, IPv4", nil, netip.MustParseAddr("::ffff:127.0.0.1"), dns.RcodeSuccess, "answered"},
		{"another member", nil, other, dns.RcodeRefused, "refused_foreign"},
		{"an underlay address", nil, netip.MustParseAddr("2001:db8::1"), dns.RcodeRefused, "refused_foreign"},
		{"no such name", func(m *dns.Msg) { m.Question[0].Name = "gamma.example.mesh." }, self, dns.RcodeNameError, "no_name"},
		{"no such type", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX }, self, dns.RcodeSuccess, "no_data"},
		{"another zone", func(m *dns.Msg) { m.Question[0].Name = "example.net." }, self, dns.RcodeRefused, "refused_outside"},
		{"CHAOS", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, self, dns.RcodeRefused, "refused_outside"},
		{"any class", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, self, dns.RcodeRefused, "refused_outside"},
		{"AXFR", func(m *dns.Msg) { *m = *question("example.mesh.", dns.TypeAXFR) }, self, dns.RcodeRefused, "refused_outside"},
		{"IXFR", func(m *dns.Msg) { *m = *question("example.mesh.", dns.TypeIXFR) }, self, dns.RcodeRefused, "refused_outside"},
		{"type 0", func(m *dns.Msg) { m.Question[0].Qtype = 0 }, self, dns.RcodeRefused, "refused_outside"},
		{"STATUS", func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }, self, dns.RcodeNotImplemented, "not_implemented"},
		{"NOTIFY", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, self, dns.RcodeNotImplemented, "not_implemented"},
		{"UPDATE", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, self, dns.RcodeNotImplemented, "not_implemented"},
		{"class 0", func(m *dns.Msg) { m.Question[0].Qclass = 0 }, self, dns.RcodeFormatError, "format_errors"},
		{"no question", func(m *dns.Msg) { m.Question = nil }, self, dns.RcodeFormatError, "format_errors"},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, self, dns.RcodeFormatError, "format_errors"},
		{"EDNS", func(m *dns.Msg) { m.SetEdns0(4096, true) }, self, dns.RcodeSuccess, "answered"},
		{"EDNS of a later version", func(m *dns.Msg) { m.SetEdns0(4096, false); m.IsEdns0().SetVersion(1) }, self, dns.RcodeBadVers, "format_errors"},
		{"two OPT", func(m *dns.Msg) { m.SetEdns0(4096, false); m.Extra = append(m.Extra, m.Extra[0]) }, self, dns.RcodeFormatError, "format_errors"},
		{"an OPT with a name", func(m *dns.Msg) { m.SetEdns0(4096, false); m.Extra[0].Header().Name = "x." }, self, dns.RcodeFormatError, "format_errors"},
		{"recursion wanted", func(m *dns.Msg) { m.RecursionDesired = true }, self, dns.RcodeSuccess, "answered"},
	} {
		s, m := serverOf(zones(t, beta)), question("beta.example.mesh.", dns.TypeAAAA)
		m.RecursionDesired = false
		if c.make != nil {
			c.make(m)
		}
		r := s.ask(t, m, c.from, false)
		if r == nil || r.Rcode != c.rcode || r.Id != m.Id || !r.Response || r.RecursionAvailable || r.RecursionDesired != m.RecursionDesired ||
			r.Authoritative != (c.count == "answered" || c.count == "no_name" || c.count == "no_data") || (r.IsEdns0() != nil) != (m.IsEdns0() != nil && c.rcode != dns.RcodeFormatError) {
			t.Errorf("%s: %v", c.what, r)
			continue
		}
		if hasSOA := len(r.Ns) == 1 && r.Ns[0].Header().Ttl == negativeTTL; hasSOA != (c.count == "no_name" || c.count == "no_data") {
			t.Errorf("%s: authority %v", c.what, r.Ns)
		}
		for name, n := range s.Counters() {
			want := uint64(0)
			if name == "dns_"+c.count || name == "dns_queries" {
				want = 1
			}
			if n != want {
				t.Errorf("%s: %s is %d", c.what, name, n)
			}
		}
	}
}

// What deserves no answer gets none: pieces of messages, and answers, to which answering could go on for ever.
func TestSilence(t *testing.T) {
	s := serverOf(zones(t))
	whole, err := question("alpha.example.mesh.", dns.TypeAAAA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for n := range headerSize {
		if r := s.respond(whole[:n], self, false); r != nil {
			t.Errorf("%d bytes are answered by %x", n, r)
		}
	}
	answer := bytes.Clone(whole)
	answer[2] |= 0x80
	if r := s.respond(answer, self, false); r != nil {
		t.Errorf("an answer is answered by %x", r)
	}
	if n := s.Counters()["dns_malformed"]; n != headerSize+1 {
		t.Errorf("counted %d", n)
	}
	for n := headerSize; n < len(whole); n++ {
		r := s.respond(whole[:n], self, false)
		var m dns.Msg
		if err := m.Unpack(r); err != nil || m.Rcode != dns.RcodeFormatError {
			t.Errorf("%d bytes: %v, %v", n, m, err)
		}
	}
}

// Before there are zones nothing is known, and the server says so instead of "no such name".
func TestNothingPublished(t *testing.T) {
	if r := serverOf(nil).ask(t, question("alpha.example.mesh.", dns.TypeAAAA), self, false); r.Rcode != dns.RcodeRefused {
		t.Errorf("%v", r)
	}
}

// An answer that the asker cannot take is shortened, by UDP only; EDNS says what it can take, and never more than what
// crosses every path whole.
func TestTruncation(t *testing.T) {
	s := serverOf(zones(t))
	var records []dns.RR
	for range 100 {
		records = append(records, &dns.AAAA{Hdr: header("alpha.example.mesh.", dns.TypeAAAA, ttl), AAAA: self.AsSlice()})
	}
	for limit, most := range map[int]int{512: 512, 1232: 1232, anySize: anySize} {
		reply := question("alpha.example.mesh.", dns.TypeAAAA)
		reply.Answer = records
		b := s.pack(reply, limit)
		var m dns.Msg
		if err := m.Unpack(b); err != nil || len(b) > most || m.Truncated != (limit < anySize) || (len(m.Answer) < 100) != m.Truncated {
			t.Errorf("%d: %d bytes, %d records, truncated %v, %v", limit, len(b), len(m.Answer), m.Truncated, err)
		}
	}
	if n := s.Counters()["dns_truncated"]; n != 2 {
		t.Errorf("counted %d", n)
	}
	for size, limit := range map[uint16]int{0: 512, 100: 512, 700: 700, 1232: 1232, 65535: 1232} {
		m := question("alpha.example.mesh.", dns.TypeAAAA)
		m.SetEdns0(size, false)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.fill(&dns.Msg{}, b, self); got != limit {
			t.Errorf("EDNS size %d: %d", size, got)
		}
	}
}

// Others than this machine cannot keep the server busy with refusals.
func TestStrangersAreRefusedNowAndThen(t *testing.T) {
	var g gate
	now, passed := time.Unix(1, 0), 0
	for range 10 * strangers {
		if g.passAt(now) {
			passed++
		}
	}
	if passed != strangers {
		t.Errorf("%d at once", passed)
	}
	for range 1000 { // ten seconds
		now = now.Add(10 * time.Millisecond)
		for range 5 {
			if g.passAt(now) {
				passed++
			}
		}
	}
	if passed < 10*strangers || passed > 12*strangers {
		t.Errorf("%d in ten seconds", passed)
	}
	s := serverOf(zones(t))
	answered := 0
	for range 10 * strangers {
		if s.ask(t, question("alpha.example.mesh.", dns.TypeAAAA), other, false) != nil {
			answered++
		}
	}
	if answered > 2*strangers || s.Counters()["dns_refused_foreign"] != 10*strangers {
		t.Errorf("%d answers, counters %v", answered, s.Counters())
	}
}

// Whatever arrives, the server lives, answers with a message that can be read and that belongs to the question, and
// never with more than it may.
func FuzzRespond(f *testing.F) {
	for _, m := range []*dns.Msg{question("alpha.example.mesh.", dns.TypeAAAA), question(alphaPTR, dns.TypePTR), question(".", dns.TypeANY)} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		m.SetEdns0(1232, true)
		if b, err = m.Pack(); err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Add([]byte{}, false)
	s := serverOf(zones(f, beta))
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		r := s.respond(b, self, tcp)
		if r == nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(r); err != nil {
			t.Fatalf("%v in %x", err, r)
		}
		if !m.Response || m.RecursionAvailable || r[0] != b[0] || r[1] != b[1] || !tcp && len(r) > maxUDP {
			t.Fatalf("%x answers %x", r, b)
		}
		if len(m.Answer) > 0 && m.Rcode != dns.RcodeSuccess {
			t.Fatalf("%v", m)
		}
	})
}
