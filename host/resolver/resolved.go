package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	resolve1  = "org.freedesktop.resolve1"
	busTime   = 5 * time.Second // for one visit to the bus
	stubAddr  = "127.0.0.53"
	stubEntry = "3500007F:0035" // the same with port 53 in /proc/net/udp
)

// Resolved has systemd-resolved ask the node about its zones: its server and the zones are settings of the mesh's
// interface, as route-only domains (org.freedesktop.resolve1(5)). It is not asked about anything else.
type Resolved struct {
	bus      string // address; "" = the system's
	root     string // of the files that tell who resolves; "" = the real ones
	iface    string
	explicit bool
}

// NewResolved returns the way of systemd-resolved for a mesh interface. Unless it is wanted explicitly it is fit only if
// the machine's resolv.conf leads to it.
func NewResolved(iface string, explicit bool) *Resolved {
	return &Resolved{iface: iface, explicit: explicit}
}

// Name says which way this is.
func (*Resolved) Name() string { return "resolved" }

// Asks reports whether this way has the node's own server asked.
func (*Resolved) Asks() bool { return true }

// Fit returns nil if systemd-resolved is the resolver of this machine, else ErrUnfit, wrapped.
func (r *Resolved) Fit(ctx context.Context) error {
	if !r.listens() {
		// Its bus can be reached from other network namespaces too, whose interfaces it would take for its own.
		return fmt.Errorf("%w: systemd-resolved does not listen at %s, or not in this network namespace", ErrUnfit, stubAddr)
	}
	if !r.explicit && !r.leads() {
		return fmt.Errorf("%w: /etc/resolv.conf does not lead to systemd-resolved", ErrUnfit)
	}
	return r.visit(ctx, func(c *dbus.Conn) error {
		var has bool
		if err := c.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, resolve1).Store(&has); err != nil {
			return err
		}
		if !has {
			return fmt.Errorf("%w: %s is not on the system's bus", ErrUnfit, resolve1)
		}
		return nil
	})
}

// listens reports whether somebody answers where systemd-resolved does, in this network namespace.
func (r *Resolved) listens() bool {
	b, err := os.ReadFile(filepath.Join(r.root+"/", "proc/self/net/udp")) // #nosec G304 -- a file of the kernel
	return err == nil && strings.Contains(string(b), " "+stubEntry+" ")
}

// leads reports whether programs that read resolv.conf ask systemd-resolved.
func (r *Resolved) leads() bool {
	b, err := os.ReadFile(filepath.Join(r.root+"/", "etc/resolv.conf")) // #nosec G304 -- a file of the system
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			return f[1] == stubAddr || f[1] == "127.0.0.54"
		}
	}
	return false
}

// The settings, as systemd-resolved has them.
type (
	linkServer struct {
		Family  int32
		Address []byte
	}
	linkDomain struct {
		Name      string
		RouteOnly bool
	}
)

// Set gives systemd-resolved the settings, unless it has them.
func (r *Resolved) Set(ctx context.Context, n Names) error {
	i, err := net.InterfaceByName(n.Interface)
	if err != nil {
		return err
	}
	index := int32(i.Index) // #nosec G115 -- the kernel's are of 32 bits
	servers := []linkServer{{unix.AF_INET6, n.Server.AsSlice()}}
	var domains []linkDomain
	for _, z := range n.zones() {
		domains = append(domains, linkDomain{z, true})
	}
	return r.visit(ctx, func(c *dbus.Conn) error {
		manager := c.Object(resolve1, "/org/freedesktop/resolve1")
		if r.has(ctx, c, manager, index, servers, domains) {
			return nil
		}
		call := func(method string, args ...any) error {
			return manager.CallWithContext(ctx, resolve1+".Manager."+method, 0, append([]any{index}, args...)...).Err
		}
		// The domains last: until then nobody asks the server.
		for _, c := range []struct {
			method string
			arg    any
		}{{"SetLinkDefaultRoute", false}, {"SetLinkDNS", servers}, {"SetLinkDomains", domains}} {
			if err := call(c.method, c.arg); err != nil {
				_ = call("RevertLink")
				return err
			}
		}
		// Our zones are not signed, and nobody on this interface speaks other protocols. Old versions lack some of these.
		_ = errors.Join(call("SetLinkDNSSEC", "no"), call("SetLinkDNSOverTLS", "no"), call("SetLinkLLMNR", "no"), call("SetLinkMulticastDNS", "no"))
		return nil
	})
}

// has reports whether the settings are those wanted.
func (r *Resolved) has(ctx context.Context, c *dbus.Conn, manager dbus.BusObject, index int32, servers []linkServer, domains []linkDomain) bool {
	var path dbus.ObjectPath
	if manager.CallWithContext(ctx, resolve1+".Manager.GetLink", 0, index).Store(&path) != nil {
		return false
	}
	link := c.Object(resolve1, path)
	var d []linkDomain
	var s []linkServer
	var elsewhere bool
	for name, to := range map[string]any{"Domains": &d, "DNS": &s, "DefaultRoute": &elsewhere} {
		var v dbus.Variant
		if link.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, resolve1+".Link", name).Store(&v) != nil || v.Store(to) != nil {
			return false
		}
	}
	return slices.Equal(d, domains) && !elsewhere && slices.EqualFunc(s, servers, func(a, b linkServer) bool {
		return a.Family == b.Family && slices.Equal(a.Address, b.Address)
	})
}

// Undo takes the settings away. Those of an interface that is gone are gone with it.
func (r *Resolved) Undo(ctx context.Context) error {
	i, err := net.InterfaceByName(r.iface)
	if err != nil || !r.listens() {
		return nil
	}
	return r.visit(ctx, func(c *dbus.Conn) error {
		err := c.Object(resolve1, "/org/freedesktop/resolve1").CallWithContext(ctx, resolve1+".Manager.RevertLink", 0, int32(i.Index)).Err // #nosec G115 -- of 32 bits
		if e := (dbus.Error{}); errors.As(err, &e) && (e.Name == resolve1+".NoSuchLink" || e.Name == "org.freedesktop.DBus.Error.ServiceUnknown") {
			return nil
		}
		return err
	})
}

// visit connects to the bus for as long as f runs.
func (r *Resolved) visit(ctx context.Context, f func(*dbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	address := r.bus
	if address == "" {
		address = systemBus()
	}
	c, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("%w: the system's bus: %w", ErrUnfit, err)
	}
	defer func() { _ = c.Close() }()
	return explain(f(c))
}

func systemBus() string {
	if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
		return a
	}
	return "unix:path=/run/dbus/system_bus_socket"
}

// explain tells refusals of the bus from other errors.
func explain(err error) error {
	e := dbus.Error{}
	if !errors.As(err, &e) {
		return err
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
		"org.freedesktop.DBus.Error.AuthFailed":
		return fmt.Errorf("systemd-resolved: %w: %w", ErrForbidden, err)
	}
	return fmt.Errorf("systemd-resolved: %w", err)
}
