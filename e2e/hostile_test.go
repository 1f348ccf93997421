package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// injector puts frames on a cable as they are.
type injector struct {
	fd   int
	to   *unix.SockaddrLinklayer
	sent int
}

func (m *machine) injector(t *testing.T, iface string) *injector {
	t.Helper()
	i := &injector{fd: -1}
	if err := m.do(func() error {
		l, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		i.to = &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}
		i.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(i.fd) })
	return i
}

func (i *injector) send(t *testing.T, frame []byte) {
	t.Helper()
	if err := unix.Sendto(i.fd, frame, 0, i.to); err != nil {
		t.Fatalf("inject %d bytes: %v", len(frame), err)
	}
	i.sent++
}

// forge returns a captured frame (Ethernet, IPv4, UDP) with another payload, as from the same sender.
func forge(frame, payload []byte) []byte {
	const ethernet, udp = 14, 8
	ip := int(frame[ethernet]&15) * 4
	b := slices.Concat(frame[:ethernet+ip+udp], payload)
	head := b[ethernet : ethernet+ip]
	binary.BigEndian.PutUint16(head[2:], uint16(ip+udp+len(payload)))
	head[10], head[11] = 0, 0
	sum := uint32(0)
	for k := 0; k < ip; k += 2 {
		sum += uint32(binary.BigEndian.Uint16(head[k:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(head[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(b[ethernet+ip+4:], uint16(udp+len(payload)))
	binary.BigEndian.PutUint16(b[ethernet+ip+6:], 0) // no checksum (RFC 768)
	return b
}

// pause has a machine's daemon stand still for a moment.
func (m *machine) pause(t *testing.T, d time.Duration) {
	t.Helper()
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := m.daemon.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if s == syscall.SIGSTOP {
			time.Sleep(d)
		}
	}
}

// risen adds up how much some counters have risen.
func risen(before, after api.Counters, names ...string) (sum int) {
	for _, n := range names {
		sum += int(after[n] - before[n])
	}
	return sum
}

// What comes from the wire and is not from the neighbour, or is so for the second time, is counted and has no effect:
// traffic goes on without a loss, nothing is delivered twice, links and sessions stay.
func TestHostileWire(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	a, g := listen(t, alpha), listen(t, gamma)
	t.Cleanup(func() { a.close(); g.close() })
	knockAll(t, 20*time.Second, a, g)

	beta.singly(t, "to-alpha")
	wire := beta.capture(t, "to-alpha")
	flows := [][2]*endpoint{{a, g}, {g, a}}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); stream(done, 5*time.Millisecond, flows...) }()
	gamma.pause(t, 40*time.Millisecond) // what it sends then leaves together, as it does on a busy machine
	var frames [][]byte                 // from beta to alpha
	eventually(t, 20*time.Second, "capture frames", func(context.Context) error {
		frames = frames[:0]
		for _, f := range wire.all() {
			if p := datagram(f.data); f.out && len(p) > 0 {
				frames = append(frames, f.data)
			}
		}
		if len(frames) < 500 {
			return fmt.Errorf("%d so far", len(frames))
		}
		return nil
	})
	wire.stop()
	inject := beta.injector(t, "to-alpha")
	r := rand.New(rand.NewPCG(7, 7))

	attack := func(name string, least int, counters []string, send func() int) {
		t.Run(name, func(t *testing.T) {
			before := alpha.counters(t)
			expect := send()
			if expect < least {
				t.Fatalf("only %d datagrams to send", expect)
			}
			// The socket's buffer is large, and beta's own frames are counted elsewhere: every one must show.
			eventually(t, 10*time.Second, "counters rise", func(context.Context) error {
				if got := risen(before, alpha.counters(t), counters...); got < expect {
					return fmt.Errorf("%v rose by %d of %d", counters, got, expect)
				}
				return nil
			})
		})
	}
	mine := slices.DeleteFunc(slices.Clone(frames), func(f []byte) bool { return datagram(f)[0]>>4 != 3 })
	// All come in a moment: where this process has no time for them, what the kernel has no room for is counted as that.
	whole := alpha.counters(t)
	attack("replayed", 300, []string{"link_replay", "udp_overflow_frames", "udp_overflow_hellos"}, func() int {
		for _, f := range mine {
			inject.send(t, forge(f, datagram(f)))
		}
		return len(mine)
	})
	if got := risen(whole, alpha.counters(t), "link_replay"); got < len(mine)*9/10 {
		t.Errorf("%d of %d replays were seen to be such", got, len(mine))
	}
	attack("truncated", 300, []string{"frame_truncated", "frame_malformed", "link_bad_mac", "udp_garbage", "udp_refused"}, func() int {
		for _, f := range mine {
			p := datagram(f)
			inject.send(t, forge(f, p[:1+r.IntN(len(p)-1)]))
		}
		return len(mine)
	})
	attack("flipped", 300, []string{
		"frame_truncated", "frame_malformed", "frame_bad_type", "link_unknown_session", "link_bad_mac", "link_replay",
		"udp_refused",
	}, func() int {
		for _, f := range mine {
			p := slices.Clone(datagram(f))
			// One bit of what the link's MAC covers or decides which key it is checked with; not of what only the far end
			// of the mesh can check, nor one that makes it QUIC.
			k := 4 + r.IntN(8*(20+16)-4)
			p[k/8] ^= 0x80 >> (k % 8)
			inject.send(t, forge(f, p))
		}
		return len(mine)
	})
	attack("garbage", 1000, []string{"frame_truncated", "frame_malformed", "frame_bad_type", "link_unknown_session", "udp_garbage", "udp_refused"}, func() int {
		for range 1000 {
			p := make([]byte, 1+r.IntN(1400))
			for k := range p {
				p[k] = byte(r.Uint32())
			}
			p[0] &= 0x3f // not QUIC
			inject.send(t, forge(mine[0], p))
		}
		return 1000
	})
	t.Run("replayed, cut and flipped QUIC", func(t *testing.T) {
		for _, f := range frames {
			if p := datagram(f); p[0]>>4 != 3 {
				inject.send(t, forge(f, p))
				inject.send(t, forge(f, p[:1+r.IntN(len(p))]))
				q := slices.Clone(p)
				q[r.IntN(len(q))] ^= 1 << r.IntN(8)
				inject.send(t, forge(f, q))
			}
		}
		for range 300 { // looks like the beginning of a connection
			p := make([]byte, 1200)
			for k := range p {
				p[k] = byte(r.Uint32())
			}
			copy(p, []byte{0xc0, 0, 0, 0, 1, 8})
			inject.send(t, forge(mine[0], p))
		}
	})
	t.Run("garbage to the join port", func(t *testing.T) { garbageJoins(t, n, r) })

	close(done)
	<-ended
	settled(5*time.Second, flows...)
	for _, f := range flows {
		a := f[0].tally(f[1])
		t.Logf("%s to %s: %s, while %d datagrams were injected", f[0].m.id, f[1].m.id, a, inject.sent)
		// The first knocks may have waited in vain for a session.
		if a.twice != 0 || a.lost() > 2 {
			t.Errorf("%s to %s: %s", f[0].m.id, f[1].m.id, a)
		}
	}
	n.converged(n.machines...)
}

// garbageJoins talks nonsense to alpha's join port.
func garbageJoins(t *testing.T, n *network, r *rand.Rand) {
	here, _ := n.underlay(n.at("alpha"), n.at("beta"))
	for k := range 20 {
		var c net.Conn
		if err := n.at("beta").do(func() (err error) {
			c, err = net.DialTimeout("tcp", netip.AddrPortFrom(here, port).String(), 5*time.Second)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1+r.IntN(3000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if k%2 == 0 {
			copy(b, "x0tj\x01\x01\x05alpha") // polite at first
		}
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer := make([]byte, 4096)
		for {
			if _, err := c.Read(answer); err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Error("the join port holds on to a connection of nonsense")
				}
				break
			}
		}
		c.Close()
	}
	if tok := n.token(mesh.MustNodeID("delta")); tok == "" {
		t.Error("no token after the nonsense")
	}
}
