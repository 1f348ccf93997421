package resolver

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type><listen>unix:dir=%s</listen><auth>EXTERNAL</auth>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>`

// bus runs a message bus for the test and returns its address.
func bus(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skipf("dbus-daemon is not installed: %v", err)
	}
	dir, err := os.MkdirTemp("", "x0t-bus-") // short: it becomes the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, busConfig, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--config-file="+conf, "--nofork", "--nopidfile", "--print-address")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// manager plays systemd-resolved on a bus: it has the methods that the daemon calls, with their types, and keeps what it
// is told.
type manager struct {
	mu        sync.Mutex
	calls     []string
	refuse    *dbus.Error // says this to every change
	dns       []linkServer
	domains   []linkDomain
	elsewhere bool // the default route
}

func (m *manager) change(call string, index int32, f func()) *dbus.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return m.refuse
	}
	m.calls = append(m.calls, fmt.Sprintf("%s %d", call, index))
	f()
	return nil
}

func (m *manager) SetLinkDNS(i int32, s []linkServer) *dbus.Error {
	return m.change("DNS", i, func() { m.dns = s })
}
func (m *manager) SetLinkDomains(i int32, d []linkDomain) *dbus.Error {
	return m.change("Domains", i, func() { m.domains = d })
}
func (m *manager) SetLinkDefaultRoute(i int32, on bool) *dbus.Error {
	return m.change("DefaultRoute", i, func() { m.elsewhere = on })
}
func (m *manager) SetLinkDNSSEC(i int32, s string) *dbus.Error {
	return m.change("DNSSEC="+s, i, func() {})
}
func (m *manager) RevertLink(i int32) *dbus.Error {
	return m.change("Revert", i, func() { m.dns, m.domains, m.elsewhere = nil, nil, true })
}
func (m *manager) GetLink(i int32) (dbus.ObjectPath, *dbus.Error) {
	return dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/resolve1/link/_3%d", i)), nil
}

// Get is that of the properties of a link.
func (m *manager) Get(_, name string) (dbus.Variant, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch name {
	case "DNS":
		return dbus.MakeVariant(m.dns), nil
	case "Domains":
		return dbus.MakeVariant(m.domains), nil
	}
	return dbus.MakeVariant(m.elsewhere), nil
}

// appear has a manager own its name on a bus.
func (m *manager) appear(t *testing.T, address string) {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for path, iface := range map[dbus.ObjectPath]string{
		"/org/freedesktop/resolve1": resolve1 + ".Manager", "/org/freedesktop/resolve1/link/_31": "org.freedesktop.DBus.Properties",
	} {
		if err := c.Export(m, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := c.RequestName(resolve1, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
}

// has reports whether a link has these domains and this server only.
func (m *manager) has(domains []linkDomain, server netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Equal(m.domains, domains) && !m.elsewhere && len(m.dns) == 1 && m.dns[0].Family == 10 && slices.Equal(m.dns[0].Address, server.AsSlice())
}

func (m *manager) refuses(e *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = e
}

func (m *manager) said() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.calls = nil }()
	return m.calls
}

// machineFiles are those of a machine whose resolver is systemd-resolved.
func machineFiles(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	put(t, root, "etc/resolv.conf", "# of systemd-resolved\noptions edns0\nnameserver 127.0.0.53\n")
	put(t, root, "proc/self/net/udp", "  sl  local_address rem_address   st\n 2726: 3500007F:0035 00000000:0000 07\n")
	return root
}

func put(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func loopback(t *testing.T) Names {
	t.Helper()
	if i, err := net.InterfaceByName("lo"); err != nil || i.Index != 1 {
		t.Skipf("lo is not interface 1: %v, %v", i, err)
	}
	n := table
	n.Interface = "lo"
	return n
}

func TestResolved(t *testing.T) {
	n, m := loopback(t), &manager{elsewhere: true}
	r := &Resolved{bus: bus(t), root: machineFiles(t), iface: "lo"}
	if err := r.Fit(t.Context()); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "not on the system's bus") {
		t.Errorf("before it is there: %v", err)
	}
	m.appear(t, r.bus)
	if err := r.Fit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if said := m.said(); !slices.Equal(said, []string{"DefaultRoute 1", "DNS 1", "Domains 1", "DNSSEC=no 1"}) {
		t.Errorf("calls %q", said)
	}
	want := []linkDomain{{"example.mesh", true}, {"b.a.1.f.3.4.1.9.4.6.d.f.ip6.arpa", true}}
	if !m.has(want, n.Server) {
		t.Error("it has other settings")
	}
	if err := r.Set(t.Context(), n); err != nil || len(m.said()) != 0 {
		t.Errorf("what was there is set again: %v", err)
	}
	// It was started anew, or somebody else took the settings away.
	m.RevertLink(1)
	m.said()
	if err := r.Set(t.Context(), n); err != nil || len(m.said()) != 4 || !m.has(want, n.Server) {
		t.Errorf("what was gone is not set again: %v", err)
	}
	if err := r.Undo(t.Context()); err != nil || !slices.Equal(m.said(), []string{"Revert 1"}) {
		t.Errorf("%v", err)
	}
}

// The system does not let us: that is told apart, so that the remedy can be named.
func TestResolvedForbids(t *testing.T) {
	n := loopback(t)
	r := &Resolved{bus: bus(t), root: machineFiles(t), iface: "lo"}
	m := &manager{}
	m.appear(t, r.bus)
	for _, name := range []string{"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"} {
		m.refuses(dbus.NewError(name, []any{"Access denied"}))
		if err := r.Set(t.Context(), n); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "Access denied") {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.refuses(dbus.NewError(resolve1+".LinkBusy", []any{"Link lo is managed."}))
	if err := r.Set(t.Context(), n); err == nil || errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "managed") {
		t.Errorf("%v", err)
	}
	m.refuses(dbus.NewError(resolve1+".NoSuchLink", nil))
	if err := r.Undo(t.Context()); err != nil {
		t.Errorf("nothing to undo: %v", err)
	}
	n.Interface = "none0"
	if err := r.Set(t.Context(), n); err == nil || !strings.Contains(err.Error(), "none0") && !strings.Contains(err.Error(), "no such network interface") {
		t.Errorf("%v", err)
	}
}

// Where programs do not ask it, or it belongs to another network namespace, it is not used. Each case is one change away
// from a machine on which it is.
func TestResolvedUnfit(t *testing.T) {
	address := bus(t)
	(&manager{}).appear(t, address)
	for what, c := range map[string]struct {
		path, text, why string
		explicit        error
	}{
		"another resolver":  {"etc/resolv.conf", "nameserver 192.0.2.53\nnameserver 127.0.0.53\n", "does not lead", nil},
		"no resolv.conf":    {"etc/resolv.conf", "", "does not lead", nil},
		"another namespace": {"proc/self/net/udp", "  sl  local_address\n 1: 3500007F:0036 00000000:0000\n", "network namespace", ErrUnfit},
	} {
		root := machineFiles(t)
		if err := (&Resolved{bus: address, root: root, iface: "lo"}).Fit(t.Context()); err != nil {
			t.Errorf("without the defect: %v", err)
		}
		put(t, root, c.path, c.text)
		if err := (&Resolved{bus: address, root: root, iface: "lo"}).Fit(t.Context()); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", what, err)
		}
		if err := (&Resolved{bus: address, root: root, iface: "lo", explicit: true}).Fit(t.Context()); !errors.Is(err, c.explicit) {
			t.Errorf("%s, wanted explicitly: %v", what, err)
		}
	}
	nowhere := &Resolved{bus: "unix:path=" + filepath.Join(t.TempDir(), "none"), root: machineFiles(t), iface: "lo"}
	if err := nowhere.Fit(t.Context()); !errors.Is(err, ErrUnfit) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no bus: %v", err)
	}
}
