package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"

	"x0tta6bl4/mesh"
)

// HostPort is a host name and a port. The name is looked up by the system, again and again: its address may change.
type HostPort struct {
	Host string
	Port uint16
}

func (h HostPort) String() string { return h.Host + ":" + strconv.Itoa(int(h.Port)) }

// InZone reports whether a host name belongs to the mesh's own zone, which only members can look up.
func (h HostPort) InZone(td spiffeid.TrustDomain) bool {
	name := strings.TrimSuffix(strings.ToLower(h.Host), ".")
	return !td.IsZero() && (name == td.Name() || strings.HasSuffix(name, "."+td.Name()))
}

// neighbour is one item of links.neighbours: an address, or a name.
type neighbour struct {
	addr netip.AddrPort
	name HostPort
}

// neighbours reads links.neighbours.
func neighbours(c *Config) func(*parser, string, *yaml.Node) {
	return func(p *parser, at string, n *yaml.Node) {
		var all []neighbour
		list(&all, parseNeighbour)(p, at, n)
		for _, v := range all {
			if v.addr.IsValid() {
				c.Links.Neighbours = append(c.Links.Neighbours, v.addr)
			} else {
				c.Links.Names = append(c.Links.Names, v.name)
			}
		}
		p.last = append(p.last, func() {
			for _, a := range c.Links.Neighbours {
				if td := c.Identity.TrustDomain; !td.IsZero() && mesh.Prefix(td).Contains(a.Addr()) {
					p.complain(n.Line, at, a.String()+" is an address of the mesh itself, which only links make reachable; "+
						"write an address of the network below")
				}
			}
			for _, h := range c.Links.Names {
				if h.InZone(c.Identity.TrustDomain) {
					p.complain(n.Line, at, h.String()+" is a name of the mesh itself, which nobody can look up before links are up; "+
						"write an address, or a name of the network below")
				}
			}
		})
	}
}

func parseNeighbour(s string) (neighbour, error) {
	if _, err := netip.ParseAddrPort(s); err == nil {
		a, err := remoteAddr(s)
		return neighbour{addr: a}, err
	}
	host, port, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || n == 0 || !hostName(host) {
		return neighbour{}, fmt.Errorf(`%s is not an address to reach a node at; write ADDRESS:PORT or HOST:PORT, for instance "192.0.2.1:%d", "[2001:db8::1]:%d" or "gate.example.net:%d"`,
			printable(s), DefaultPort, DefaultPort, DefaultPort)
	}
	return neighbour{name: HostPort{host, uint16(n)}}, nil
}

// hostName reports whether s is a name for a host (RFC 1123 §2.1): not one whose last part is a number, which would be
// an address gone wrong.
func hostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	parts := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range parts {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, c := range []byte(l) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	_, err := strconv.ParseUint(parts[len(parts)-1], 0, 64)
	return err != nil
}
