package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errors that say why this machine or user cannot run a lab.
var (
	ErrNoNamespaces = errors.New("network namespaces cannot be made")
	ErrNoTUN        = errors.New("TUN devices cannot be made")
)

// insideEnv marks a process that Enter put into a user namespace of its own.
const insideEnv = "X0T_LAB_INSIDE"

// ForceUserNamespace is an environment variable: not empty, it makes Enter use a user namespace even for root.
const ForceUserNamespace = "X0T_LAB_USERNS"

// Probe tries what a lab needs in a scratch namespace. Its error says what is missing and what to do.
func Probe() error {
	s, err := newSpace("probe")
	if err != nil {
		return fmt.Errorf("%w: %w; run as root, or let x0t lab make a user namespace (sysctl user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", ErrNoNamespaces, err)
	}
	defer s.close()
	err = s.do(func() error {
		f, err := openTAP("probe")
		if err == nil {
			f.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w; %s", ErrNoTUN, err, tunRemedy(err))
	}
	return nil
}

func tunRemedy(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "load the module: modprobe tun, or mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
	case errors.Is(err, os.ErrPermission):
		return "this user may not open /dev/net/tun, and being root in a user namespace does not change that: run as root, " +
			"or let root allow it with chmod 666 /dev/net/tun (the default of most distributions)"
	}
	return "the kernel needs CONFIG_TUN"
}

// Enter gives a process without the right to make network namespaces that right: it runs this program again with the
// same arguments as root of a new user namespace, waits, and returns the exit code with done true. A process that has
// the right, or was started by Enter, gets done false and goes on. Call it before Run, Up and Demo.
func Enter() (code int, done bool, err error) {
	if os.Getenv(insideEnv) != "" || os.Getenv(ForceUserNamespace) == "" && mayMakeNamespaces() {
		return 0, false, nil
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) // #nosec G204 G702 -- this same program
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
		Setpgid:     true, // a Ctrl-C reaches it through us, once: the second would be the order to end at once
	}
	runtime.LockOSThread() // the child dies with the thread that started it
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, true, fmt.Errorf("%w: a user namespace for uid %d: %w; run as root, or allow it (sysctl user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", ErrNoNamespaces, os.Geteuid(), err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), true, nil
	}
	return 0, true, err
}

// mayMakeNamespaces reports whether this process may make network namespaces where it is.
func mayMakeNamespaces() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if unix.Capget(&h, &d[0]) != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return d[0].Effective&need == need
}
