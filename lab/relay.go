package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Descriptors in the relay process, how many frames it reads before due ones are sent, and how long it may take to
// answer an order.
const (
	relayControl  = 3
	relayFirst    = 4 // of the first TAP
	relayBatch    = 32
	relayPatience = 10 * time.Second
)

// controller gives orders to a relay process.
type controller struct {
	mu   sync.Mutex
	conn *os.File
}

// order asks the relay to treat one direction of a link from now on as Set says, or only to tell.
type order struct {
	Port int        `json:"port"`
	Set  *condition `json:"set,omitempty"`
}

// answer tells how a direction is treated now and what came of it so far.
type answer struct {
	Now   condition `json:"now"`
	Count tally     `json:"count"`
	Error string    `json:"error,omitempty"`
}

// ask carries out an order.
func (c *controller) ask(o order) (answer, error) {
	var a answer
	b, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetDeadline(time.Now().Add(relayPatience)); err != nil {
		return a, fmt.Errorf("order to the delay relay: %w", err)
	}
	if _, err := c.conn.Write(b); err != nil {
		return a, fmt.Errorf("order to the delay relay: %w", err)
	}
	said := make([]byte, frameRoom)
	n, err := c.conn.Read(said)
	if err != nil {
		return a, fmt.Errorf("the delay relay does not answer: %w", err)
	}
	if err := json.Unmarshal(said[:n], &a); err != nil {
		return a, fmt.Errorf("the delay relay said %q: %w", said[:n], err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("the delay relay refuses: %s", a.Error)
	}
	return a, nil
}

// startRelay starts the process that carries frames between the TAP devices of wires. It ends with this process, and
// when its controller is closed. The files of the wires are closed here: the relay holds them.
func startRelay(helper string, wires []*wire, home *space, log io.Writer) (*process, *controller, error) {
	var delays []time.Duration
	var files []*os.File
	for _, w := range wires {
		if !w.relayed {
			continue
		}
		w.port = 2 * len(delays)
		delays = append(delays, w.delay)
		files = append(files, w.ends[0].tap, w.ends[1].tap)
	}
	if len(files) == 0 {
		return nil, nil, nil
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	setup, err := json.Marshal(delays)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := packetPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(helper)
	cmd.Env = append(os.Environ(), helperEnv+"=relay", "X0T_LAB_RELAY="+string(setup), "GOMAXPROCS=2")
	cmd.ExtraFiles = append([]*os.File{theirs}, files...)
	cmd.Stderr = log
	p, err := startProcess("relay", home, cmd)
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	c := &controller{conn: ours}
	for _, w := range wires {
		if w.relayed {
			w.control = c
		}
	}
	return p, c, nil
}

// packetPair makes two connected sockets that keep the bounds of messages.
func packetPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "relay control"), os.NewFile(uintptr(fds[1]), "relay control"), nil
}

// relayMain is the relay process: it returns when its controller is gone, or something is broken.
func relayMain() error {
	var delays []time.Duration
	if err := json.Unmarshal([]byte(os.Getenv("X0T_LAB_RELAY")), &delays); err != nil {
		return fmt.Errorf("X0T_LAB_RELAY: %w", err)
	}
	prefer()
	r := &relay{began: time.Now()}
	for i, d := range delays {
		a, b := relayFirst+2*i, relayFirst+2*i+1
		r.ports = append(r.ports, port{in: a, out: b, shaper: shaper{own: int64(d), random: rand.Float64}},
			port{in: b, out: a, shaper: shaper{own: int64(d), random: rand.Float64}})
	}
	return r.run()
}

// relayNice is the relay's: the lines of a mesh do not slow down because its nodes compute. If they did, all links would be
// suspected together, over which the nodes would compute more.
const relayNice = -15

// prefer has the relay's thread run before the daemons. Without the right to it (CAP_SYS_NICE) it is one among them.
func prefer() {
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, relayNice); err != nil {
		fmt.Fprintf(os.Stderr, "lab: the delays of links grow when the processors are busy: priority %d for the relay: %v\n", relayNice, err)
	}
}

// relay moves frames between TAP devices, each after its delay. One thread does all: it sleeps until a frame or an
// order comes or the next frame is due.
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
	watch := func(fd, as int) error {
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(as)} // #nosec G115 -- two for each link
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return fmt.Errorf("epoll of descriptor %d: %w", fd, err)
		}
		return nil
	}
	for i := range r.ports {
		if err := watch(r.ports[i].in, i); err != nil {
			return err
		}
	}
	if err := watch(relayControl, -1); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 2*len(r.ports))
	for {
		n, err := epollWait(ep, events, r.wait())
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, ev := range events[:n] {
			if ev.Fd < 0 {
				if err := r.obey(relayControl); err != nil {
					return ignoreEOF(err)
				}
				continue
			}
			r.read(int(ev.Fd))
			r.send()
		}
		r.send()
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// obey carries out the order that waits on fd. io.EOF says that nobody will give another one.
func (r *relay) obey(fd int) error {
	buf := make([]byte, frameRoom)
	n, err := unix.Read(fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("read an order: %w", err)
	case n == 0:
		return io.EOF
	}
	b, err := json.Marshal(r.execute(buf[:n]))
	if err == nil {
		_, err = unix.Write(fd, b)
	}
	if err != nil {
		return fmt.Errorf("answer an order: %w", err)
	}
	return nil
}

func (r *relay) execute(b []byte) answer {
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return answer{Error: err.Error()}
	}
	if o.Port < 0 || o.Port >= len(r.ports) {
		return answer{Error: fmt.Sprintf("there is no port %d", o.Port)}
	}
	p := &r.ports[o.Port]
	if o.Set != nil {
		p.set(*o.Set)
	}
	return answer{Now: p.cond, Count: p.count}
}

func (r *relay) now() int64 { return int64(time.Since(r.began)) }

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
		due, copies := p.admit(r.now(), buf[:n])
		if copies == 0 {
			r.free = append(r.free, buf)
			continue
		}
		for range copies - 1 {
			r.hold(i, due, append(r.buffer()[:0], buf[:n]...))
		}
		r.hold(i, due, buf[:n])
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
