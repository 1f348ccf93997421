package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Kind is a kind of garbage.
type Kind string

// The kinds. The last two take somebody who sees the cable: they name a session, or a QUIC connection, of the victim's and come
// from its neighbour's address, so that nothing but the MAC, or the AEAD, tells them from true ones.
const (
	Random  Kind = "random"  // random bytes
	Label   Kind = "label"   // frames with a random session
	Version Kind = "version" // QUIC's long header with a version that nobody has
	Initial Kind = "initial" // the beginning of a QUIC connection, as long as it must be
	Short   Kind = "short"   // QUIC for a random connection
	Forged  Kind = "forged"
	Sealed  Kind = "sealed" // forged QUIC
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Random, Label, Version, Initial, Short, Forged, Sealed} }

// Blind are those that need no look at the cable.
func Blind() []Kind { return slices.DeleteFunc(Kinds(), Kind.seeing) }

func (k Kind) seeing() bool { return k == Forged || k == Sealed }

// Example is a frame of the mesh, as it was on the cable to the victim: Ethernet, IPv4, UDP. QUIC is another, of a packet of
// QUIC's, where one was waited for.
type Example struct {
	Interface   int
	Frame, QUIC []byte
}

const (
	ethernet = 14
	udp      = 8
	ipv4     = 20
	payload  = ethernet + ipv4 + udp

	maxConnectionID = 20 // bytes (RFC 9000 §17.2)
)

// Catch waits for what this network namespace sends to a node by the interface and garbage of the kinds is made of: a frame,
// and for Sealed a packet of QUIC, too. Neighbours whose link is idle exchange one every three seconds.
func Catch(ctx context.Context, interfaceName string, kinds []Kind) (Example, error) {
	i, err := net.InterfaceByName(interfaceName)
	if err != nil {
		return Example{}, fmt.Errorf("flood: %w", err)
	}
	const every = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in the network's order
	fd, err := rawSocket(i.Index, every&0xffff)
	if err != nil {
		return Example{}, err
	}
	defer unix.Close(fd)
	tick := unix.NsecToTimeval(50e6)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick); err != nil {
		return Example{}, os.NewSyscallError("set SO_RCVTIMEO", err)
	}
	e := Example{Interface: i.Index}
	wantQUIC := slices.Contains(kinds, Sealed)
	b := make([]byte, 2048)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			return Example{}, os.NewSyscallError("recvfrom", err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype != unix.PACKET_OUTGOING || !isUDP(b[:n]) {
			continue
		}
		switch first := b[payload]; {
		case first&0xf0 == 0x30 && e.Frame == nil:
			e.Frame = slices.Clone(b[:n])
		case first&0xc0 == 0x40 && e.QUIC == nil: // a short header (RFC 9000 §17.3.1)
			e.QUIC = slices.Clone(b[:n])
		}
		if e.Frame != nil && (e.QUIC != nil || !wantQUIC) {
			return e, nil
		}
	}
	return Example{}, fmt.Errorf("flood: what garbage is made of did not leave by %s over IPv4: %w", interfaceName, ctx.Err())
}

func isUDP(b []byte) bool {
	return len(b) >= payload+20 && binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IP && b[ethernet] == 0x45 && b[ethernet+9] == unix.IPPROTO_UDP
}

// To returns the example as sent to another port.
func (e Example) To(port uint16) Example {
	return e.each(func(f []byte) { binary.BigEndian.PutUint16(f[ethernet+ipv4+2:], port) })
}

// Stray returns the example as sent to a station that is not there: it crosses the cable and goes no further.
func (e Example) Stray() Example {
	return e.each(func(f []byte) { f[5] ^= 0xff }) // of the Ethernet destination
}

func (e Example) each(change func(f []byte)) Example {
	e.Frame, e.QUIC = slices.Clone(e.Frame), slices.Clone(e.QUIC)
	for _, f := range [][]byte{e.Frame, e.QUIC} {
		if f != nil {
			change(f)
		}
	}
	return e
}

// garbage makes n datagrams of the kinds, in turn.
func (e Example) garbage(kinds []Kind, n int, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, seed)) // #nosec G404 -- garbage
	all := make([][]byte, n)
	for i := range all {
		k := kinds[i%len(kinds)]
		seen := e.Frame
		if k == Sealed {
			seen = e.QUIC
		}
		all[i] = e.wrap(k.bytes(r, seen[payload:]), r, !k.seeing())
	}
	return all
}

// bytes makes one datagram. seen is what a true one looks like.
func (k Kind) bytes(r *rand.Rand, seen []byte) []byte {
	b := make([]byte, 24+r.IntN(80)) // enough for any header
	if k == Initial {
		b = make([]byte, 1200)
	}
	for i := range b {
		b[i] = byte(r.Uint32()) // #nosec G115 -- garbage
	}
	switch k {
	case Label:
		copy(b, []byte{0x30, 0, 0, 0})
	case Version:
		copy(b, []byte{0xc0, 0xba, 0xba, 0xba, 0xba, 8})
	case Initial:
		copy(b, []byte{0xc0, 0, 0, 0, 1, 8}) // well formed up to what is encrypted (RFC 9000 §17.2.2)
		b[14], b[23] = 8, 0
		binary.BigEndian.PutUint16(b[24:], 0x4000|uint16(len(b)-26)) // #nosec G115 -- 1174
	case Short:
		b[0] = 0x40 | b[0]&0x3f
	case Forged:
		copy(b, seen[:12])                                             // type, session and counter
		binary.BigEndian.PutUint32(b[8:], r.Uint32()>>20|r.Uint32()&3) // near any counter, now and then right
		b[0], b[1], b[2] = 0x30, 0, 0
	case Sealed:
		copy(b, seen[:1+maxConnectionID]) // and what follows a shorter ID is under the seal
	}
	return b
}

// wrap puts headers around, from a random host if it is to be forged, else from the example's.
func (e Example) wrap(b []byte, r *rand.Rand, forged bool) []byte {
	f := append(slices.Clone(e.Frame[:payload]), b...)
	ip := f[ethernet : ethernet+ipv4]
	if forged {
		copy(ip[12:16], []byte{byte(11 + r.IntN(100)), byte(r.IntN(256)), byte(r.IntN(256)), byte(1 + r.IntN(254))}) // #nosec G115 -- bytes
		binary.BigEndian.PutUint16(f[ethernet+ipv4:], uint16(1024+r.IntN(60000)))                                    // #nosec G115 -- a port
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4+udp+len(b))) // #nosec G115 -- at most 1228
	ip[10], ip[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < ipv4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16)) // #nosec G115 -- folded
	binary.BigEndian.PutUint16(f[ethernet+ipv4+4:], uint16(udp+len(b)))
	binary.BigEndian.PutUint16(f[ethernet+ipv4+6:], 0) // no checksum (RFC 768): as cheap as a flood can be
	return f
}
