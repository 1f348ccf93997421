package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"
)

// clockEnv makes a daemon listen at a unix socket for how wrong its clock is to be. The daemon knows the name, too
// (daemon/labclock.go).
const clockEnv = "X0T_LAB_CLOCK"

// clockPatience is how long a daemon may take to answer.
const clockPatience = 5 * time.Second

func (n *node) clock() string { return filepath.Join(n.dir, "clock.sock") }

// setClock puts the wall clock of a node's daemon ahead by offset.
func (n *node) setClock(offset time.Duration) error {
	c, err := net.DialTimeout("unix", n.clock(), clockPatience)
	if err != nil {
		return fmt.Errorf("clock of %s: %w", n.id, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(clockPatience)); err != nil {
		return fmt.Errorf("clock of %s: %w", n.id, err)
	}
	type line struct {
		Offset int64  `json:"offset_ms"`
		Error  string `json:"error,omitempty"`
	}
	if err := json.NewEncoder(c).Encode(line{Offset: offset.Milliseconds()}); err != nil {
		return fmt.Errorf("clock of %s: %w", n.id, err)
	}
	var said line
	switch err := json.NewDecoder(io.LimitReader(c, 4096)).Decode(&said); {
	case err != nil:
		return fmt.Errorf("clock of %s did not answer: %w", n.id, err)
	case said.Error != "":
		return fmt.Errorf("clock of %s: %w", n.id, errors.New(said.Error))
	case said.Offset != offset.Milliseconds():
		return fmt.Errorf("clock of %s: it is ahead by %d ms, not by %s: %w", n.id, said.Offset, offset, errNotForce)
	}
	return nil
}
