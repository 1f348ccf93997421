package lab

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of the relay: what waits on one direction of a link, and how many frames are read before due ones are sent.
const (
	relayQueue = 4 << 20 // bytes
	relayBatch = 32
	frameRoom  = 2048
	relayFirst = 3 // descriptor of the first TAP in the child
)

// startRelay starts the process that carries frames between the TAP devices of wires. It ends when the returned
// closer is closed, or with this process. The files of the wires are closed here: the relay holds them.
func startRelay(helper string, wires []*wire, home *space, log io.Writer) (*process, error) {
	var delays []time.Duration
	var files []*os.File
	for _, w := range wires {
		if w.delay == 0 {
			continue
		}
		delays = append(delays, w.delay)
		files = append(files, w.ends[0].tap, w.ends[1].tap)
	}
	if len(files) == 0 {
		return nil, nil
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	setup, err := json.Marshal(delays)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(helper)
	cmd.Env = append(os.Environ(), helperEnv+"=relay", "X0T_LAB_RELAY="+string(setup), "GOMAXPROCS=2")
	cmd.ExtraFiles = files
	cmd.Stderr = log
	return startProcess("relay", home, cmd)
}

// relayMain is the relay process: it never returns unless something is broken.
func relayMain() error {
	var delays []time.Duration
	if err := json.Unmarshal([]byte(os.Getenv("X0T_LAB_RELAY")), &delays); err != nil {
		return fmt.Errorf("X0T_LAB_RELAY: %w", err)
	}
	r := &relay{began: time.Now()}
	for i, d := range delays {
		a, b := relayFirst+2*i, relayFirst+2*i+1
		r.ports = append(r.ports, port{in: a, out: b, delay: int64(d)}, port{in: b, out: a, delay: int64(d)})
	}
	return r.run()
}

// port is one direction of a link.
type port struct {
	in, out int // descriptors of TAP devices
	delay   int64
	queued  int // bytes
}

// held is a frame on its way.
type held struct {
	due  int64  // ns since the relay began
	seq  uint64 // keeps order among equal dues
	port int
	data []byte
}

type heldHeap []held

func (h heldHeap) Len() int { return len(h) }
func (h heldHeap) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].seq < h[j].seq
}
func (h heldHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heldHeap) Push(x any)   { *h = append(*h, x.(held)) }
func (h *heldHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = held{}
	*h = old[:len(old)-1]
	return x
}

// relay moves frames between TAP devices, each after its delay. One thread does all: it sleeps until a frame comes or
// the next one is due.
type relay struct {
	began time.Time
	ports []port
	held  heldHeap
	seq   uint64
	free  [][]byte
}

func (r *relay) run() error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for i := range r.ports {
		fd := r.ports[i].in
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return fmt.Errorf("epoll of descriptor %d: %w", fd, err)
		}
	}
	events := make([]unix.EpollEvent, 2*len(r.ports))
	for {
		n, err := epollWait(ep, events, r.wait())
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, ev := range events[:n] {
			r.read(int(ev.Fd))
			r.send()
		}
		r.send()
	}
}

// wait is how long nothing is due, -1 for ever.
func (r *relay) wait() time.Duration {
	if len(r.held) == 0 {
		return -1
	}
	return max(0, time.Duration(r.held[0].due)-time.Since(r.began))
}

func (r *relay) read(i int) {
	p := &r.ports[i]
	for range relayBatch {
		buf := r.buffer()
		n, err := unix.Read(p.in, buf)
		if err != nil || n <= 0 {
			r.free = append(r.free, buf)
			return
		}
		if p.queued+n > relayQueue {
			r.free = append(r.free, buf) // a real link's queue is full at some point, too
			continue
		}
		p.queued += n
		r.seq++
		heap.Push(&r.held, held{int64(time.Since(r.began)) + p.delay, r.seq, i, buf[:n]})
	}
}

func (r *relay) send() {
	now := int64(time.Since(r.began))
	for len(r.held) > 0 && r.held[0].due <= now {
		h := heap.Pop(&r.held).(held)
		p := &r.ports[h.port]
		p.queued -= len(h.data)
		// An error here is an interface that is down (EIO) or a full queue: on a real link the frame is lost, too.
		_, _ = unix.Write(p.out, h.data)
		r.free = append(r.free, h.data[:cap(h.data)])
	}
}

func (r *relay) buffer() []byte {
	if n := len(r.free); n > 0 {
		b := r.free[n-1]
		r.free = r.free[:n-1]
		return b
	}
	return make([]byte, frameRoom)
}

// epollWait is epoll_pwait2(2), which unlike epoll_wait counts in nanoseconds. A negative wait is for ever.
func epollWait(ep int, events []unix.EpollEvent, wait time.Duration) (int, error) {
	var ts *unix.Timespec
	if wait >= 0 {
		t := unix.NsecToTimespec(int64(wait))
		ts = &t
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(ep), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(ts)), 0, 0)
	if errors.Is(errno, syscall.EINTR) {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
