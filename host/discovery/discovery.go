// Package discovery finds neighbours on the segments that a machine's interfaces are attached to, by multicast beacons
// (wire.Beacon). Whatever arrives is a hint and nothing more: what comes of it is a call of Config.Found with an address,
// at which a handshake then shows who is there.
//
//	socket of one interface ──► reader ──► segment ──► answers, Found
//	                                          ▲
//	                            ticker ───────┘   own beacons, what is due again
//
// Each interface has a socket, two goroutines and a segment of its own, so that a flood on one touches no other. The
// segment decides; it is told the time and does no I/O.
package discovery

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/wire"
)

// Port is the UDP port of beacons and their answers.
const Port = 7421

// Group is where beacons go: link-local scope, with a group of the range for dynamic use (RFC 4291 §2.7, RFC 3307 §4.3).
var Group = netip.MustParseAddr("ff12::d078:3074")

// Config says whom to find and whom to tell.
type Config struct {
	Domain   spiffeid.TrustDomain
	LinkPort uint16 // UDP port of this node's links, on every interface's link-local address
	Log      *slog.Logger

	// Found gets the link-local address, with zone, of somebody who may be a member, and the interface. It must not block.
	Found func(a netip.AddrPort, via string)
	// Linked reports whether a link to an address is up, so that it need not be found. It must not block.
	Linked func(a netip.AddrPort) bool
}

// Interface is a network interface by name and index.
type Interface struct {
	Name  string
	Index int
}

// Discovery sends and hears beacons on a changing set of interfaces. Its methods may be called from any goroutine.
type Discovery struct {
	cfg   Config
	nonce atomic.Uint64 // of the next interface that is opened
	count counters

	mu     sync.Mutex
	ports  map[Interface]*port
	failed map[string]string // interfaces that could not be opened, and why
	closed bool
}

// New returns a Discovery that is silent until Use.
func New(cfg Config) *Discovery {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails (crypto/rand)
	d := &Discovery{cfg: cfg, ports: map[Interface]*port{}}
	d.nonce.Store(binary.BigEndian.Uint64(b[:]) &^ openings)
	return d
}

// Use makes these the interfaces with beacons, and no others. They should be up and have a link-local address. One that
// cannot be opened is told of in the log and tried again at the next call. It must be called in the network namespace
// of the interfaces.
func (d *Discovery) Use(want []Interface) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	keep := map[Interface]bool{}
	for _, i := range want {
		keep[i] = true
	}
	for i, p := range d.ports {
		if !keep[i] {
			delete(d.ports, i)
			p.close()
			d.cfg.Log.Info("no beacons any more", "interface", i.Name)
		}
	}
	failed := map[string]string{}
	defer func() { d.failed = failed }()
	for _, i := range want {
		if d.ports[i] != nil {
			continue
		}
		p, err := d.open(i)
		if err != nil {
			d.count.openErrors.Add(1)
			if d.failed[i.Name] != err.Error() {
				d.cfg.Log.Warn("no beacons", "interface", i.Name, "error", err)
			}
			failed[i.Name] = err.Error()
			continue
		}
		d.ports[i] = p
		d.cfg.Log.Info("looking for neighbours by beacons", "interface", i.Name)
	}
}

// Troubles says which interfaces could not be opened for beacons, and why.
func (d *Discovery) Troubles() (ts []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.failed)) {
		ts = append(ts, fmt.Sprintf("no neighbours are looked for on %s: %s", name, d.failed[name]))
	}
	return ts
}

// Hurry sends beacons in quick succession again, as at the start: the segment may be another, or have forgotten us. It
// does nothing if d is nil, as Close.
func (d *Discovery) Hurry() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		p.hurry()
	}
}

// Interfaces returns how many interfaces have beacons now.
func (d *Discovery) Interfaces() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ports)
}

// Close ends all beacons. Neither Found nor Linked is called after it.
func (d *Discovery) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, p := range d.ports {
		p.close()
	}
	clear(d.ports)
}

func (d *Discovery) open(i Interface) (*port, error) {
	conn, err := listen(i)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &port{
		d: d, name: i.Name, conn: conn, cancel: cancel, ctx: ctx, wake: make(chan struct{}, 1),
		to:  netip.AddrPortFrom(Group.WithZone(i.Name), Port),
		seg: newSegment(d.nonce.Add(1), d.cfg.Domain, &d.count, jittered),
	}
	p.seg.hurry(time.Now())
	p.wg.Go(p.hear)
	p.wg.Go(p.tick)
	return p, nil
}

// beacon returns a new beacon of this node.
func (d *Discovery) beacon(nonce uint64, answer bool) []byte {
	b := wire.Beacon{Answer: answer, Port: d.cfg.LinkPort, Nonce: nonce}
	_, _ = crand.Read(b.Salt[:])
	b.Hash = wire.DomainHash(b.Salt, d.cfg.Domain)
	return b.Append(nil)
}

type counters struct {
	sent, answered, sendErrors, openErrors, readErrors                    atomic.Uint64
	heard, malformed, version, notLinkLocal, wrongPort, own, foreign      atomic.Uint64
	limited, sourceLimited, answersLimited, foundLimited, evicted, member atomic.Uint64
	found, answersSpared                                                  atomic.Uint64
}

// Counters returns what was sent, heard and dropped so far, by name.
func (d *Discovery) Counters() map[string]uint64 {
	c := &d.count
	return map[string]uint64{
		"beacon_sent":            c.sent.Load(),
		"beacon_answers_sent":    c.answered.Load(),
		"beacon_send_errors":     c.sendErrors.Load(),
		"beacon_open_errors":     c.openErrors.Load(),
		"beacon_receive_errors":  c.readErrors.Load(),
		"beacon_heard":           c.heard.Load(),          // all that follow but the answers, evicted and found are of these
		"beacon_malformed":       c.malformed.Load(),      // not a beacon
		"beacon_version":         c.version.Load(),        // of a later version
		"beacon_not_link_local":  c.notLinkLocal.Load(),   // came from another kind of address
		"beacon_wrong_port":      c.wrongPort.Load(),      // came from another port than beacons'
		"beacon_own":             c.own.Load(),            // this node's own, come back
		"beacon_foreign":         c.foreign.Load(),        // of another trust domain
		"beacon_limited":         c.limited.Load(),        // too many by this interface; some more stay in the kernel, uncounted
		"beacon_source_limited":  c.sourceLimited.Load(),  // too many from one address
		"beacon_member":          c.member.Load(),         // of our trust domain, or so they say
		"beacon_answers_limited": c.answersLimited.Load(), // not answered: too many to answer
		"beacon_answers_spared":  c.answersSpared.Load(),  // not answered: known for a while, or others of a crowd answer
		"beacon_sources_evicted": c.evicted.Load(),        // forgotten for want of room
		"beacon_found":           c.found.Load(),          // addresses handed on
		"beacon_found_limited":   c.foundLimited.Load(),   // addresses kept back for a while: too many
	}
}
