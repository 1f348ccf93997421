package udp

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helloOf is a hello of a session; asks says that it wants an answer.
func helloOf(session uint32, asks bool) []byte {
	b := frameOf(session, minHello)
	if asks {
		b[probeOffset] |= probeBit
	}
	return b
}

// listener is a socket that takes hellos apart from other frames, and what it got.
type listener struct {
	*Socket
	frames     chan []byte
	hellos     chan time.Time
	collecting atomic.Bool  // Collect is running
	woken      atomic.Int64 // hellos that came while it was not
}

func listenForHellos(t *testing.T, share shareFunc) (l *listener, hello func(asks bool)) {
	t.Helper()
	l = &listener{frames: make(chan []byte, 4096), hellos: make(chan time.Time, 4096)}
	var err error
	l.Socket, err = listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{
		Frame: func(_ *Socket, _ netip.AddrPort, b []byte) { l.frames <- b[:1:1] },
		Hello: func(_ *Socket, _ netip.AddrPort, _ []byte, at time.Time) {
			if !l.collecting.Load() {
				l.woken.Add(1)
			}
			l.hellos <- at
		},
	}, share)
	check(t, err)
	t.Cleanup(func() { l.Close() })
	check(t, l.Admit([]uint32{7}))
	a, _ := open(t, "127.0.0.1:0")
	return l, func(asks bool) {
		t.Helper()
		check(t, a.Send(at("127.0.0.1", l.Socket), helloOf(7, asks)))
	}
}

// arrived waits until there is something in the queue of hellos.
func (l *listener) arrived(t *testing.T) {
	t.Helper()
	check(t, l.ports[calm].control(func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		if n != 1 {
			t.Fatal("no hello came")
		}
		return err
	}))
}

func (l *listener) collect() bool {
	l.collecting.Store(true)
	defer l.collecting.Store(false)
	return l.Collect()
}

// Hellos that ask for nothing wait until they are collected, and are known to have come when they came; those that want an
// answer, and all other frames, do not wait.
func TestHellosWait(t *testing.T) {
	needSorting(t)
	l, hello := listenForHellos(t, (*group).share)
	check(t, l.Gather(true))
	before := time.Now()
	for range 3 {
		hello(false)
	}
	after := time.Now()
	hello(true)
	receiveFrom(t, l.frames)
	l.arrived(t)
	for time.Since(after) < 5*time.Millisecond {
	}
	if !l.collect() {
		t.Error("three hellos are a flood")
	}
	if len(l.hellos) != 3 || l.woken.Load() != 0 {
		t.Fatalf("collected %d hellos of 3, %d came by themselves", len(l.hellos), l.woken.Load())
	}
	for range 3 {
		if at := <-l.hellos; at.Before(before.Add(-time.Millisecond)) || at.After(after.Add(time.Millisecond)) {
			t.Errorf("a hello came %v after it was sent", at.Sub(before))
		}
	}
	if c := l.Counters(); c["udp_frames"] != 4 || c["udp_hellos"] != 3 || c["udp_hellos_waited"] != 3 || c["udp_garbage"] != 0 {
		t.Errorf("counters %v", c)
	}
}

// Without Gather hellos come by themselves, and so do those that waited when it ends.
func TestHellosComeByThemselves(t *testing.T) {
	needSorting(t)
	l, hello := listenForHellos(t, (*group).share)
	hello(false)
	receiveFrom(t, l.hellos)
	check(t, l.Gather(true))
	hello(false)
	l.arrived(t)
	check(t, l.Gather(false))
	receiveFrom(t, l.hellos)
	if l.Collect(); l.woken.Load() != 2 || l.Counters()["udp_hellos_waited"] != 0 {
		t.Errorf("%d of 2 came by themselves, %v", l.woken.Load(), l.Counters())
	}
}

func TestUnsortedHellosAreFrames(t *testing.T) {
	l, hello := listenForHellos(t, unsorted)
	check(t, l.Gather(true))
	hello(false)
	receiveFrom(t, l.frames)
	if !l.Collect() || len(l.hellos) != 0 {
		t.Error("there is a queue of hellos")
	}
}

// Who collects is not held up by a flood: what is more than a thousand stays.
func TestFloodOfHellosIsCutOff(t *testing.T) {
	needSorting(t)
	l, hello := listenForHellos(t, (*group).share)
	check(t, l.Gather(true))
	for range collectMost*batch + 1 {
		hello(false)
	}
	if l.collect() || len(l.hellos) != collectMost*batch {
		t.Errorf("%d hellos at once, and they are all", len(l.hellos))
	}
	if !l.collect() || len(l.hellos) != collectMost*batch+1 {
		t.Errorf("%d hellos, and they are not all", len(l.hellos))
	}
}

// A clock that is set between a hello's coming and its reading moves it no further than it can have waited.
func TestDatesOutliveAClockThatIsSet(t *testing.T) {
	now := time.Now()
	d := dates{now: now, since: now.Add(-50 * time.Millisecond)}
	for _, tt := range []struct{ stamp, want time.Duration }{
		{-20 * time.Millisecond, -20 * time.Millisecond},
		{-time.Hour, -50 * time.Millisecond},
		{time.Hour, 0},
	} {
		if got := d.of(now.Add(tt.stamp).UnixNano()); got.Sub(now) != tt.want {
			t.Errorf("stamped %v from now it came %v from now, want %v", tt.stamp, got.Sub(now), tt.want)
		}
	}
	if got := d.of(0); !got.Equal(now) {
		t.Errorf("without a stamp it came %v from now", got.Sub(now))
	}
}

// What the kernel says beside a datagram is found in any order; what is cut off is not read.
func TestTold(t *testing.T) {
	var c told
	put := func(at int, level, kind int32, data ...uint32) int {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[at]))
		h.Level, h.Type = level, kind
		h.SetLen(unix.SizeofCmsghdr + 4*len(data))
		for i, x := range data {
			binary.NativeEndian.PutUint32(c.b[at+unix.SizeofCmsghdr+4*i:], x)
		}
		return at + (unix.SizeofCmsghdr+4*len(data)+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr
	}
	ts := unix.NsecToTimespec(1_700_000_000_123_456_789)
	stamp := make([]uint32, int(unsafe.Sizeof(ts))/4)
	for i := range stamp {
		stamp[i] = *(*uint32)(unsafe.Add(unsafe.Pointer(&ts), 4*i))
	}
	n := put(0, unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, stamp...)
	m := put(n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, 0, 0, 0, 0, 42)
	size := put(m, unix.SOL_UDP, unix.UDP_GRO, 1400)
	all := put(size, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 0xb8|2)
	if got := c.read(all); got != (said{42, 1_700_000_000_123_456_789, 1400, 2}) {
		t.Errorf("said %+v", got)
	}
	put(size, unix.IPPROTO_IP, unix.IP_TOS, 0xb8|1)
	if got := c.read(all); got.ecn != 1 {
		t.Errorf("code point %d of IPv4", got.ecn)
	}
	if got := c.read(n); got != (said{stamp: 1_700_000_000_123_456_789}) {
		t.Errorf("said %+v, without more", got)
	}
	for n := range all + 1 {
		c.read(n)
	}
	for _, size := range []int{0, 1, unix.SizeofCmsghdr, 1 << 30} { // lengths that no kernel writes
		(*unix.Cmsghdr)(unsafe.Pointer(&c.b)).SetLen(size)
		if got := c.read(toldSpace); got != (said{}) {
			t.Errorf("length %d: said %+v", size, got)
		}
	}
}

func receiveFrom[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came in 5 s")
	}
	return v
}
