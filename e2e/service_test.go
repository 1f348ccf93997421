package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serviceUser is nobody's, as that of a unit with DynamicUser= is.
const serviceUser = 61184

// unit is what a unit file says, by key; of keys that are given twice all values.
type unit map[string][]string

// ownUnit reads the unit that the binary would install.
func ownUnit(t *testing.T, m *machine) unit {
	t.Helper()
	u := unit{}
	for line := range strings.Lines(m.must(t, "x0t", "service", "show")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			u[key] = append(u[key], value)
		}
	}
	return u
}

// listenService is where a daemon tells how it is, as systemd does.
func listenService(t *testing.T, path string) (next func(want string, within time.Duration)) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	return func(want string, within time.Duration) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(within))
		for heard := []string{}; ; {
			n, err := c.Read(b)
			if err != nil {
				t.Fatalf("no %s within %s; heard %q", want, within, heard)
			}
			if heard = append(heard, string(b[:n])); strings.HasPrefix(string(b[:n]), want) {
				return
			}
		}
	}
}

// sandbox makes of a machine one as the unit's service sees it: a file system that cannot be written but for its own
// directories, no kernel tunables, /dev/net/tun open to all as udev makes it. Everything of the machine belongs to the
// service's user, as StateDirectory= and RuntimeDirectory= do.
func (m *machine) sandbox(t *testing.T) {
	t.Helper()
	if err := filepath.WalkDir(m.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, serviceUser, serviceUser)
	}); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(m.dir); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // systemd's directories can be reached
			t.Fatal(err)
		}
	}
	if err := m.do(func() error {
		for _, mount := range []struct {
			source, target, kind string
			flags                uintptr
			data                 string
		}{
			{"tmpfs", "/dev/net", "tmpfs", 0, "mode=755"},
			{m.dir, m.dir, "", unix.MS_BIND, ""},
			{bin, bin, "", unix.MS_BIND, ""},
			{"", "/", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""},
			{"/proc/sys", "/proc/sys", "", unix.MS_BIND, ""},
			{"", "/proc/sys", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""},
		} {
			if err := unix.Mount(mount.source, mount.target, mount.kind, mount.flags, mount.data); err != nil {
				return fmt.Errorf("mount %s: %w", mount.target, err)
			}
		}
		if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
			return err
		}
		return os.Chmod("/dev/net/tun", 0o666)
	}); err != nil {
		t.Fatal(err)
	}
}

// capabilities are those that the unit grants, as setpriv writes them.
func (u unit) capabilities(t *testing.T) string {
	t.Helper()
	given, bound := u["AmbientCapabilities"], u["CapabilityBoundingSet"]
	if len(given) != 1 || !slices.Equal(given, bound) {
		t.Fatalf("the unit gives %q, bounded by %q", given, bound)
	}
	caps := "-all"
	for c := range strings.FieldsSeq(given[0]) {
		caps += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return caps
}

// asService is the command that starts the daemon with the rights that the unit gives, wrapped in another if given.
func (u unit) asService(t *testing.T, m *machine, env []string, wrap ...string) *exec.Cmd {
	t.Helper()
	caps := u.capabilities(t)
	argv := append(wrap, "setpriv", "--reuid", fmt.Sprint(serviceUser), "--regid", fmt.Sprint(serviceUser), "--clear-groups",
		"--bounding-set", caps, "--inh-caps", caps, "--ambient-caps", caps, "--no-new-privs", x0t(), "up")
	cmd := m.command(context.Background(), argv...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Dir = "/"
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

// The daemon runs as the unit lets it: as a user of its own with two capabilities on a read-only system. It says when it
// is ready, which is when it answers; that it lives; how it is; and that it ends.
func TestServiceOfSystemd(t *testing.T) {
	need(t, "setpriv")
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	n.found(alpha)
	u := ownUnit(t, alpha)
	if fmt.Sprint(u["Type"], u["DynamicUser"], u["NoNewPrivileges"]) != "[notify] [yes] [yes]" {
		t.Fatalf("the unit is not what this test plays: %q", u)
	}
	told := listenService(t, filepath.Join(alpha.dir, "notify"))
	alpha.sandbox(t)
	p, err := alpha.start(u.asService(t, alpha, []string{"NOTIFY_SOCKET=" + filepath.Join(alpha.dir, "notify"), "WATCHDOG_USEC=1000000"}))
	if err != nil {
		t.Fatal(err)
	}
	alpha.daemon = p
	told("READY=1", 20*time.Second)
	s := alpha.status(t) // at once: ready means that it answers
	if len(s.Warnings) > 0 {
		t.Errorf("warnings: %q", s.Warnings) // of the guard around the mesh address, say
	}
	for range 3 {
		told("WATCHDOG=1", 2*time.Second)
	}
	if owner := must(os.Stat(fmt.Sprintf("/proc/%d", s.PID)))(t).Sys().(*syscall.Stat_t).Uid; owner != serviceUser {
		t.Errorf("it runs as user %d", owner)
	}

	// It is a whole node: it admits another, and packets pass.
	n.join(beta, n.machines[:1])
	beta.up(t)
	n.converged(n.machines...)
	n.reach(20*time.Second, n.machines...)
	told("STATUS=alpha of e2e.mesh: ok, 1 of 1 links up, 2 members", 20*time.Second)

	// The doctor finds nothing that keeps it from working, and knows what the daemon holds.
	report := alpha.must(t, "x0t", "doctor", "--json")
	for _, want := range []string{
		fmt.Sprintf(`"looked":"udp port [::]:7420","found":"held by the daemon, process %d"`, s.PID),
		fmt.Sprintf(`"found":"belongs to user %d"`, serviceUser), `"looked":"SVID of alpha","found":"valid for`,
		`"looked":"way to 10.20.0.2:7420","found":"by to-beta, MTU 1500"`, `"found":"well: 1 of 1 links up, 2 members"`,
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the doctor does not say %s:\n%s", want, report)
		}
	}

	// What root did to the state while the service was down, the service reads.
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	alpha.daemon = nil
	told("STOPPING=1", time.Second)
	alpha.wantFailure(t, 1, "already holds an identity", "x0t", "init", "--trust-domain", "e2e.mesh", "--name", "alpha")
	for _, f := range must(os.ReadDir(alpha.state()))(t) {
		if st := must(f.Info())(t).Sys().(*syscall.Stat_t); st.Uid != serviceUser {
			t.Errorf("%s belongs to user %d now", f.Name(), st.Uid)
		}
	}
}

// Every system call of a daemon's life, from its start through links and sessions to its end, is one that the unit's
// filter lets pass; those that it refuses are few, known, and done without.
func TestSystemCallsOfTheService(t *testing.T) {
	need(t, "strace", "systemd-analyze", "setpriv")
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	n.found(alpha)
	u := ownUnit(t, alpha)
	allowed := u.systemCalls(t)
	alpha.sandbox(t)
	trace := filepath.Join(alpha.dir, "trace")
	p, err := alpha.start(u.asService(t, alpha, nil, "strace", "-f", "-qq", "-o", trace))
	if err != nil {
		t.Fatal(err)
	}
	alpha.daemon = p
	eventually(t, 60*time.Second, "start under strace", func(ctx context.Context) error {
		_, err := alpha.client.Status(ctx)
		return err
	})
	n.join(beta, n.machines[:1])
	beta.up(t)
	eventually(t, 60*time.Second, "a link", func(ctx context.Context) error {
		s, err := alpha.client.Status(ctx)
		if err == nil && s.LinksUp == 0 {
			err = fmt.Errorf("%v", s.Reasons)
		}
		return err
	})
	n.converged(n.machines...)
	n.reach(60*time.Second, n.machines...)
	alpha.must(t, "x0t", "token", "create", "--node", "gamma")
	s := alpha.status(t)
	if err := unix.Kill(s.PID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.done
	alpha.daemon = nil

	made := systemCalls(t, trace, s.PID)
	refused := map[string]bool{}
	for call := range made {
		if !allowed[call] {
			refused[call] = true
		}
	}
	// Go raises its own limit of open files at the start and goes on where it may not.
	delete(refused, "prlimit64")
	delete(refused, "setrlimit")
	if len(refused) > 0 {
		t.Errorf("the unit refuses %v", slices.Sorted(maps.Keys(refused)))
	}
	if len(made) < 25 || !made["sendmsg"] && !made["sendmmsg"] && !made["sendto"] {
		t.Errorf("only %v were seen", slices.Sorted(maps.Keys(made)))
	}
	t.Logf("%d different system calls, all allowed", len(made))
}

// systemCalls are the names that the unit's filter lets pass.
func (u unit) systemCalls(t *testing.T) map[string]bool {
	t.Helper()
	if len(u["SystemCallFilter"]) == 0 {
		t.Fatal("the unit has no filter")
	}
	allowed := map[string]bool{}
	for _, filter := range u["SystemCallFilter"] {
		names, deny := strings.CutPrefix(filter, "~")
		for name := range strings.FieldsSeq(names) {
			for _, call := range expand(t, name) {
				allowed[call] = !deny
			}
		}
	}
	return allowed
}

// expand returns the system calls of a set of systemd's, or the one that has that name.
func expand(t *testing.T, name string) (calls []string) {
	t.Helper()
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	out, err := exec.Command("systemd-analyze", "--no-pager", "syscall-filter", name).Output() // #nosec G204 -- a name of the unit's
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "" || line == name || strings.HasPrefix(line, "#") {
			continue
		}
		calls = append(calls, expand(t, line)...)
	}
	return calls
}

// systemCalls reads what strace wrote of the daemon: of all that was traced, what came after setpriv had become it.
func systemCalls(t *testing.T, trace string, daemon int) map[string]bool {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	made, begun := map[string]bool{}, false
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		pid, rest, _ := strings.Cut(lines.Text(), " ")
		rest = strings.TrimSpace(rest)
		if pid == fmt.Sprint(daemon) && strings.HasPrefix(rest, "execve(\""+x0t()) {
			begun = true
			continue
		}
		if name, _, ok := strings.Cut(rest, "("); begun && ok && name != "" && !strings.ContainsAny(name, " <+-?") {
			made[name] = true
		}
	}
	if err := lines.Err(); err != nil || !begun {
		t.Fatalf("no daemon in the trace (begun %t): %v", begun, err)
	}
	return made
}
