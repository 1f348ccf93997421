package api

import (
	"context"
	"time"

	"x0tta6bl4/mesh"
)

// ConfigSource says where the value of a key of the configuration comes from.
type ConfigSource string

// The sources; each beats those below it.
const (
	ConfigFile    ConfigSource = "file"        // of this node
	ConfigForNode ConfigSource = "shared_node" // shared, for this node
	ConfigForAll  ConfigSource = "shared"      // shared, for all nodes
	ConfigDefault ConfigSource = "default"
)

// ConfigKey is what one key of the configuration has at this node.
type ConfigKey struct {
	Key       string       `json:"key"`
	Value     string       `json:"value,omitempty"` // in YAML; left out: it is not set
	Source    ConfigSource `json:"source"`
	Shareable bool         `json:"shareable"` // a running daemon takes it up
	// Shared is what nodes share for this one and the file overrides, or what is in effect.
	Shared *ConfigSetting `json:"shared,omitempty"`
}

// Config is the configuration that this node runs with.
type Config struct {
	Node    mesh.NodeID     `json:"node"`
	Running bool            `json:"running"` // a daemon says so; else it is what the file says, and what is shared is not known
	Keys    List[ConfigKey] `json:"keys"`
}

// ConfigSetting is one value that nodes share.
type ConfigSetting struct {
	Key    string      `json:"key"`
	Value  Bytes       `json:"value"`         // YAML
	Node   mesh.NodeID `json:"node,omitzero"` // that it is for; left out: all
	Author mesh.NodeID `json:"author"`
	Time   time.Time   `json:"time"`           // by the hybrid clock of its author
	Note   string      `json:"note,omitempty"` // why this node cannot take it up
}

// ConfigShared is all that nodes share of their configuration, as this node knows it.
type ConfigShared struct {
	Freshness
	Settings List[ConfigSetting] `json:"settings"`          // by key; what is for all before what is for one node
	Ignored  int                 `json:"ignored,omitempty"` // entries that count nowhere: their authors are no authorities
	More     bool                `json:"more,omitempty"`    // there are more than are told
}

// ConfigTarget names a key and the node that a value of it is for; the zero node is all.
type ConfigTarget struct {
	Key  string
	Node mesh.NodeID
}

// ConfigWritten answers a change of what nodes share, once it is on this node's disk.
type ConfigWritten struct {
	Freshness
	Time time.Time `json:"time"`
	Note string    `json:"note,omitempty"` // what the caller may not expect
}

// ConfigBackend is what the handlers ask of the configuration. Every method must be safe for concurrent use and return when its
// context ends. A key that cannot be shared and a value that is none give CodeBadRequest, a node that may not write
// CodeNotAuthority, a replica that takes no writes what StateBackend gives.
type ConfigBackend interface {
	Config(ctx context.Context) (Config, error)
	ConfigShared(ctx context.Context) (ConfigShared, error)
	ConfigSet(ctx context.Context, at ConfigTarget, value []byte) (ConfigWritten, error)
	ConfigUnset(ctx context.Context, at ConfigTarget) (ConfigWritten, error)
}
