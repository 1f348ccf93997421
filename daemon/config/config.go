// Package config reads the daemon's configuration: strict YAML in which every key has a default and every mistake
// is an error that names file and line, says what is wrong and what to write instead.
//
//	node:      {name: alpha, failure_domain: rack-7}
//	identity:  {trust_domain: example.mesh, ttl: 24h}
//	links:     {listen: ["[::]:7420"], neighbours: ["192.0.2.7:7420"], advertise: [], hello: 50ms, interfaces: [eth0],
//	            groups: {eth1: [duct-a]}, capacity: {eth1: 50M}}
//	routing:   {k: 3, protect: ["dscp:EF", udp/5060], duplicate_budget: 0.1, spread: auto}
//	dns:       {mode: auto}
//	api:       {listen: "127.0.0.1:7421"}
//	log:       {level: info, format: text}
//
// Some keys a daemon takes up while it runs; those nodes may share (Shareable, Config.With).
//
// A key exists here only if it has an effect. Unknown keys, keys given twice, values of the wrong type, aliases and
// second documents are refused, so that what a file says and what the daemon does cannot differ.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

// Config is a whole configuration. Default gives one, Load and Parse fill in what a file leaves out.
type Config struct {
	Node     Node
	Identity Identity
	Links    Links
	Routing  Routing
	DNS      DNS
	API      API
	Log      Log
}

// Node says which node this is.
type Node struct {
	Name mesh.NodeID // zero = what the state directory says; another name than the state's is refused at start

	// FailureDomain names what this node shares with others and may fail by, such as a rack or a power supply: a group of
	// all its links; zero = none.
	FailureDomain string
}

// Identity says to which trust domain the node belongs.
type Identity struct {
	TrustDomain spiffeid.TrustDomain // zero = what the state directory says; another than the state's is refused at start
	TTL         time.Duration        // life of the SVIDs that this node issues as an authority; zero = what x0t init was told, 24 h if nothing
}

// Links says how the node meets its neighbours.
type Links struct {
	Listen     []netip.AddrPort // UDP and TCP; none = [::]:7420, which is IPv4 as well
	Neighbours []netip.AddrPort // dialled until they answer; none = only those that the state directory knows
	Names      []HostPort       // of neighbours too: host names in the list of neighbours
	Advertise  []netip.AddrPort // told to others as the way to this node; none = the listen addresses, or those of the interfaces
	Hello      time.Duration    // between two hellos on a link; zero = 50 ms

	// Interfaces are those on which neighbours are looked for by beacons; none = nowhere, AllInterfaces alone = wherever it
	// is possible. Several of them are also the ways to neighbours: each has a link by each.
	Interfaces []string

	// Groups names what the links by an interface share with others and may fail by, such as a duct or a mast; none = nothing
	// that is known. Paths avoid to meet in a group.
	Groups map[string][]string

	// Capacity is what the links by an interface carry; none = not known.
	Capacity map[string]mesh.BitsPerSecond
}

// Routing says how paths are chosen.
type Routing struct {
	K int // paths kept for a destination, as disjoint as the topology allows; zero = 3

	Protect         []mesh.ProtectRule // what is always sent on two paths; none = nothing
	DuplicateBudget float64            // most of a link's capacity that may go to copies; zero = 0.1, NoDuplicates = nothing
	Spread          SpreadMode         // zero = auto
}

// NoDuplicates is the budget of who wants no copies.
const NoDuplicates = -1

// SpreadMode says when the flows to one destination go by several paths.
type SpreadMode string

// The modes.
const (
	SpreadAuto   SpreadMode = "auto"   // while the path in use is congested
	SpreadAlways SpreadMode = "always" // whenever there are several
	SpreadOff    SpreadMode = "off"    // never
)

// DNS says how the machine learns the names of members.
type DNS struct {
	Mode DNSMode // zero = auto
}

// DNSMode is the way by which the machine's resolver learns the names of members.
type DNSMode string

// The modes. In all but off the node answers DNS questions on its own address in the mesh.
const (
	DNSAuto       DNSMode = "auto"       // the first of those below that this machine has
	DNSResolved   DNSMode = "resolved"   // systemd-resolved asks the node about the mesh's zones
	DNSResolvconf DNSMode = "resolvconf" // openresolv has a local resolver ask the node
	DNSHosts      DNSMode = "hosts"      // the members stand in /etc/hosts
	DNSOff        DNSMode = "off"        // no names: neither answers nor changes to the machine
)

// API says where else than on the unix socket the API answers.
type API struct {
	Listen netip.AddrPort // health and counters over TCP, loopback only; zero = nowhere
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level // the least that is logged; zero = info
	Format Format     // zero = text
}

// Format is how log lines look.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Defaults and limits.
const (
	DefaultHello  = 50 * time.Millisecond
	DefaultK      = 3
	DefaultBudget = 0.1
	DefaultPort   = 7420

	minTTL, maxTTL     = 2 * time.Second, 90 * 24 * time.Hour // those of host/authority
	minSharedTTL       = 10 * time.Minute                     // that a node's file may fall short of
	minHello, maxHello = 10 * time.Millisecond, 10 * time.Second
	maxK               = 8
	maxList            = 256
)

// Default returns the configuration of an empty file.
func Default() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	if len(c.Links.Listen) == 0 {
		c.Links.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), DefaultPort)}
	}
	if c.Links.Hello == 0 {
		c.Links.Hello = DefaultHello
	}
	if c.Routing.K == 0 {
		c.Routing.K = DefaultK
	}
	if c.Routing.DuplicateBudget == 0 {
		c.Routing.DuplicateBudget = DefaultBudget
	}
	if c.Routing.Spread == "" {
		c.Routing.Spread = SpreadAuto
	}
	if c.DNS.Mode == "" {
		c.DNS.Mode = DNSAuto
	}
	if c.Log.Format == "" {
		c.Log.Format = FormatText
	}
	return c
}
