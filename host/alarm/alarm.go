// Package alarm is a timer of the kernel's (timerfd_create(2)) for loops that are due many times a second in a process
// that otherwise rests. A timer of Go's runtime costs such a process two or three wakings each time: its poller counts
// in milliseconds, so it wakes once too early and once more, and its monitor thread wakes for every timer too. The
// kernel's wakes it once, and to the microsecond.
//
// It counts the time in which the machine is suspended (CLOCK_BOOTTIME): what became due meanwhile is due at once when
// the machine wakes.
package alarm

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alarm wakes one goroutine, which sleeps in Wait, at a time or at once. Its other methods may be called from anywhere.
type Alarm struct {
	file *os.File
	raw  syscall.RawConn
	rung atomic.Bool
	read func(fd uintptr) bool

	apart time.Duration // by how much the clock that counts suspension was ahead at the last look
}

// New returns an alarm that is not set. Close it.
func New() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("alarm: %w", os.NewSyscallError("timerfd_create", err))
	}
	a := &Alarm{file: os.NewFile(uintptr(fd), "timerfd"), read: expired}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("alarm: %w", err)
	}
	a.apart = apart()
	return a, nil
}

// Slept returns for how long the machine was suspended since the last call, or since New: the clock that Go reckons by
// stands still meanwhile, so whatever waits for a time of that clock is late by as much, and does not notice. It is for
// one goroutine.
func (a *Alarm) Slept() time.Duration {
	was := a.apart
	a.apart = apart()
	if slept := a.apart - was; slept > tolerance {
		return slept
	}
	return 0
}

// tolerance is more than can pass between the reading of two clocks, unless this process is stopped just there.
const tolerance = 100 * time.Millisecond

// apart returns by how much CLOCK_BOOTTIME, which counts suspension, is ahead of CLOCK_MONOTONIC.
func apart() time.Duration {
	monotonic := clock(unix.CLOCK_MONOTONIC)
	return clock(unix.CLOCK_BOOTTIME) - monotonic
}

func clock(id uintptr) time.Duration {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0) // #nosec G103 -- for the call
	return time.Duration(ts.Nano())
}

// expired takes the signal, if there is one. It cannot wait, so it goes around the scheduler (RawSyscall), as the other
// call here does: an ordinary system call wakes the monitor thread.
func expired(fd uintptr) bool {
	var count [8]byte
	_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count))) // #nosec G103 -- for the call
	return errno != unix.EAGAIN
}

// Wait returns true when the time has come or somebody rang since the last Wait, false when the alarm is closed. It may
// return true once too often, never too seldom.
func (a *Alarm) Wait() bool {
	return a.rung.Swap(false) || a.raw.Read(a.read) == nil
}

// Ring makes Wait return now.
func (a *Alarm) Ring() {
	a.rung.Store(true) // before the call: a Set that comes after it would undo it, but a Wait follows that Set
	a.Set(0)
}

// Set makes Wait return after d, at once if d is not positive; an earlier setting is forgotten. Whoever sets the alarm
// calls Wait after it.
func (a *Alarm) Set(d time.Duration) {
	var spec unix.ItimerSpec
	spec.Value = unix.NsecToTimespec(max(1, int64(d))) // zero would disarm it
	_ = a.raw.Control(func(fd uintptr) {
		_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0) // #nosec G103 -- for the call
	})
}

// Defer is Set for somebody who does not call Wait after it: it puts off what was set, but not what was rung.
func (a *Alarm) Defer(d time.Duration) {
	a.Set(d)
	if a.rung.Load() {
		a.Set(0)
	}
}

// Close ends the alarm, and the Wait that sleeps.
func (a *Alarm) Close() error { return a.file.Close() }
