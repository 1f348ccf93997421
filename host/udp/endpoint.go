package udp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// endpoint is the socket's descriptor, waited for by a poller of its own. Go's poller asks every socket for room to send as
// well as for arrivals, edge by edge: each datagram that leaves the machine would wake the process once more, to learn
// nothing. An epoll that asks for arrivals only stands between the two, which Go's poller watches in turn (epoll(7)).
//
// The calls that move datagrams never wait, so they go around the scheduler's bookkeeping of calls that may
// (RawSyscall): it wakes the runtime's monitor thread in every process that was idle, which then polls for a while.
// For a node that only says hello to its neighbours these two were most of its work.
type endpoint struct {
	file    *os.File // in blocking mode, which keeps it out of Go's poller; every call says MSG_DONTWAIT
	arrived *os.File // the epoll
	socket  syscall.RawConn
	poll    syscall.RawConn
}

// newEndpoint takes the descriptor over from conn, which is closed.
func newEndpoint(conn *net.UDPConn) (*endpoint, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		return nil, fmt.Errorf("duplicate the socket: %w", errors.Join(cerr, err))
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &endpoint{file: os.NewFile(uintptr(fd), "udp")}
	if p.arrived, err = arrivals(fd); err != nil {
		p.file.Close()
		return nil, err
	}
	var perr error
	p.socket, err = p.file.SyscallConn()
	p.poll, perr = p.arrived.SyscallConn()
	if err := errors.Join(err, perr); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func arrivals(fd int) (*os.File, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err == nil {
		err = unix.SetNonblock(ep, true) // Go's poller takes nothing else
	}
	if err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("epoll", err)
	}
	return os.NewFile(uintptr(ep), "udp arrivals"), nil
}

// announce says whether what arrives wakes the reader. What came while it did not is announced when it does again: that is why
// the socket is taken out of the poller, and not just asked for nothing (epoll(7) tells of what is there when one is added).
func (p *endpoint) announce(on bool) error {
	op, ev := unix.EPOLL_CTL_DEL, &unix.EpollEvent{Events: unix.EPOLLIN}
	if on {
		op = unix.EPOLL_CTL_ADD
	}
	return p.control(func(fd int) error {
		var failed error
		err := p.poll.Control(func(ep uintptr) { failed = unix.EpollCtl(int(ep), op, fd, ev) }) // #nosec G115 -- a descriptor
		return errors.Join(err, os.NewSyscallError("epoll_ctl", failed))
	})
}

// control calls f with the descriptor.
func (p *endpoint) control(f func(fd int) error) error {
	var failed error
	err := p.socket.Control(func(fd uintptr) { failed = f(int(fd)) }) // #nosec G115 -- a descriptor
	return errors.Join(err, failed)
}

// close ends the waiting reader too.
func (p *endpoint) close() error { return errors.Join(p.arrived.Close(), p.file.Close()) }

// recvmmsg fills msgs with at least one datagram; EAGAIN means that none is there.
func recvmmsg(fd uintptr, msgs []unix.Mmsghdr) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)),
			unix.MSG_DONTWAIT, 0, 0) // #nosec G103 -- a slice's memory for the call
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// sendto sends one datagram to the address in name.
func sendto(fd uintptr, b, name []byte) syscall.Errno {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(len(name))) // #nosec G103 -- as above
		if errno == unix.EINTR {
			continue
		}
		return errno
	}
}

// roomWait bounds how long a send waits for room at a time.
const roomWait = 100 // ms

// waitForRoom returns when the send buffer has room, or after roomWait.
func waitForRoom(fd uintptr) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, roomWait) // #nosec G115 -- a descriptor
}
