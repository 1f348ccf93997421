// Package alarm is a timer of the kernel's (timerfd_create(2)) for loops that are due many times a second in a process
// that otherwise rests. A timer of Go's runtime costs such a process two or three wakings each time: its poller counts
// in milliseconds, so it wakes once too early and once more, and its monitor thread wakes for every timer too. The
// kernel's wakes it once, and to the microsecond.
package alarm

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alarm sends on C when its time has come. C holds one signal: one that nobody took is not repeated.
type Alarm struct {
	C    <-chan struct{}
	file *os.File
	raw  syscall.RawConn
	done chan struct{}
}

// New returns an alarm that is not set. Close it.
func New() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("alarm: %w", os.NewSyscallError("timerfd_create", err))
	}
	c := make(chan struct{}, 1)
	a := &Alarm{C: c, file: os.NewFile(uintptr(fd), "timerfd"), done: make(chan struct{})}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("alarm: %w", err)
	}
	go a.run(c)
	return a, nil
}

// run passes on what the kernel tells, until Close.
func (a *Alarm) run(c chan<- struct{}) {
	defer close(a.done)
	var count [8]byte
	rung := func(fd uintptr) bool {
		_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count)))
		return errno != unix.EAGAIN
	}
	for a.raw.Read(rung) == nil {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Set makes the alarm ring once after d, at once if d is not positive; an earlier setting is forgotten. A signal of the
// earlier setting may be in C already.
func (a *Alarm) Set(d time.Duration) {
	var spec unix.ItimerSpec
	spec.Value = unix.NsecToTimespec(max(1, int64(d))) // zero would disarm it
	_ = a.raw.Control(func(fd uintptr) {
		_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
}

// Close ends the alarm: nothing more is sent on C.
func (a *Alarm) Close() error {
	err := a.file.Close()
	<-a.done
	return err
}
