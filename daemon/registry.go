package daemon

import (
	"net"
	"sync"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// registry holds what the host half knows of each connection and core must not: its exported secret, the
// transport it lives on. core speaks of a connection by its handle.
type registry struct {
	mu    sync.Mutex
	next  mesh.ConnID
	conns map[mesh.ConnID]*connection
}

type connection struct {
	purpose  wire.Purpose
	peer     mesh.NodeID
	remote   net.Addr
	outbound bool
	secret   []byte // erased once the keys were derived from it
	sender   sender
}

// sender is the control channel of a connection.
type sender interface {
	Send(id mesh.ConnID, msgs ...wire.Message) error
	CloseConn(id mesh.ConnID, reason string)
}

func newRegistry() *registry { return &registry{conns: map[mesh.ConnID]*connection{}} }

// allocate returns a handle that was never used before in this process.
func (r *registry) allocate() mesh.ConnID {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.next
}

func (r *registry) add(id mesh.ConnID, c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[id] = c
}

func (r *registry) get(id mesh.ConnID) *connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns[id]
}

func (r *registry) remove(id mesh.ConnID) *connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.conns[id]
	delete(r.conns, id)
	if c != nil {
		clear(c.secret)
		c.secret = nil
	}
	return c
}
