package nameserver

import (
	"net/netip"

	"github.com/miekg/dns"
)

const (
	headerSize = 12
	anySize    = dns.MaxMsgSize // for answers by TCP
)

// respond returns the answer to a message, nil if it deserves none. A reply by UDP is no longer than the asker takes.
func (s *Server) respond(msg []byte, from netip.Addr, tcp bool) []byte {
	s.count(queries)
	if len(msg) < headerSize || msg[2]&0x80 != 0 { // not a question: answers to answers could go on for ever
		s.count(malformed)
		return nil
	}
	reply := &dns.Msg{MsgHdr: headerOf(msg)}
	if !s.local(from) && !s.strangers.pass() {
		s.count(foreign)
		return nil
	}
	limit := dns.MinMsgSize
	if reply.Opcode != dns.OpcodeQuery {
		reply.Rcode = dns.RcodeNotImplemented
		s.count(notImplemented)
	} else {
		limit = s.fill(reply, msg, from)
	}
	if tcp {
		limit = anySize
	}
	return s.pack(reply, limit)
}

// headerOf begins the answer to a message that is at least as long as a header.
func headerOf(msg []byte) dns.MsgHdr {
	return dns.MsgHdr{
		Id: uint16(msg[0])<<8 | uint16(msg[1]), Response: true, Opcode: int(msg[2]>>3) & 0xf,
		RecursionDesired: msg[2]&1 != 0, CheckingDisabled: msg[3]&0x10 != 0,
	}
}

// fill completes the reply to a question, and returns how many bytes of it the asker takes by UDP.
func (s *Server) fill(reply *dns.Msg, msg []byte, from netip.Addr) (limit int) {
	limit = dns.MinMsgSize
	var query dns.Msg
	opt, ok := (*dns.OPT)(nil), false
	if err := query.Unpack(msg); err == nil {
		opt, ok = edns(&query)
	}
	// The library reads a question that ends too early as one of class 0, which does not exist (RFC 6895 §3.2).
	if !ok || len(query.Question) != 1 || query.Question[0].Qclass == 0 {
		reply.Rcode = dns.RcodeFormatError
		s.count(formatErrors)
		return limit
	}
	q := query.Question[0]
	reply.Question = query.Question
	if opt != nil {
		limit = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
		reply.SetEdns0(maxUDP, false)
	}
	z := s.zones.Load()
	switch {
	case !s.local(from):
		s.refuse(reply, foreign)
	case opt != nil && opt.Version() != 0:
		reply.Rcode = dns.RcodeBadVers // RFC 6891 §6.1.3
		s.count(formatErrors)
	case z == nil, q.Qclass != dns.ClassINET, meta(q.Qtype):
		s.refuse(reply, outside)
	default:
		s.answer(reply, z, q)
	}
	return limit
}

// edns returns a message's OPT record, nil if it has none. There must not be two, and its name is the root (RFC 6891
// §6.1.1, §6.1.2).
func edns(m *dns.Msg) (opt *dns.OPT, ok bool) {
	for _, rr := range m.Extra {
		o, is := rr.(*dns.OPT)
		if !is {
			continue
		}
		if opt != nil || o.Hdr.Name != "." {
			return nil, false
		}
		opt = o
	}
	return opt, true
}

// meta reports whether a type asks for something else than records: a transfer, or what only lives in messages.
func meta(t uint16) bool {
	return t == 0 || t == dns.TypeOPT || t >= 128 && t < dns.TypeANY // RFC 6895 §3.1
}

func (s *Server) refuse(reply *dns.Msg, why counter) {
	reply.Rcode = dns.RcodeRefused
	s.count(why)
}

func (s *Server) answer(reply *dns.Msg, z *Zones, q dns.Question) {
	out := z.look(q)
	if out.zone == "" {
		s.refuse(reply, outside)
		return
	}
	reply.Authoritative, reply.Rcode = true, out.rcode
	reply.Answer = out.answer
	reply.Extra = append(out.extra, reply.Extra...)
	if len(out.answer) > 0 {
		s.count(answered)
		return
	}
	reply.Ns = []dns.RR{z.soa(out.zone, negativeTTL)} // RFC 2308 §2
	if out.rcode == dns.RcodeNameError {
		s.count(noName)
	} else {
		s.count(noData)
	}
}

// pack writes a reply, shortened and marked as such if it is longer than the asker takes.
func (s *Server) pack(reply *dns.Msg, limit int) []byte {
	reply.Truncate(limit)
	if reply.Truncated {
		s.count(truncated)
	}
	reply.Compress = true
	b, err := reply.Pack()
	if err != nil {
		s.count(malformed)
		return nil
	}
	return b
}
