package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
)

// boot makes of a namespace's view of this machine one that systemd can start: no file system of the real one can be
// written, every place that it writes is its own, and of the units there are only those that a service and its log need.
const boot = `set -eu
mount --make-rprivate /
mount -t proc proc /proc
units=$(mktemp -d -p "$DIR")
cp /usr/lib/systemd/system/systemd-journald.service /usr/lib/systemd/system/systemd-journald.socket \
   /usr/lib/systemd/system/systemd-journald-dev-log.socket "$units"
for dir in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $dir; done
mkdir -p /run/dir /run/etc/upper /run/etc/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc
rm -rf /etc/systemd/system /etc/x0t && mkdir -p /etc/systemd/system /etc/bash_completion.d
mount --bind "$DIR" /run/dir
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$DIR" && mount --bind /run/dir "$DIR"
mount --bind "$DIR/bin" /usr/local/bin
mount -t tmpfs -o mode=755 tmpfs /usr/lib/systemd/system
cp "$units"/* /usr/lib/systemd/system
for unit in sysinit basic multi-user shutdown umount exit sockets network-online nss-lookup; do
	printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $unit > /usr/lib/systemd/system/$unit.target
done
echo 'Wants=systemd-journald.service' >> /usr/lib/systemd/system/sysinit.target
mkdir /run/dev && mount -t tmpfs -o mode=755 tmpfs /run/dev && mkdir /run/dev/net /run/dev/shm
for node in null zero full random urandom tty; do
	touch /run/dev/$node && mount --bind /dev/$node /run/dev/$node
done
mknod -m 666 /run/dev/net/tun c 10 200
mount --rbind /run/dev /dev
mount -o remount,bind,ro /
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no
`

// booted is a machine on which a real systemd runs as the first process, and x0t is installed in its place.
type booted struct {
	*machine
	systemd *process
	address netip.Prefix // on the underlay
}

// bootMachine starts one. Its services end with the test.
func bootMachine(t *testing.T, name string) *booted {
	t.Helper()
	m := machineIn(t, name)
	m.env = nil
	installOn(t, m)
	group := controlGroup(t, name)
	cmd := m.command(context.Background(), "unshare", "--cgroup", "sh", "-c", boot)
	cmd.Env = append(cmd.Env, "DIR="+m.dir, "container=x0t-e2e")
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	log := must(os.Create(filepath.Join(m.dir, "log")))(t)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	p, err := m.start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	b := &booted{machine: m, systemd: p}
	t.Cleanup(func() {
		if t.Failed() {
			r, _ := m.try(context.Background(), b.inside("journalctl --no-pager -n 40; systemctl status x0t --no-pager")...)
			t.Logf("%s: %s", name, r.out)
		}
		_ = p.end(syscall.SIGKILL) // and with the first process all others
	})
	eventually(t, 20*time.Second, "start systemd on "+name, func(ctx context.Context) error {
		if !p.running() {
			t.Fatalf("systemd ended: %v\n%s", p.err, m.log())
		}
		r, err := m.try(ctx, b.inside("systemctl is-active multi-user.target systemd-journald.service")...)
		if err == nil && r.code != 0 {
			err = fmt.Errorf("%s", r)
		}
		return err
	})
	m.client = api.NewClient(fmt.Sprintf("/proc/%d/root/run/x0t/x0t.sock", p.cmd.Process.Pid))
	return b
}

// installOn puts the program into the machine's own bin. What the tests start may be a script around it, which a service
// that sees no /tmp cannot run; the program itself says where it is.
func installOn(t *testing.T, m *machine) {
	t.Helper()
	exec := regexp.MustCompile(`(?m)^ExecStart=(\S+) up$`).FindStringSubmatch(m.must(t, "x0t", "service", "show"))
	if exec == nil {
		t.Fatal("x0t service show has no ExecStart")
	}
	if err := os.Mkdir(filepath.Join(m.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := must(os.ReadFile(exec[1]))(t)
	for _, path := range []string{"bin/x0t", "x0t"} { // in its place, and as a download
		if err := os.WriteFile(filepath.Join(m.dir, path), program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// controlGroup makes a control group for a machine's processes, which goes when the test ends.
func controlGroup(t *testing.T, name string) *os.File {
	t.Helper()
	root := "/sys/fs/cgroup"
	if st := (unix.Statfs_t{}); unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		root = "/sys/fs/cgroup/unified"
	}
	dir := must(os.MkdirTemp(root, "x0t-e2e-"+name+"-"))(t)
	t.Cleanup(func() { removeGroup(t, dir) })
	f := must(os.Open(dir))(t)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// removeGroup removes a control group with those in it; by now their last process is gone.
func removeGroup(t *testing.T, dir string) {
	t.Helper()
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		if err := os.Remove(d); err != nil {
			t.Errorf("control group: %v", err)
		}
	}
}

// inside is the command that runs a line of the shell on the machine as its systemd sees it.
func (b *booted) inside(line string) []string {
	return []string{"nsenter", "--target", fmt.Sprint(b.systemd.cmd.Process.Pid), "--mount", "--pid", "--uts", "--ipc", "--cgroup",
		"sh", "-c", "cd " + b.dir + " && " + line}
}

// shell runs a command line as its user types it, which must succeed, and returns its output.
func (b *booted) shell(t *testing.T, line string) string {
	t.Helper()
	r := b.run(t, b.inside(line)...)
	if r.code != 0 {
		t.Fatalf("on %s: %s: %s", b.id, line, r)
	}
	return r.out
}

// write puts a file where the machine has it.
func (b *booted) write(t *testing.T, path, content string) {
	t.Helper()
	b.shell(t, fmt.Sprintf("mkdir -p %s && cat > %s <<'END'\n%s\nEND\nchmod 644 %s", filepath.Dir(path), path, strings.TrimSpace(content), path))
}
