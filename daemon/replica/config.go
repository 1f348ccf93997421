package replica

import (
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
)

// Config is what a replica is told when it is opened.
type Config struct {
	Self    mesh.NodeID
	Domain  spiffeid.TrustDomain
	Path    string // of the store's file
	Founder bool   // this node makes the domain: there is nobody to learn from before the first write. The file remembers it
	Began   bool   // this node made the domain before: a file of an earlier release, which remembers nothing, is the founder's if it is whole

	// Identity returns the SVID to sign with. Without a Signer there is none yet, and writes are refused as unavailable.
	Identity func() Identity
	// Verify returns nil if chain (DER, leaf first) is an SVID of author in this domain that was valid from oldest to
	// newest, both included. It must take authorities that have retired meanwhile. Its answer is relied on for a minute.
	// It is called on several goroutines at a time.
	Verify func(chain [][]byte, author mesh.NodeID, oldest, newest time.Time) error
	// Ends returns until when an SVID that Verify took is current; nil: for ever. What it signed is for checkpoints to cover then.
	Ends func(chain [][]byte) time.Time
	// Checkpoint returns the batches that a register of author under CheckpointPrefix covers, or why it is no checkpoint that counts;
	// nil: none does. It is called by the loop, and on changes of such registers only.
	Checkpoint func(author mesh.NodeID, value []byte) ([][32]byte, error)
	Admits     bool // this node is an authority: what its operator restores needs no checkpoint, and gets one
	// May says who may write what, of this node and of others; nil: all may all.
	May func(crdt.Write) error

	// Vital says for which keys room is kept free, whatever else there is; of these one author may write 1 MiB. nil: for none.
	Vital func(key []byte) bool

	Floor    mesh.Hybrid      // a time that is over for certain, for a node whose clock may have been lost; 0: none
	MaxBytes int              // of memory for the state; 0: 1 GiB
	Now      func() time.Time // nil: time.Now. It must keep the monotonic reading
	Rand     io.Reader        // of incarnations and signatures; nil: crypto/rand
	Log      *slog.Logger     // nil: none
}

// Identity is an SVID with its key.
type Identity struct {
	Chain  [][]byte // DER, leaf first
	Signer crypto.Signer
}

// Stream is a stream to one neighbour that carries nothing else. Close must end both Read and Write; it may be called more
// than once.
type Stream interface {
	io.Reader
	io.Writer
	io.Closer
}

func (c *Config) check() error {
	switch {
	case c.Self.IsZero(), c.Domain.IsZero(), c.Path == "":
		return errors.New("a replica needs a node, a domain and a file")
	case c.Identity == nil, c.Verify == nil:
		return errors.New("a replica needs an identity and a way to verify others'")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
