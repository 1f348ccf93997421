package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// machine is what a test takes for one: a network and a mount namespace of its own, in which a locked thread lives,
// and the one daemon that may run there. Whatever is to happen inside, that thread does.
type machine struct {
	id   mesh.NodeID
	dir  string // configuration, state, socket and log
	env  []string
	bin  string // where its x0t is, if not where that of all is
	net  *os.File
	jobs chan func()
	quit chan struct{}
	gone chan struct{}

	client *api.Client
	addr   netip.Addr // in the mesh, once known
	daemon *process
}

// newMachine makes a machine without any network but loopback.
func newMachine(name string) (*machine, error) {
	id, err := mesh.ParseNodeID(name)
	if err != nil {
		return nil, err
	}
	m := &machine{id: id, jobs: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{})}
	born := make(chan error)
	go m.live(born)
	return m, <-born
}

func (m *machine) live(born chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.Gettid() == os.Getpid() {
		// The main thread must stay where it is: new threads may come from it.
		moved := make(chan error)
		go m.live(moved)
		err := <-moved
		runtime.UnlockOSThread()
		born <- err
		return
	}
	defer close(m.gone)
	err := m.enter()
	born <- err
	if err != nil {
		return
	}
	for {
		select {
		case f := <-m.jobs:
			f()
		case <-m.quit:
			return
		}
	}
}

func (m *machine) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	m.net = f
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// do runs f on the machine's thread.
func (m *machine) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case m.jobs <- func() { done <- f() }:
		return <-done
	case <-m.gone:
		return fmt.Errorf("machine %s is gone", m.id)
	}
}

func (m *machine) close() {
	select {
	case <-m.gone:
		return
	default:
	}
	close(m.quit)
	<-m.gone
	m.net.Close()
	if m.client != nil {
		m.client.Close()
	}
}

// localhosts is what a machine's own /etc/hosts says at first.
const localhosts = "127.0.0.1 localhost\n::1 localhost\n"

// machineIn makes a machine for a test, with a directory of its own to which the environment of its commands leads.
func machineIn(t *testing.T, name string) *machine {
	t.Helper()
	m, err := newMachine(name)
	if err != nil {
		t.Fatal(err)
	}
	m.dir = filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.env = []string{"X0T_CONFIG=" + m.config(), "X0T_STATE=" + m.state(), "X0T_SOCKET=" + m.socket()}
	m.client = api.NewClient(m.socket())
	m.configure(t, "")
	m.hosts(t, localhosts) // daemons write names there: not into this computer's own
	t.Cleanup(func() {
		m.stop(t)
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", name, tail(m.log(), 12))
		}
		m.close()
	})
	return m
}

func (m *machine) config() string { return filepath.Join(m.dir, "x0t.yaml") }
func (m *machine) state() string  { return filepath.Join(m.dir, "state") }
func (m *machine) socket() string { return filepath.Join(m.dir, "x0t.sock") }

func (m *machine) log() []byte {
	b, _ := os.ReadFile(filepath.Join(m.dir, "log"))
	return b
}

// configure writes the machine's configuration file.
func (m *machine) configure(t *testing.T, yaml string) {
	t.Helper()
	if err := os.WriteFile(m.config(), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command prepares a command on the machine; it finds x0t by its name.
func (m *machine) command(ctx context.Context, argv ...string) *exec.Cmd {
	own := cmp.Or(m.bin, bin)
	path := own + ":" + os.Getenv("PATH")
	if argv[0] == "x0t" {
		argv = append([]string{filepath.Join(own, "x0t")}, argv[1:]...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A program with the race detector waits a second before it ends unless told not to.
	cmd.Env = append(append(withoutX0T(os.Environ()), "PATH="+path, "GORACE=atexit_sleep_ms=0"), m.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// withoutX0T removes what would lead x0t away from its default places.
func withoutX0T(env []string) []string {
	return slices.DeleteFunc(env, func(s string) bool {
		return strings.HasPrefix(s, "X0T_CONFIG=") || strings.HasPrefix(s, "X0T_STATE=") || strings.HasPrefix(s, "X0T_SOCKET=")
	})
}

// result is what a command that ended left behind.
type result struct {
	out, err string
	code     int
}

func (r result) String() string { return fmt.Sprintf("exit code %d\n%s%s", r.code, r.out, r.err) }

// try runs a command to its end, with a minute's time.
func (m *machine) try(ctx context.Context, argv ...string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := m.command(ctx, argv...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := m.do(cmd.Start); err != nil {
		return result{}, err
	}
	err := cmd.Wait()
	r := result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return r, err
}

// run is try for commands whose failure the caller judges.
func (m *machine) run(t *testing.T, argv ...string) result {
	t.Helper()
	r, err := m.try(t.Context(), argv...)
	if err != nil {
		t.Fatalf("on %s: %s: %v\n%s", m.id, strings.Join(argv, " "), err, r)
	}
	return r
}

// must is run for commands that are to succeed. It returns their output.
func (m *machine) must(t *testing.T, argv ...string) string {
	t.Helper()
	r := m.run(t, argv...)
	if r.code != 0 {
		t.Fatalf("on %s: %s: %s", m.id, strings.Join(argv, " "), r)
	}
	return r.out
}

// process is a command that was left running.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

func (m *machine) start(cmd *exec.Cmd) (*process, error) {
	if err := m.do(cmd.Start); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// end sends a signal and waits; a process that does not obey is killed.
func (p *process) end(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig)
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("it did not end within 20 s of %s", sig)
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// background starts a command that ends with the test.
func (m *machine) background(t *testing.T, argv ...string) *process {
	t.Helper()
	p, err := m.start(m.command(context.Background(), argv...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.end(syscall.SIGTERM) })
	return p
}

// up starts the daemon. Its log is appended to the machine's.
func (m *machine) up(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := m.command(context.Background(), "x0t", "up")
	cmd.Stdout, cmd.Stderr = log, log
	if m.daemon, err = m.start(cmd); err != nil {
		t.Fatal(err)
	}
}

// stop ends the daemon as systemd would and fails the test if it did not end in order or had seen a data race.
func (m *machine) stop(t *testing.T) {
	t.Helper()
	p := m.daemon
	if p == nil {
		return
	}
	m.daemon = nil
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("the daemon of %s ended with %v\n%s", m.id, err, tail(m.log(), 30))
	}
	if log := m.log(); bytes.Contains(log, []byte("DATA RACE")) {
		t.Errorf("the daemon of %s saw a data race\n%s", m.id, log[bytes.Index(log, []byte("DATA RACE")):])
	}
}

// kill ends the daemon as a crash would.
func (m *machine) kill() {
	_ = m.daemon.end(syscall.SIGKILL)
	m.daemon = nil
}

// listenUDP opens a UDP socket on the machine.
func (m *machine) listenUDP(t *testing.T, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	if err := m.do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// tail returns the last lines of b.
func tail(b []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
