// Package segment cuts the large packets that a TUN with offload gives us into packets that fit a frame, and joins such
// packets into large ones again, so that the kernel is asked once for up to 64 KiB of a flow, both ways.
//
//	TUN ── large packet ──► Cutter ── packets of one size ──► frames … frames ──► Joiner ── large packet ──► TUN
//
// Every packet that leaves a Cutter is whole: it has its own IPv6 and TCP or UDP header, so that a lost one costs no other. Only its
// checksum is left out (RFC 8200 §8.1 wants one end to end; the seal of the frame is a better one), which travels as one bit
// beside it. The Joiner puts the sum over the pseudo header in its place and lets the kernel do the rest, as it does for
// packets of its own (CHECKSUM_PARTIAL).
//
// Nothing here trusts a packet: the virtio header that the kernel reads is made from lengths that were checked, never
// from bytes of a peer.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderLen is the length of the virtio header before each packet of a TUN with offload (virtio 1.2 §5.1.6, without
// num_buffers).
const HeaderLen = 10

// What a virtio header says.
const (
	flagNeedsChecksum = 1

	gsoNone  = 0
	gsoTCPv6 = 4
	gsoUDP   = 5
	gsoECN   = 0x80
)

// The offsets and numbers of RFC 8200, 9293 and 768.
const (
	ipv6Header = 40
	tcpHeader  = 20
	udpHeader  = 8

	protoTCP = 6
	protoUDP = 17

	tcpSeq      = 4
	tcpAck      = 8
	tcpFlagWord = 12 // data offset, flags, window
	tcpChecksum = 16
	udpLength   = 4
	udpChecksum = 6

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagURG = 0x20
	flagCWR = 0x80
)

// ErrHeader is what is wrong with a packet that the TUN gave: no kernel writes one.
var ErrHeader = errors.New("not a packet with a virtio header that this kernel promised")

// header is struct virtio_net_hdr, in the machine's byte order.
type header struct {
	flags, gso                                byte
	headerLen, size, sumStart, checksumOffset uint16
}

func parseHeader(b []byte) header {
	n := binary.NativeEndian
	return header{flags: b[0], gso: b[1], headerLen: n.Uint16(b[2:]), size: n.Uint16(b[4:]), sumStart: n.Uint16(b[6:]),
		checksumOffset: n.Uint16(b[8:])}
}

func (h header) put(b []byte) {
	n := binary.NativeEndian
	b[0], b[1] = h.flags, h.gso
	n.PutUint16(b[2:], h.headerLen)
	n.PutUint16(b[4:], h.size)
	n.PutUint16(b[6:], h.sumStart)
	n.PutUint16(b[8:], h.checksumOffset)
}

// sum adds b to a ones' complement sum (RFC 1071), eight bytes at a time.
func sum(b []byte, s uint64) uint64 {
	add := func(x uint64) {
		s += x
		if s < x {
			s++
		}
	}
	for ; len(b) >= 8; b = b[8:] {
		add(binary.BigEndian.Uint64(b))
	}
	var tail [8]byte
	copy(tail[:], b)
	add(binary.BigEndian.Uint64(tail[:]))
	return s
}

// fold makes a sum 16 bits wide.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s) // #nosec G115 -- folded
}

// pseudo is the sum over the pseudo header (RFC 8200 §8.1) of a packet with n bytes of proto.
func pseudo(pkt []byte, proto byte, n int) uint16 {
	return fold(sum(pkt[8:40], uint64(n)+uint64(proto))) // #nosec G115 -- n is the length of a packet
}

// finish writes the checksum of the bytes from start on, whose place at offset holds the sum of the pseudo header.
func finish(pkt []byte, start, offset int) {
	c := ^fold(sum(pkt[start:], 0))
	if c == 0 && pkt[6] == protoUDP {
		c = 0xffff // RFC 768: 0 would mean none
	}
	binary.BigEndian.PutUint16(pkt[start+offset:], c)
}

func bad(format string, args ...any) error {
	return fmt.Errorf("segment: %w: %s", ErrHeader, fmt.Sprintf(format, args...))
}
