package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/core/node"
)

// Members are remembered in a file, for a life in which no neighbour answers.
const (
	contactsFile  = "contacts.json"
	contactsFirst = time.Minute     // after the start; what is known then is worth keeping
	contactsEvery = 5 * time.Minute // and from then on
)

// contactsLoop remembers members for a life in which no neighbour answers.
func (d *Daemon) contactsLoop(ctx context.Context) {
	t := time.NewTimer(contactsFirst)
	defer t.Stop()
	var last []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		last = d.saveContacts(ctx, last)
		t.Reset(contactsEvery)
	}
}

// saveContacts writes the contacts unless there are none, or they are what was written last. It returns what is.
func (d *Daemon) saveContacts(ctx context.Context, last []byte) []byte {
	var cs []node.Contact
	if err := d.ask(ctx, func(c *node.Control) { cs = c.Contacts() }); err != nil || len(cs) == 0 {
		return last
	}
	b, err := json.Marshal(contacts{1, cs})
	if err != nil {
		d.log.Error("contacts were not saved", "error", err)
		return last
	}
	if !slices.Equal(b, last) {
		d.store.Keep(contactsFile, b)
	}
	return b
}

// contacts is the content of contactsFile.
type contacts struct {
	Version int            `json:"version"`
	Members []node.Contact `json:"members"`
}

// readContacts reads what an earlier life knew of other members. It is of use, but no loss: a file that cannot be read
// is told of and left out.
func (d *Daemon) readContacts() []node.Contact {
	var c contacts
	err := d.readState(contactsFile, &c)
	if err == nil && c.Version > 1 {
		err = fmt.Errorf("state file %s is of version %d, written by a newer x0t", contactsFile, c.Version)
	}
	if err != nil {
		d.log.Warn("members met earlier are not known", "error", err)
		return nil
	}
	return c.Members[:min(len(c.Members), node.MaxContacts)]
}
