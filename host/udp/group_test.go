package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var errNoSorting = errors.New("not here")

// unsorted is a kernel that does not sort.
func unsorted(*group, *endpoint, string, netip.AddrPort) error { return errNoSorting }

// held is a socket whose reader of frames stands still, with the first frame in its hands, until it is let go.
type held struct {
	*Socket
	let  chan struct{}
	seen atomic.Int64
}

func hold(t *testing.T, share shareFunc) *held {
	t.Helper()
	h := &held{let: make(chan struct{})}
	has := make(chan struct{}, 1)
	var err error
	h.Socket, err = listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{Frame: func(*Socket, netip.AddrPort, []byte) {
		if h.seen.Add(1) == 1 {
			has <- struct{}{}
			<-h.let
		}
	}}, share)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if err := errors.Join(h.Admit([]uint32{7}), h.RequireMarks()); err != nil {
		t.Fatal(err)
	}
	a, _ := open(t, "127.0.0.1:0")
	if err := a.Send(at("127.0.0.1", h.Socket), frameOf(7, 60)); err != nil {
		t.Fatal(err)
	}
	<-has
	return h
}

// needSorting skips where the kernel does not sort, as in some sandboxes.
func needSorting(t *testing.T) {
	t.Helper()
	s, _ := open(t, "127.0.0.1:0")
	if err := s.Unsorted(); err != nil {
		t.Skipf("what needs datagrams to be sorted is not tried: the kernel does not do it here: %v", err)
	}
}

// flood sends n datagrams of each kind to the socket.
func flood(t *testing.T, to netip.AddrPort, n int, kinds ...[]byte) {
	t.Helper()
	a, _ := open(t, "127.0.0.1:0")
	for range n {
		for _, b := range kinds {
			if err := a.Send(to, b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

const floodSize = 20000

var floods = map[string][]byte{
	"strangers' Initials": longHeaderOf(0xc0, 1, bytes.Repeat([]byte{9}, 8), 1200),
	"unknown sessions":    frameOf(8, 1200),
	"unknown connections": append([]byte{0x40}, bytes.Repeat([]byte{9}, 1200)...),
	"other versions":      longHeaderOf(0xc0, 9, bytes.Repeat([]byte{9}, 8), 1200),
	"nonsense":            bytes.Repeat([]byte{1}, 1200),
}

// Frames that come behind a flood of anything else wait in a queue of their own: none is lost.
func TestFloodLeavesFramesAlone(t *testing.T) {
	needSorting(t)
	for name, b := range floods {
		t.Run(name, func(t *testing.T) {
			h := hold(t, (*group).share)
			to := at("127.0.0.1", h.Socket)
			flood(t, to, floodSize, b)
			flood(t, to, 100, frameOf(7, 60))
			close(h.let)
			for deadline := time.Now().Add(10 * time.Second); h.seen.Load() < 101; {
				if time.Now().After(deadline) {
					t.Fatalf("%d of 101 frames came: %v", h.seen.Load(), h.Counters())
				}
				time.Sleep(time.Millisecond)
			}
			c := h.Counters()
			if c["udp_overflow_frames"] != 0 {
				t.Errorf("frames overflowed: %v", c)
			}
			if name != "strangers' Initials" && c["udp_refused"] != floodSize {
				t.Errorf("refused %d of %d", c["udp_refused"], floodSize)
			}
		})
	}
}

// The control: in one queue with the flood, what comes behind it is lost.
func TestFloodWithoutSortingLosesFrames(t *testing.T) {
	h := hold(t, unsorted)
	if err := h.Unsorted(); !errors.Is(err, errNoSorting) {
		t.Fatalf("unsorted because of %v", err)
	}
	to := at("127.0.0.1", h.Socket)
	flood(t, to, floodSize, floods["strangers' Initials"])
	flood(t, to, 100, frameOf(7, 60))
	if n := h.Counters()["udp_overflow_frames"]; n < 100 {
		t.Errorf("%d datagrams found the queue full, want all of the last at least", n)
	}
	close(h.let)
}

// A socket that the kernel does not sort for tells the classes apart itself.
func TestUnsortedJudgesByTheSameRules(t *testing.T) {
	s, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{}, unsorted)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.RequireMarks(); err != nil {
		t.Fatal(err)
	}
	flood(t, at("127.0.0.1", s), 1, append([]byte{0x40}, s.NewConnectionID()...), floods["strangers' Initials"], floods["unknown connections"])
	buf := make([]byte, 2000)
	for _, want := range []byte{0x40, 0xc0} {
		if _, _, err := s.QUIC().ReadFrom(buf); err != nil || buf[0] != want {
			t.Fatalf("got %#x, %v, want %#x", buf[0], err, want)
		}
	}
	s.Close() // a datagram can be read before it is counted: Close waits for those who count
	if c := s.Counters(); c["udp_quic"] != 2 || c["udp_newcomers"] != 1 {
		t.Errorf("counters %v", c)
	}
}

// A member's handshake passes where strangers' have filled their queue and used up their allowance.
func TestMembersComeThroughAFloodOfStrangers(t *testing.T) {
	needSorting(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			bind := netip.AddrPortFrom(netip.MustParseAddr(host), 0)
			if bind.Addr().Is6() {
				needIPv6(t)
			}
			s, _ := open(t, bind.String())
			s.arrivals.all = allowance{filled: time.Hour} // used up
			if err := s.RequireMarks(); err != nil {
				t.Fatal(err)
			}
			a, _ := open(t, bind.String())
			knock := func() {
				t.Helper()
				if err := a.Send(at(host, s), floods["strangers' Initials"]); err != nil {
					t.Fatal(err)
				}
			}
			knock() // the control: a stranger's does not
			for s.Counters()["udp_newcomers_limited"] != 1 {
				time.Sleep(time.Millisecond)
			}
			for range 2 { // again and again is once
				if err := s.Expect(a.LocalAddr().Addr()); err != nil {
					t.Fatal(err)
				}
			}
			knock()
			buf := make([]byte, 2000)
			if n, from, err := s.QUIC().ReadFrom(buf); err != nil || n != 1200 || from.String() != a.LocalAddr().String() {
				t.Fatalf("%d bytes from %v: %v", n, from, err)
			}
			if r := s.rules.Load(); len(r.members) != 1 {
				t.Errorf("members %x", r.members)
			}
			if got := s.count.read[expected].Load(); got != 1 {
				t.Errorf("%d datagrams came by the queue of members, want 1", got)
			}
		})
	}
}

// Of a broadcast the kernel gives every queue a copy: only that of frames has them handled, on one goroutine.
func TestCopiesInOtherQueuesAreDropped(t *testing.T) {
	needSorting(t)
	s, frames := open(t, "127.0.0.1:0")
	from := s.LocalAddr()
	for c := acquainted; c < classes; c++ {
		s.demux(c, from, frameOf(1, 60))
	}
	s.demux(framed, from, []byte{0x40, 1})
	if c := s.Counters(); len(frames) != 0 || c["udp_garbage"] != uint64(classes-acquainted)+1 || c["udp_quic"] != 0 {
		t.Errorf("%d frames, %v", len(frames), c)
	}
	s.demux(framed, from, frameOf(1, 60)) // the control
	receive(t, frames)
}

func TestMembersAreBounded(t *testing.T) {
	s, _ := open(t, "127.0.0.1:0")
	for i := range maxMembers + 10 {
		if err := s.Expect(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})); err != nil {
			t.Fatal(err)
		}
	}
	r := s.rules.Load()
	if len(r.members) != maxMembers || r.expects(netip.MustParseAddr("10.0.0.9")) || !r.expects(netip.MustParseAddr("10.0.1.9")) {
		t.Errorf("%d members, from %x to %x", len(r.members), r.members[0], r.members[len(r.members)-1])
	}
}

// One network cannot use up what all newcomers may send.
func TestNewcomersAreLimited(t *testing.T) {
	n := newNewcomers()
	from := func(host string, at time.Duration, count int) (passed int) {
		for range count {
			if n.allow(netip.MustParseAddr(host), at) {
				passed++
			}
		}
		return passed
	}
	if got := from("192.0.2.1", 1, 10000); got != 2*newcomersByNet {
		t.Errorf("one network: %d at once", got)
	}
	if got := from("192.0.2.255", 1, 10); got != 0 {
		t.Errorf("another host of it: %d", got)
	}
	if got := from("198.51.100.1", 1, 10); got != 10 {
		t.Errorf("another network: %d of 10", got)
	}
	if got := from("2001:db8::1", 1, 1000) + from("2001:db8::ffff:1", 1, 1000); got != 2*newcomersByNet {
		t.Errorf("one /64: %d", got)
	}
	if got := from("192.0.2.1", time.Second+1, 10000); got != newcomersByNet {
		t.Errorf("after a second: %d, want %d", got, newcomersByNet)
	}
	all := 0
	for i := range 1000 { // forged sources: every network once in a while
		all += from(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String(), 10*time.Second, 100)
	}
	if all > 2*newcomerRate {
		t.Errorf("everybody together: %d at once", all)
	}
	if got := from("203.0.113.9", 10*time.Second, 1); got != 0 {
		t.Errorf("%d above what all may send", got)
	}
}

func TestPortIsOurs(t *testing.T) {
	needSorting(t)
	s, _ := open(t, "127.0.0.1:0")
	if c, err := net.ListenPacket("udp4", s.LocalAddr().String()); !errors.Is(err, unix.EADDRINUSE) {
		if err == nil {
			c.Close()
		}
		t.Errorf("a second program on the port: %v", err)
	}
}

func TestManySessionsLetInAllFrames(t *testing.T) {
	s, frames := open(t, "127.0.0.1:0")
	if err := s.Admit(make([]uint32, maxSessions+1)); err != nil {
		t.Fatal(err)
	}
	flood(t, at("127.0.0.1", s), 1, frameOf(42, 20))
	receive(t, frames)
}
