package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// capture is what tcpdump would be: a packet socket that keeps all that an interface sent and received.
type capture struct {
	fd   int
	done chan struct{}

	mu     sync.Mutex
	frames []captured
}

type captured struct {
	data []byte
	out  bool // sent by the machine
}

// capture listens on one interface of the machine, or with an empty name on all of them.
func (m *machine) capture(t *testing.T, iface string) *capture {
	t.Helper()
	c := &capture{done: make(chan struct{})}
	if err := m.do(func() error { return c.open(iface) }); err != nil {
		t.Fatal(err)
	}
	go c.read()
	t.Cleanup(c.stop)
	return c
}

// singly has the interface of a machine send datagrams that were given to the kernel together one by one, so that each is captured
// as it is on a wire.
func (m *machine) singly(t *testing.T, iface string) {
	t.Helper()
	if err := m.do(func() error {
		l, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return netlink.LinkSetGSOMaxSegs(l, 1)
	}); err != nil {
		t.Fatal(err)
	}
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

func (c *capture) open(iface string) (err error) {
	// Until it is bound it hears nothing, and then not what other interfaces carry.
	c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		return err
	}
	// So that the reader looks now and then whether it is to end.
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		return err
	}
	if iface == "" {
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)})
	}
	l, err := netlink.LinkByName(iface)
	if err != nil {
		return err
	}
	return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: l.Attrs().Index})
}

func (c *capture) read() {
	defer unix.Close(c.fd)
	b := make([]byte, 1<<17)
	for {
		k, from, err := unix.Recvfrom(c.fd, b, 0)
		select {
		case <-c.done:
			return
		default:
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		l, ok := from.(*unix.SockaddrLinklayer)
		c.mu.Lock()
		c.frames = append(c.frames, captured{bytes.Clone(b[:k]), ok && l.Pkttype == unix.PACKET_OUTGOING})
		c.mu.Unlock()
	}
}

func (c *capture) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

// all returns what was captured so far.
func (c *capture) all() []captured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}

// count says in how many frames a secret stands.
func (c *capture) count(secret []byte) (found int) {
	for _, f := range c.all() {
		if bytes.Contains(f.data, secret) {
			found++
		}
	}
	return found
}

// datagram returns the payload of an IPv4 UDP datagram from the link port to the link port in an Ethernet frame, nil
// if it is something else.
func datagram(frame []byte) []byte {
	const ethernet, udp = 14, 8
	if len(frame) < ethernet+20 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP || frame[ethernet+9] != unix.IPPROTO_UDP {
		return nil
	}
	at := ethernet + int(frame[ethernet]&15)*4
	if len(frame) < at+udp || binary.BigEndian.Uint16(frame[at:]) != port || binary.BigEndian.Uint16(frame[at+2:]) != port {
		return nil
	}
	end := at + int(binary.BigEndian.Uint16(frame[at+4:]))
	if end < at+udp || end > len(frame) {
		return nil
	}
	return frame[at+udp : end]
}
