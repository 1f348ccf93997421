package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a process may take to end on SIGTERM before it is killed.
const stopGrace = 5 * time.Second

// process is a child that runs in a namespace, and whatever it starts in turn.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid once done is closed

	mu       sync.Mutex
	expected bool // that it ends
}

// startProcess starts cmd in s.
func startProcess(name string, s *space, cmd *exec.Cmd) (*process, error) {
	cmd.WaitDelay = time.Second // a grandchild that holds the output open must not hold us
	if err := s.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", name, s.name, err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends sig to the process alone. One that has ended already is no error.
func (p *process) signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// kill ends the process at once, as a crash would.
func (p *process) kill() error {
	p.expect()
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// stop ends the process in order, or by force after stopGrace, together with all that it left in its process group.
func (p *process) stop() {
	p.expect()
	_ = p.signal(syscall.SIGCONT) // a frozen process cannot obey
	_ = p.signal(syscall.SIGTERM)
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		_ = p.signal(syscall.SIGKILL)
		<-p.done
	}
	p.sweep()
}

// sweep ends what the process left behind in its group and, because the lab adopts orphans, reaps it.
func (p *process) sweep() {
	group := -p.pid()
	if unix.Kill(group, unix.SIGKILL) != nil {
		return // the usual case: nobody is left
	}
	for {
		_, err := unix.Wait4(group, nil, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (p *process) expect() {
	p.mu.Lock()
	p.expected = true
	p.mu.Unlock()
}

// ended reports whether the process has ended, and whether the lab wanted that.
func (p *process) ended() (ended, wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return true, p.expected
	default:
		return false, p.expected
	}
}

// Usage is what a process used so far.
type Usage struct {
	RSS int64         `json:"rss_bytes"`
	CPU time.Duration `json:"-"` // user and system time since its start
}

func (p *process) usage() (Usage, error) {
	u, err := UsageOf(p.pid())
	if err != nil {
		err = fmt.Errorf("usage of %s: %w", p.name, err)
	}
	return u, err
}

// UsageOf tells what a process used so far, all its threads together. It reads /proc/PID/stat (proc(5)).
func UsageOf(pid int) (Usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	// The command in parentheses may hold blanks; the fields after it do not.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const utime, stime, rss, userHz = 11, 12, 21, 100
	if len(f) <= rss {
		return Usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	var v [3]int64
	for i, k := range []int{utime, stime, rss} {
		if v[i], err = strconv.ParseInt(f[k], 10, 64); err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return Usage{RSS: v[2] * int64(os.Getpagesize()), CPU: time.Duration(v[0]+v[1]) * time.Second / userHz}, nil
}

// failure says how a process that has ended did so.
func (p *process) failure() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}
