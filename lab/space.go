package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errSpaceClosed says that a namespace was used after its lab was closed.
var errSpaceClosed = errors.New("network namespace is closed")

// space is a network namespace and the thread that lives in it. All that must happen inside is done by that thread:
// sockets are born there and stay there, and so do child processes.
type space struct {
	name string
	file *os.File // of the namespace, for netlink and for keeping it alive
	jobs chan func()
	quit chan struct{}
	gone chan struct{}
}

// newSpace makes an empty namespace with its loopback up.
func newSpace(name string) (*space, error) {
	s := &space{name: name, jobs: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{})}
	born := make(chan error)
	go s.live(born)
	if err := <-born; err != nil {
		return nil, fmt.Errorf("network namespace for %s: %w", name, err)
	}
	return s, nil
}

func (s *space) live(born chan<- error) {
	runtime.LockOSThread() // never unlocked: the runtime ends a thread that was in another namespace
	if unix.Gettid() == os.Getpid() {
		// The main thread must stay where it is: /proc/PID/ns/net tells others where the lab itself is.
		moved := make(chan error)
		go s.live(moved)
		err := <-moved
		runtime.UnlockOSThread()
		born <- err
		return
	}
	err := s.enter()
	born <- err
	defer close(s.gone)
	if err != nil {
		return
	}
	for {
		select {
		case f := <-s.jobs:
			f()
		case <-s.quit:
			return
		}
	}
}

func (s *space) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	s.file = f
	// Where new namespaces have no IPv6 by default, the lab turns it on; where that is not allowed, links will tell.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0) // #nosec G306 -- exists
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// do runs f inside the namespace and returns its error. f must not block.
func (s *space) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case s.jobs <- func() { done <- f() }:
		return <-done
	case <-s.gone:
		return fmt.Errorf("%s: %w", s.name, errSpaceClosed)
	}
}

// start starts cmd inside the namespace as leader of a process group of its own. The child gets SIGKILL when the
// namespace's thread ends, that is with the lab.
func (s *space) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return s.do(cmd.Start)
}

// listenUDP opens a UDP socket for both families inside the namespace.
func (s *space) listenUDP(at *net.UDPAddr) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := s.do(func() (err error) {
		c, err = net.ListenUDP("udp", at)
		return err
	})
	return c, err
}

// close ends the thread and forgets the namespace. Children must be gone before.
func (s *space) close() {
	close(s.quit)
	<-s.gone
	s.file.Close()
}
