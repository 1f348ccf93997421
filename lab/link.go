package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// linkMTU is that of Ethernet, as nearly every real underlay has it.
const linkMTU = 1500

// end is one interface of a link.
type end struct {
	node  mesh.NodeID
	space *space
	iface string
	addr  netip.Prefix
	tap   *os.File // nil on a veth

	link     netlink.Link // once it was found
	filtered bool         // rules for what comes in are in force
	counted  tally        // of rules and queueing disciplines that are gone
}

// wire is one link of the lab: two ends, and either a veth pair or the relay between them.
type wire struct {
	ends    [2]end
	delay   time.Duration // one way
	loss    float64       // share that it loses always, each way
	relayed bool          // always, if there is a delay
	control *controller   // of the relay
	port    int           // of the relay, in the direction from the first end; the other one follows

	state wireState // as apply left it
}

// underlay returns the addresses of link number i: even ones are IPv4, odd ones IPv6. The ranges are private
// (RFC 1918) and reserved for documentation (RFC 3849): neither can be a mesh address.
func underlay(i int) [2]netip.Prefix {
	if i%2 == 0 {
		base := uint32(10)<<24 | 74<<16 | uint32(i)*4
		at := func(n uint32) netip.Prefix {
			a := base + n
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), 30)
		}
		return [2]netip.Prefix{at(1), at(2)}
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0x74, 0x20, byte(i >> 8), byte(i)}
	var p [2]netip.Prefix
	for k := range p {
		a[15] = byte(k + 1)
		p[k] = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	}
	return p
}

// ifaceName is what the interface towards a neighbour is called: its name where Linux allows it, else a number.
func ifaceName(to mesh.NodeID, i int) string {
	if n := "to-" + to.String(); len(n) < unix.IFNAMSIZ {
		return n
	}
	return fmt.Sprintf("link%d", i)
}

// create makes both interfaces, gives them their addresses and sets them up.
func (w *wire) create() error {
	make := w.createVeth
	if w.relayed {
		make = w.createTAPs
	}
	if err := make(); err != nil {
		return fmt.Errorf("link %s-%s: %w", w.ends[0].node, w.ends[1].node, err)
	}
	for i := range w.ends {
		if err := w.ends[i].up(); err != nil {
			return fmt.Errorf("link %s-%s: %w", w.ends[0].node, w.ends[1].node, err)
		}
	}
	return nil
}

func (w *wire) createVeth() error {
	a, b := &w.ends[0], &w.ends[1]
	return a.space.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = a.iface, linkMTU
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b.iface,
			PeerNamespace: netlink.NsFd(int(b.space.file.Fd()))})
	})
}

func (w *wire) createTAPs() error {
	for i := range w.ends {
		e := &w.ends[i]
		if err := e.space.do(func() (err error) { e.tap, err = openTAP(e.iface); return err }); err != nil {
			return err
		}
	}
	return nil
}

// openTAP makes an Ethernet device in the calling thread's namespace; it lives as long as the file.
func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("interface name %q: %w", name, err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TAP device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// find returns the interface. It is called in its namespace.
func (e *end) find() (netlink.Link, error) {
	if e.link != nil {
		return e.link, nil
	}
	l, err := netlink.LinkByName(e.iface)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", e.iface, e.node, err)
	}
	e.link = l
	return l, nil
}

// up gives the interface its address and sets it up. It may be called again after a down, which costs an interface
// its IPv6 address.
func (e *end) up() error {
	return e.space.do(func() error {
		l, err := e.find()
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s of %s up: %w", e.iface, e.node, err)
		}
		bits := 8 * len(e.addr.Addr().AsSlice())
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: e.addr.Addr().AsSlice(), Mask: net.CIDRMask(e.addr.Bits(), bits)}}
		if e.addr.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // the lab knows that it is unique; RFC 4862 would wait a second
		}
		if err := netlink.AddrReplace(l, addr); err != nil {
			return fmt.Errorf("address %s of %s in %s: %w", e.addr, e.iface, e.node, err)
		}
		return nil
	})
}

// down sets the interface down, as pulling a cable or ifdown does.
func (e *end) down() error {
	return e.space.do(func() error {
		l, err := e.find()
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
}

// isUp reports whether the interface is set up.
func (e *end) isUp() (up bool, err error) {
	err = e.space.do(func() error {
		l, err := netlink.LinkByName(e.iface)
		if err == nil {
			up = l.Attrs().Flags&net.FlagUp != 0
		}
		return err
	})
	return up, err
}

// The queueing discipline "blackhole" is part of every kernel with traffic control: it drops and reports success.
const blackhole = "blackhole"

// swallow makes everything that the interface sends vanish without an error, or ends that.
func (e *end) swallow(on bool) error {
	if !on {
		dropped, _, err := e.swallowed()
		if err != nil {
			return err
		}
		e.counted.Swallowed += dropped
	}
	return e.space.do(func() error {
		l, err := e.find()
		if err != nil {
			return err
		}
		q := &netlink.GenericQdisc{QdiscType: blackhole, QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index,
			Handle: netlink.MakeHandle(0x74, 0), Parent: netlink.HANDLE_ROOT}}
		if on {
			err = netlink.QdiscReplace(q)
		} else if err = netlink.QdiscDel(q); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			err = nil // none is there
		}
		if err != nil {
			return fmt.Errorf("blackhole on %s of %s: %w", e.iface, e.node, err)
		}
		return nil
	})
}

// swallowed reports whether the interface swallows what it is to send, and how many packets it has.
func (e *end) swallowed() (packets uint64, on bool, err error) {
	err = e.space.do(func() error {
		l, err := e.find()
		if err != nil {
			return err
		}
		qs, err := netlink.QdiscList(l)
		if err != nil {
			return fmt.Errorf("queueing discipline of %s in %s: %w", e.iface, e.node, err)
		}
		for _, q := range qs {
			if on = q.Type() == blackhole; on {
				if s := q.Attrs().Statistics; s != nil && s.Queue != nil {
					packets = uint64(s.Queue.Drops)
				}
				return nil
			}
		}
		return nil
	})
	return packets, on, err
}

// at returns the end of w at node n and the other one.
func (w *wire) at(n mesh.NodeID) (here, there *end) {
	if w.ends[0].node == n {
		return &w.ends[0], &w.ends[1]
	}
	return &w.ends[1], &w.ends[0]
}

// joins reports whether w runs between a and b.
func (w *wire) joins(a, b mesh.NodeID) bool {
	x, y := w.ends[0].node, w.ends[1].node
	return x == a && y == b || x == b && y == a
}

// close lets go of TAP devices that no relay took over.
func (w *wire) close() {
	for _, e := range w.ends {
		if e.tap != nil {
			e.tap.Close()
		}
	}
}
