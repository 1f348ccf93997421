package flood

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
)

const (
	helperEnv = "X0T_FLOOD_HELPER"
	catchTime = 10 * time.Second // an example is there within three
)

// Job is what a helper process does. Exactly one of the first three says what: it reads what comes to Sink for For and prints
// the Rate; it waits on Interface for what garbage of Kinds is made of and prints that Example; or it sends Kinds to where an
// Example went, for For, and prints the Rate. All of it is JSON.
type Job struct {
	Sink      netip.AddrPort
	Interface string
	Example   *Example

	Kinds     []Kind
	Port      uint16 // of the node at which the example went; 0 = the same
	Stray     bool   // past that node
	PerSecond int    // 0 = as many as it can
	For       time.Duration
}

// Env returns the variable that makes this program, started again, do the job (see Helper).
func (j Job) Env() (string, error) {
	b, err := json.Marshal(j)
	return helperEnv + "=" + string(b), err
}

// Helper does a Job if this process was started for one, and then returns its exit code. A program that starts such jobs
// calls it first thing in main.
func Helper() (code int, ok bool) {
	text := os.Getenv(helperEnv)
	if text == "" {
		return 0, false
	}
	var j Job
	err := json.Unmarshal([]byte(text), &j)
	var done any
	if err == nil {
		done, err = j.run()
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(done)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func (j Job) run() (any, error) {
	if j.Example == nil && !j.Sink.IsValid() {
		ctx, stop := context.WithTimeout(context.Background(), catchTime)
		defer stop()
		return Catch(ctx, j.Interface, j.Kinds)
	}
	ctx, cancel := context.WithTimeout(context.Background(), j.For)
	defer cancel()
	if j.Sink.IsValid() {
		return Sink(ctx, j.Sink)
	}
	e := *j.Example
	if j.Port != 0 {
		e = e.To(j.Port)
	}
	if j.Stray {
		e = e.Stray()
	}
	s, err := NewSender(e, j.Kinds, 1)
	if err != nil {
		return Rate{}, err
	}
	r, err := s.Send(ctx, j.PerSecond)
	return r, errors.Join(err, s.Close())
}
