package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// stayRequest is what a client of a lab that stays asks for: one connection each. One byte goes before it, with the three
// standard descriptors of a command. The answers are one JSON object a line.
type stayRequest struct {
	Do     string      `json:"do"` // info, inject, mend, exec or down
	Fault  string      `json:"fault,omitempty"`
	Node   mesh.NodeID `json:"node,omitzero"`
	Argv   []string    `json:"argv,omitempty"`
	Env    []string    `json:"env,omitempty"`
	Dir    string      `json:"dir,omitempty"`
	Signal int         `json:"signal,omitempty"` // while a command runs: pass this on
}

type stayAnswer struct {
	Error string    `json:"error,omitempty"`
	Info  *Standing `json:"info,omitempty"`
	Done  string    `json:"done,omitempty"` // what was injected or mended
	Exit  int       `json:"exit"`
}

// maxOrder bounds an order in bytes: the kernel's own bound of a command line is about that.
const maxOrder = 4 << 20

// keeper keeps a lab up and serves those who come to its socket.
type keeper struct {
	lab  *Lab
	post *post
	info Standing
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	holds []hold // injected and not mended yet
}

// hold is a fault that holds, and the timer that ends it; nil = it holds until it is mended.
type hold struct {
	Fault
	timer *time.Timer
}

// Stay makes a lab that stays until ctx ends or somebody takes it down, in this process. ready is called once when it
// is up.
func Stay(ctx context.Context, name string, opt Options, ready func(Standing)) error {
	p, err := takePost(RuntimeDir(), name)
	if err != nil {
		return err
	}
	defer p.leave()
	removeStale(os.TempDir())
	l, err := Up(ctx, opt)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	k := &keeper{lab: l, post: p, stop: stop}
	err = k.serve(ctx, name, ready)
	if err != nil {
		err = l.explain(err)
	}
	return errors.Join(err, l.Close())
}

func (k *keeper) serve(ctx context.Context, name string, ready func(Standing)) error {
	if err := k.describe(ctx, name); err != nil {
		return err
	}
	os.Remove(k.post.socket()) // of a process that died
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: k.post.socket(), Net: "unix"})
	if err != nil {
		return fmt.Errorf("socket of the lab: %w", err)
	}
	if err := k.post.write(k.info); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	ready(k.info)
	for {
		c, err := ln.AcceptUnix()
		if err != nil {
			break
		}
		k.wg.Go(func() { k.talk(ctx, c) })
	}
	k.wg.Wait()
	return nil
}

func (k *keeper) describe(ctx context.Context, name string) error {
	l := k.lab
	k.info = Standing{Name: name, Topology: l.m.Name, PID: os.Getpid(), Began: time.Now(), Alive: true,
		Converged: float64(l.Converged.Microseconds()) / 1000, Faults: []string{}}
	for _, id := range l.m.Nodes {
		s, err := l.Status(ctx, id)
		if err != nil {
			return err
		}
		n := l.nodes[id]
		k.info.Nodes = append(k.info.Nodes, StandingNode{id, s.Address.String(), n.socket(), n.logPath})
	}
	for _, w := range l.m.Links {
		k.info.Links = append(k.info.Links, StandingLink{w.A, w.B, float64(w.Delay.Microseconds()) / 1000})
	}
	return nil
}

// talk serves one client.
func (k *keeper) talk(ctx context.Context, c *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.Close()
	context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	files, err := receiveFiles(c)
	defer closeAll(files)
	if err != nil {
		return
	}
	in := json.NewDecoder(&limited{c, maxOrder})
	var o stayRequest
	if err := in.Decode(&o); err != nil {
		return
	}
	a, err := k.obey(ctx, cancel, o, files, in)
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(c).Encode(a)
	if o.Do == "down" {
		k.stop()
	}
}

func (k *keeper) obey(ctx context.Context, gone func(), o stayRequest, files []*os.File, in *json.Decoder) (a stayAnswer, err error) {
	switch o.Do {
	case "info":
		info := k.now()
		a.Info = &info
	case "inject":
		a.Done, err = k.inject(ctx, o.Fault)
	case "mend":
		a.Done, err = k.mend(o.Fault)
	case "exec":
		a.Exit, err = k.exec(ctx, gone, o, files, in)
	case "down":
	default:
		err = fmt.Errorf("this lab does not know the order %q: it runs another version of x0t", o.Do)
	}
	return a, err
}

func (k *keeper) now() Standing {
	k.mu.Lock()
	defer k.mu.Unlock()
	info := k.info
	info.Faults = []string{}
	for _, h := range k.holds {
		info.Faults = append(info.Faults, short(h.Fault))
	}
	return info
}

// inject makes a fault happen now. With "for D" it ends by itself.
func (k *keeper) inject(ctx context.Context, line string) (string, error) {
	f, err := fault.ParseNow(line, k.lab.m.Nodes)
	if err != nil {
		return "", err
	}
	if f.Target.Path && f.Target.A.IsZero() {
		a, b, ok := k.lab.m.farthest(anyPair)
		if !ok {
			return "", fmt.Errorf("map %s has no two nodes with a way between them", k.lab.m.Name)
		}
		f.Target.A, f.Target.B = a, b
	}
	if err := k.lab.resolve(ctx, &f); err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.ContainsFunc(k.holds, func(h hold) bool { return short(h.Fault) == short(f) }) {
		return "", fmt.Errorf("fault %q holds already: x0t lab mend ends it", short(f))
	}
	if err := k.lab.Inject(f); err != nil {
		return "", err
	}
	if f.Kind == fault.Restart {
		return short(f), k.lab.Mend(f) // nothing of it holds
	}
	h := hold{Fault: f}
	if f.For > 0 {
		h.timer = time.AfterFunc(f.For, func() { _, _ = k.mend(short(f)) })
	}
	k.holds = append(k.holds, h)
	return short(f), nil
}

// mend ends a fault that holds, or all of them.
func (k *keeper) mend(line string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ended []string
	for _, h := range slices.Clone(k.holds) {
		if line != "all" && line != short(h.Fault) {
			continue
		}
		if err := k.lab.Mend(h.Fault); err != nil {
			return "", err
		}
		if h.timer != nil {
			h.timer.Stop() // it must not end one that is injected again
		}
		k.holds = slices.DeleteFunc(k.holds, func(o hold) bool { return short(o.Fault) == short(h.Fault) })
		ended = append(ended, short(h.Fault))
	}
	if len(ended) == 0 && line != "all" {
		return "", fmt.Errorf("no fault %q holds: x0t lab status lists those that do", line)
	}
	return fmt.Sprint(len(ended), " ended"), nil
}

// short is a fault without its times.
func short(f Fault) string { return f.Now() }

// exec runs a command on a node with the caller's own descriptors, environment and directory.
func (k *keeper) exec(ctx context.Context, gone func(), o stayRequest, files []*os.File, in *json.Decoder) (int, error) {
	if len(files) != 3 {
		return 1, fmt.Errorf("an exec comes with %d descriptors instead of 3", len(files))
	}
	cmd, err := k.lab.Command(ctx, o.Node, o.Argv...)
	if err != nil {
		return 1, err
	}
	if n := len(cmd.Env); len(o.Env) > 0 {
		cmd.Env = append(slices.Clone(o.Env), cmd.Env[n-nodeEnv:]...)
	}
	cmd.Dir, cmd.Cancel = o.Dir, nil
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	p, err := k.lab.start(o.Node, cmd)
	if err != nil {
		return 127, err
	}
	defer k.lab.forget(p)
	go func() {
		for {
			var more stayRequest
			if err := in.Decode(&more); err != nil {
				gone() // the caller, or its terminal, is gone
				return
			}
			_ = unix.Kill(-p.pid(), syscall.Signal(more.Signal))
		}
	}()
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = unix.Kill(-p.pid(), unix.SIGKILL)
		<-p.done
	}
	p.sweep()
	return exitCode(cmd.ProcessState), nil
}

// exitCode is that of a shell: 128 and the signal for a process that one ended.
func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}
