package segment

import (
	"bytes"
	"encoding/binary"
)

const (
	maxRuns     = 16    // of one batch, each of its own packets
	maxPieces   = 64    // packets in a run: UDP takes no more (UDP_MAX_SEGMENTS)
	maxPayload  = 65535 // of an IPv6 packet
	mergedFlags = flagFIN | flagPSH | flagCWR
)

// Joiner collects packets, in the order in which they came, and hands them to the kernel: those that follow each other
// in one flow as one. Packets of one flow keep their order. It holds slices of what it is given and copies nothing.
// The zero value is ready; it is of one goroutine.
type Joiner struct {
	// KeepUDP leaves UDP packets single, for a kernel that takes no large ones (before Linux 6.2).
	KeepUDP bool

	runs [maxRuns]run
	n    int
	out  [1 + maxPieces][]byte
	hdr  [HeaderLen]byte
}

// run is one packet, or several that will be one.
type run struct {
	pieces  [maxPieces][]byte // whole packets
	n       int
	front   int    // headers of each; 0: takes no more
	size    int    // payload of each but the last
	total   int    // payload of all
	seq     uint32 // of the next
	flags   byte   // TCP's that the last brought
	partial bool
}

// Add takes an IPv6 packet, which must stay as it is until Flush. partial: its checksum was left out. It reports
// whether there is room for one more; if not, Flush comes first.
func (j *Joiner) Add(pkt []byte, partial bool) (room bool) {
	front := frontOf(pkt, partial)
	if j.KeepUDP && len(pkt) > 6 && pkt[6] == protoUDP {
		front = 0
	}
	if front > 0 {
		for i := j.n - 1; i >= 0; i-- {
			r := &j.runs[i]
			if r.flowOf(pkt) {
				if r.append(pkt, front) {
					return j.n < maxRuns
				}
				break // behind a packet of its own flow it cannot be passed by later ones: a run of its own
			}
		}
	}
	r := &j.runs[j.n]
	r.begin(pkt, front, partial)
	j.n++
	return j.n < maxRuns
}

// frontOf returns the length of the headers of a packet that may be joined with others, otherwise 0.
func frontOf(pkt []byte, partial bool) int {
	if !partial || len(pkt) < ipv6Header+udpHeader || int(binary.BigEndian.Uint16(pkt[4:]))+ipv6Header != len(pkt) {
		return 0
	}
	switch pkt[6] {
	case protoUDP:
		if int(binary.BigEndian.Uint16(pkt[ipv6Header+udpLength:]))+ipv6Header == len(pkt) && len(pkt) > ipv6Header+udpHeader {
			return ipv6Header + udpHeader
		}
	case protoTCP:
		if len(pkt) < ipv6Header+tcpHeader {
			return 0
		}
		front := ipv6Header + int(pkt[ipv6Header+tcpFlagWord]>>4)*4
		flags := pkt[ipv6Header+tcpFlagWord+1]
		if front >= ipv6Header+tcpHeader && front < len(pkt) && flags&(flagSYN|flagRST|flagURG) == 0 {
			return front
		}
	}
	return 0
}

func (r *run) begin(pkt []byte, front int, partial bool) {
	r.pieces[0], r.n, r.front, r.partial = pkt, 1, front, partial
	r.size, r.total, r.flags = len(pkt)-front, len(pkt)-front, 0
	if front > 0 && pkt[6] == protoTCP {
		r.seq = binary.BigEndian.Uint32(pkt[ipv6Header+tcpSeq:]) + uint32(r.size) // #nosec G115 -- of one packet
		r.flags = pkt[ipv6Header+tcpFlagWord+1] & mergedFlags
	}
	r.closeAfter(r.size)
}

// closeAfter ends the run if nothing may follow a piece of n bytes of payload.
func (r *run) closeAfter(n int) {
	if n < r.size || r.flags&(flagFIN|flagPSH) != 0 || r.n == maxPieces {
		r.front = 0
	}
}

// flowOf reports whether the packet belongs to the flow of the run.
func (r *run) flowOf(pkt []byte) bool {
	a := r.pieces[0]
	return len(a) >= ipv6Header+4 && a[6] == pkt[6] && bytes.Equal(a[8:ipv6Header+4], pkt[8:ipv6Header+4])
}

// append takes the packet into the run if it continues it.
func (r *run) append(pkt []byte, front int) bool {
	a, n := r.pieces[0], len(pkt)-front
	if r.front != front || n > r.size || r.front-ipv6Header+r.total+n > maxPayload ||
		!bytes.Equal(a[:4], pkt[:4]) || a[7] != pkt[7] {
		return false
	}
	if pkt[6] == protoTCP && !r.continues(a[ipv6Header:front], pkt[ipv6Header:front], n) {
		return false
	}
	r.pieces[r.n] = pkt
	r.n++
	r.total += n
	r.closeAfter(n)
	return true
}

// continues reports whether the TCP header b, before n bytes, is that of the packet that follows those with header a.
func (r *run) continues(a, b []byte, n int) bool {
	flags := b[tcpFlagWord+1]
	if binary.BigEndian.Uint32(b[tcpSeq:]) != r.seq || flags&flagCWR != 0 ||
		!bytes.Equal(a[tcpAck:tcpFlagWord+1], b[tcpAck:tcpFlagWord+1]) || // acknowledgement, data offset
		(a[tcpFlagWord+1]^flags)&^mergedFlags != 0 ||
		!bytes.Equal(a[tcpFlagWord+2:tcpChecksum], b[tcpFlagWord+2:tcpChecksum]) || // window
		!bytes.Equal(a[tcpChecksum+2:], b[tcpChecksum+2:]) { // urgent pointer, options
		return false
	}
	r.seq += uint32(n) // #nosec G115 -- of one packet
	r.flags |= flags & (flagFIN | flagPSH)
	return true
}

// Flush hands all that was added to write, one packet a call, as the buffers that make it up, first the virtio header.
// The buffers are valid during the call only. It returns how many packets write refused, and forgets all.
func (j *Joiner) Flush(write func([][]byte) error) (refused int) {
	for i := range j.n {
		r := &j.runs[i]
		if write(j.assemble(r)) != nil {
			refused += r.n
		}
		clear(r.pieces[:r.n])
	}
	clear(j.out[:])
	j.n = 0
	return refused
}

func (j *Joiner) assemble(r *run) [][]byte {
	first := r.pieces[0]
	h := header{}
	j.out[0], j.out[1] = j.hdr[:], first
	if r.partial {
		at, ok := checksumAt(first)
		if ok {
			h.flags, h.sumStart, h.checksumOffset = flagNeedsChecksum, ipv6Header, uint16(at-ipv6Header) // #nosec G115 -- small
			front := len(first) - r.size
			if r.n > 1 {
				h.gso, h.size, h.headerLen = gsoUDP, uint16(r.size), uint16(front) // #nosec G115 -- of one packet
				r.merge(first, front, &h)
			}
			binary.BigEndian.PutUint16(first[at:], pseudo(first, first[6], front-ipv6Header+r.total))
			for i := 1; i < r.n; i++ {
				j.out[1+i] = r.pieces[i][front:]
			}
		}
	}
	h.put(j.hdr[:])
	return j.out[:1+r.n]
}

// merge makes the headers of the first packet those of all.
func (r *run) merge(first []byte, front int, h *header) {
	n := front - ipv6Header + r.total
	binary.BigEndian.PutUint16(first[4:], uint16(n)) // #nosec G115 -- append bounds it
	if first[6] == protoUDP {
		binary.BigEndian.PutUint16(first[ipv6Header+udpLength:], uint16(n)) // #nosec G115 -- as above
		return
	}
	h.gso = gsoTCPv6
	if r.flags&flagCWR != 0 {
		h.gso |= gsoECN
	}
	first[ipv6Header+tcpFlagWord+1] |= r.flags
}
