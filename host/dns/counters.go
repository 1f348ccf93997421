package nameserver

// counter is one of the things that a server counts.
type counter int

const (
	queries        counter = iota
	answered               // with at least one record
	noData                 // a name that has no record of the type
	noName                 // a name that is not there
	outside                // refused: neither zone, another class, or a transfer
	foreign                // refused: not from this machine
	formatErrors           // not a question that can be answered
	notImplemented         // something else than a question
	malformed              // not worth an answer
	truncated              // shortened to what the asker takes
	crowded                // TCP connections that found no room
	unsent                 // answers that the system did not take
	counters               // how many there are
)

var counterNames = [counters]string{
	"queries", "answered", "no_data", "no_name", "refused_outside", "refused_foreign", "format_errors", "not_implemented",
	"malformed", "truncated", "tcp_crowded", "send_errors",
}

func (s *Server) count(c counter) { s.counts[c].Add(1) }

// Counters returns everything that the server counts, by names that begin with dns_.
func (s *Server) Counters() map[string]uint64 {
	m := make(map[string]uint64, counters)
	for i := range s.counts {
		m["dns_"+counterNames[i]] = s.counts[i].Load()
	}
	return m
}
