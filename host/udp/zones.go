package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// ErrNoInterface is wrapped by Send, with unix.ENODEV, when an address names an interface that is not there.
var ErrNoInterface = errors.New("no such network interface")

// An interface goes, comes again and is renamed while the socket stays open: what is known of one is asked again after
// this time. It also bounds how often an interface that is not there is asked for, however much is sent to it.
const zoneLife = 2 * time.Second

const maxZones = 256

// zones translates the interface names in addresses to the kernel's indices. Its lookups ask the kernel by the socket,
// and so in the socket's network namespace.
type zones struct {
	socket  syscall.RawConn
	started time.Time
	known   atomic.Pointer[map[string]zone] // replaced as a whole: a send only reads
	mu      sync.Mutex                      // held to replace it
	named   atomic.Pointer[[]string]        // interfaces whose name every source gets; nil = none
}

type zone struct {
	index uint32 // 0 = there is none of that name
	until time.Duration
}

func newZones(socket syscall.RawConn) *zones {
	z := &zones{socket: socket, started: time.Now()}
	z.known.Store(&map[string]zone{})
	return z
}

// index returns the interface's index, 0 if there is no such interface. It allocates nothing while the answer is known.
func (z *zones) index(name string) uint32 {
	now := time.Since(z.started)
	if k, ok := (*z.known.Load())[name]; ok && now < k.until {
		return k.index
	}
	k := zone{index: z.lookUp(name), until: now + zoneLife}
	z.put(name, &k)
	return k.index
}

// forget makes the next use of a name ask again.
func (z *zones) forget(name string) { z.put(name, nil) }

func (z *zones) put(name string, k *zone) {
	z.mu.Lock()
	defer z.mu.Unlock()
	old := *z.known.Load()
	all := make(map[string]zone, len(old)+1)
	if len(old) < maxZones {
		for n, o := range old {
			all[n] = o
		}
	}
	delete(all, name)
	if k != nil {
		all[name] = *k
	}
	z.known.Store(&all)
}

// lookUp asks the kernel for the index of a zone given by name or, as netip has it where there is no name, by number.
func (z *zones) lookUp(name string) (index uint32) {
	if i, ok := z.ask(unix.SIOCGIFINDEX, name, 0); ok {
		return i.Uint32()
	}
	n, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0
	}
	if _, ok := z.ask(unix.SIOCGIFNAME, "", uint32(n)); !ok {
		return 0
	}
	return uint32(n)
}

// name returns the name of an interface; of one that has gone, its number.
func (z *zones) name(index uint32) string {
	if i, ok := z.ask(unix.SIOCGIFNAME, "", index); ok {
		return i.Name()
	}
	return strconv.FormatUint(uint64(index), 10)
}

// ask makes a call of netdevice(7); fields other than the name are in a union, in which the index lies first.
func (z *zones) ask(call uint, name string, index uint32) (*unix.Ifreq, bool) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return nil, false // no interface has a name as long as this
	}
	r.SetUint32(index)
	cerr := z.socket.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), call, r) })
	return r, cerr == nil && err == nil
}

func noInterface(zone string) error {
	return fmt.Errorf("%w: %s: %w", ErrNoInterface, zone, unix.ENODEV)
}

// sources remembers sources with their zones: making one is more work than all else about a datagram. It belongs to the
// reader.
type sources struct {
	zones *zones
	named *atomic.Pointer[[]string]
	known map[arrivedBy]netip.Addr
	until time.Duration
}

type arrivedBy struct {
	addr  [16]byte
	index uint32
}

const maxSources = 1024

// addr gives a link-local address the zone in which it came.
func (s *sources) addr(a netip.Addr, scope uint32) netip.Addr {
	return s.remember(a, scope, func(string) bool { return true })
}

// byInterface gives any other address the interface by which it came as zone, if that interface is one of those named.
func (s *sources) byInterface(from netip.AddrPort, index uint32) netip.AddrPort {
	named := s.named.Load()
	if named == nil || index == 0 || !from.IsValid() || from.Addr().Zone() != "" {
		return from
	}
	a := s.remember(netip.AddrFrom16(from.Addr().As16()), index, func(name string) bool { return slices.Contains(*named, name) })
	return mesh.PlainUnderlay(netip.AddrPortFrom(a, from.Port()))
}

func (s *sources) remember(a netip.Addr, index uint32, wanted func(name string) bool) netip.Addr {
	if now := time.Since(s.zones.started); now >= s.until || len(s.known) >= maxSources {
		s.known, s.until = make(map[arrivedBy]netip.Addr), now+zoneLife
	}
	key := arrivedBy{a.As16(), index}
	if known, ok := s.known[key]; ok {
		return known
	}
	zoned := a
	if name := s.zones.name(index); wanted(name) {
		zoned = a.WithZone(name)
	}
	s.known[key] = zoned
	return zoned
}
