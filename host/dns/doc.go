// Package nameserver answers DNS questions about a mesh: the address of every member under its name, and the name under
// its address. It is authoritative for two zones and knows nothing else:
//
//	example.mesh                      the trust domain      alpha.example.mesh  AAAA  fd64:9143:f1ab:0:…
//	b.a.1.f.3.4.1.9.4.6.d.f.ip6.arpa  its /48, reversed     …ip6.arpa           PTR   alpha.example.mesh
//
// What lies outside of them is refused; there is no recursion (RFC 1035, RFC 2308 for what is not there, RFC 6891 EDNS,
// RFC 8482 for ANY). The server listens on one address, the node's own in the mesh, over UDP and TCP, and answers the
// machine that it runs on. Other members are refused: what a mesh consists of is theirs to know, but this node is not
// theirs to keep busy.
//
// Its work is bounded whatever is sent: one goroutine answers UDP, TCP has maxConns, no message is longer than maxQuery,
// and no question makes it ask somebody else.
package nameserver

import "time"

// Limits and times.
const (
	maxQuery   = 4096             // bytes of a question; real ones are below 600
	maxUDP     = 1232             // bytes of an answer by UDP that no path breaks up (DNS flag day 2020)
	maxConns   = 16               // TCP connections at a time
	maxPerConn = 256              // questions on one
	connIdle   = 10 * time.Second // it may be silent
	connWrite  = 5 * time.Second  // until the client must have taken an answer
	rebind     = 2 * time.Second  // until a socket that failed is opened again
	strangers  = 20               // refusals a second to others than this machine, by UDP

	ttl         = 30 // seconds that an answer may be kept
	negativeTTL = 5  // seconds that "there is no such name" may be kept: members come
)
