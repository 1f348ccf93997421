package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// Times of a lab that stays.
const (
	answerTime = 30 * time.Second // for everything but commands
	endTime    = 60 * time.Second // for a lab to end in order
)

// Remote is a lab that stays, seen from another process.
type Remote struct{ runtime, name string }

// Find returns a lab that stays. "" is the only one there is.
func Find(name string) (*Remote, error) {
	runtime := RuntimeDir()
	if name != "" {
		if _, err := look(runtime, name); err != nil {
			return nil, fmt.Errorf("%w; x0t lab list shows those that there are", err)
		}
		return &Remote{runtime, name}, nil
	}
	labs, err := Labs(runtime)
	if err != nil {
		return nil, err
	}
	switch len(labs) {
	case 0:
		return nil, fmt.Errorf("%w: none runs; start one with x0t lab up TOPOLOGY", ErrNoLab)
	case 1:
		return &Remote{runtime, labs[0].Name}, nil
	}
	var names []string
	for _, l := range labs {
		names = append(names, l.Name)
	}
	return nil, fmt.Errorf("several labs run (%s): say which with --name", strings.Join(names, ", "))
}

// Name is what the lab is called.
func (r *Remote) Name() string { return r.name }

// Info asks the lab how it is.
func (r *Remote) Info(ctx context.Context) (Standing, error) {
	a, err := r.ask(ctx, stayRequest{Do: "info"})
	if err != nil {
		return Standing{}, err
	}
	if a.Info == nil {
		return Standing{}, errors.New("the lab answered without saying what it is")
	}
	return *a.Info, nil
}

// Inject makes a fault happen now: KIND TARGET [PARAM] [for D]. It returns the fault as it was resolved.
func (r *Remote) Inject(ctx context.Context, line string) (string, error) {
	a, err := r.ask(ctx, stayRequest{Do: "inject", Fault: line})
	return a.Done, err
}

// Mend ends a fault, or all with "all".
func (r *Remote) Mend(ctx context.Context, line string) (string, error) {
	a, err := r.ask(ctx, stayRequest{Do: "mend", Fault: line})
	return a.Done, err
}

func (r *Remote) ask(ctx context.Context, o stayRequest) (stayAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := r.dial(nil)
	if err != nil {
		return stayAnswer{}, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	if err := json.NewEncoder(c).Encode(o); err != nil {
		return stayAnswer{}, fmt.Errorf("lab %s: %w", r.name, err)
	}
	return r.hear(c)
}

func (r *Remote) hear(c *net.UnixConn) (a stayAnswer, err error) {
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		return a, fmt.Errorf("lab %s did not answer: %w", r.name, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// dial connects and hands over descriptors.
func (r *Remote) dial(files []*os.File) (*net.UnixConn, error) {
	at := filepath.Join(r.runtime, r.name, socketFile)
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("lab %s does not answer (%w): it is starting, or its process is gone; x0t lab down --name %s removes it", r.name, err, r.name)
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd())) // #nosec G115 -- descriptors are small
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := c.WriteMsgUnix([]byte{'\n'}, oob, nil); err != nil {
		c.Close()
		return nil, fmt.Errorf("lab %s: %w", r.name, err)
	}
	return c, nil
}

// Exec runs a command in a node's network and returns its exit code. files are its standard input, output and error;
// what comes through signals is passed on to it. It ends with ctx.
func (r *Remote) Exec(ctx context.Context, node mesh.NodeID, argv []string, files [3]*os.File, signals <-chan os.Signal) (int, error) {
	c, err := r.dial(files[:])
	if err != nil {
		return 1, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	dir, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	enc := json.NewEncoder(c)
	if err := enc.Encode(stayRequest{Do: "exec", Node: node, Argv: argv, Env: os.Environ(), Dir: dir}); err != nil {
		return 1, fmt.Errorf("lab %s: %w", r.name, err)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				if n, ok := s.(syscall.Signal); ok {
					_ = enc.Encode(stayRequest{Signal: int(n)})
				}
			case <-done:
				return
			}
		}
	}()
	a, err := r.hear(c)
	return a.Exit, err
}

// Down takes the lab down and returns when everything is gone. One whose process died, or does not obey, is removed all
// the same.
func (r *Remote) Down(ctx context.Context) error {
	s, err := look(r.runtime, r.name)
	if err != nil {
		return err
	}
	if s.Alive {
		if _, err := r.ask(ctx, stayRequest{Do: "down"}); err != nil && s.PID > 0 {
			_ = syscall.Kill(s.PID, syscall.SIGTERM) // it is starting, or stuck
		}
		if err := r.awaitEnd(ctx, s.PID); err != nil {
			return err
		}
	}
	// Whoever has the lock may remove the directory; namespaces and processes went with the lab's process.
	p, err := takePost(r.runtime, r.name)
	if err != nil {
		return err
	}
	removeStale(os.TempDir())
	return p.leave()
}

// awaitEnd returns when the lab's process has let go of its lock; after endTime it is killed.
func (r *Remote) awaitEnd(ctx context.Context, pid int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(endTime)
	defer patience.Stop()
	for {
		if s, err := look(r.runtime, r.name); err != nil || !s.Alive {
			return nil
		}
		select {
		case <-tick.C:
		case <-patience.C:
			if pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			patience.Reset(endTime)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receiveFiles reads the byte that opens a connection and the descriptors with it.
func receiveFiles(c *net.UnixConn) ([]*os.File, error) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := c.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed")) // #nosec G115 -- descriptors are small
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// limited is a reader that fails after so many bytes.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("an order of more than %d bytes", maxOrder)
	}
	n, err := l.r.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}
