package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
)

// resolvedEnv names the program systemd-resolved where it is not installed: a package that is only unpacked will do.
const resolvedEnv = "X0T_TEST_RESOLVED"

// busConfig is that of a message bus on which everybody may do everything.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
`

// withResolved makes a machine one whose resolver is systemd-resolved, on a bus and in a /run of its own.
func (m *machine) withResolved(t *testing.T, program string) {
	t.Helper()
	const user = "systemd-resolve"
	file := func(name, text string) string {
		path := filepath.Join(m.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	account := func(name, line string) string {
		b := must(os.ReadFile("/etc/" + name))(t)
		if !strings.Contains("\n"+string(b), "\n"+user+":") {
			b = append(b, line...)
		}
		return file(name, string(b))
	}
	mounts := map[string]string{
		"/etc/resolv.conf": file("resolv.conf", "nameserver 127.0.0.53\n"), "/etc/passwd": account("passwd", user+":x:990:990::/:/usr/sbin/nologin\n"),
		"/etc/group": account("group", user+":x:990:\n"), "/etc/nsswitch.conf": file("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
	}
	if err := m.do(func() error {
		err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
		for at, from := range mounts {
			err = errors.Join(err, unix.Mount(from, at, "", unix.MS_BIND, ""))
		}
		return errors.Join(err, os.MkdirAll("/run/dbus", 0o755), os.MkdirAll("/run/systemd", 0o755))
	}); err != nil {
		t.Fatal(err)
	}
	m.background(t, "dbus-daemon", "--config-file="+file("bus.conf", busConfig), "--nofork", "--nopidfile")
	eventually(t, 10*time.Second, "the bus", func(context.Context) error {
		return m.do(func() error { _, err := os.Stat("/run/dbus/system_bus_socket"); return err })
	})
	m.background(t, program)
	eventually(t, 10*time.Second, "systemd-resolved", func(context.Context) error {
		c, err := m.dial("tcp", "127.0.0.53:53")
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// systemd-resolved itself asks the node about the mesh's zones, both ways, and about nothing else; it is told without a
// word in the configuration, and when the daemon ends it knows nothing of the mesh any more.
func TestNamesBySystemdResolved(t *testing.T) {
	need(t, "dbus-daemon", "getent")
	program := os.Getenv(resolvedEnv)
	if program == "" {
		program = "/usr/lib/systemd/systemd-resolved"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("names by the real systemd-resolved are not tried: it is not installed: %v", err)
	}
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	beta.withResolved(t, program)
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	n.join(beta, []*machine{alpha})
	beta.up(t)
	n.converged(alpha, beta)
	eventually(t, 15*time.Second, "names by systemd-resolved", func(ctx context.Context) error {
		s, err := beta.client.Status(ctx)
		if err == nil && (s.Names.Resolver != api.ResolverResolved || !s.Names.Resolves || s.Health != api.HealthOK) {
			err = fmt.Errorf("%+v, %v", s.Names, s.Reasons)
		}
		return err
	})
	if now := beta.hostsFile(t); now != localhosts {
		t.Errorf("/etc/hosts was written:\n%s", now)
	}
	lookup := func(key, want string) {
		t.Helper()
		eventually(t, 15*time.Second, "look up "+key, func(ctx context.Context) error {
			r, err := beta.try(ctx, "getent", "hosts", key)
			if err == nil && (r.code != 0 || !strings.Contains(r.out, want)) {
				err = errors.New(r.String())
			}
			return err
		})
	}
	lookup("alpha.e2e.mesh", alpha.addr.String())
	lookup(alpha.addr.String(), "alpha.e2e.mesh")
	before := beta.counters(t)["dns_queries"]
	if r := beta.run(t, "getent", "hosts", "example.net"); r.code == 0 {
		t.Errorf("example.net: %s", r)
	}
	if now := beta.counters(t)["dns_queries"]; now != before {
		t.Errorf("the node was asked %d questions about example.net", now-before)
	}
	if err := beta.daemon.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	beta.daemon = nil
	if r := beta.run(t, "getent", "hosts", "alpha.e2e.mesh"); r.code == 0 {
		t.Errorf("without the daemon: %s", r)
	}
}
