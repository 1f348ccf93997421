package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrSocketInUse says that another process answers on the API socket.
var ErrSocketInUse = errors.New("another daemon answers on the API socket")

// maxSocketPath is what fits into sun_path with its terminating zero (unix(7)).
const maxSocketPath = 107

// ServerOptions says where the API is served.
type ServerOptions struct {
	Socket  string         // path of the unix socket; must not be empty
	Listen  netip.AddrPort // also serve health, counters and metrics on TCP here; the zero value means no TCP
	Backend Backend
	State   StateBackend  // nil = there is no shared state
	Config  ConfigBackend // nil = the configuration is not told
	Metrics http.Handler  // serves /metrics on both; nil = nobody does
	Log     *slog.Logger  // nil = nothing is logged
}

// Server holds the listeners of the API, opened and not yet served.
type Server struct {
	opt  ServerOptions
	unix net.Listener
	tcp  net.Listener // nil = none
}

// Listen opens the listeners. Connections wait until Serve is called.
func Listen(opt ServerOptions) (*Server, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	u, err := listenUnix(opt.Socket)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: opt, unix: u}
	if opt.Listen.IsValid() {
		if s.tcp, err = net.Listen("tcp", opt.Listen.String()); err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("api.listen: %w", err)
		}
	}
	return s, nil
}

// TCPAddr returns where health, counters and metrics are served on TCP, or the zero value.
func (s *Server) TCPAddr() netip.AddrPort {
	if s.tcp == nil {
		return netip.AddrPort{}
	}
	return s.tcp.Addr().(*net.TCPAddr).AddrPort()
}

// Serve answers until ctx ends, then closes the listeners, gives calls in flight a moment, and removes the socket.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	serve := func(l net.Listener, h http.Handler) {
		srv := &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 5 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
			BaseContext:       func(net.Listener) context.Context { return ctx },
		}
		wg.Go(func() {
			<-ctx.Done()
			grace, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer stop()
			if srv.Shutdown(grace) != nil {
				_ = srv.Close()
			}
		})
		wg.Go(func() {
			errs <- srv.Serve(l)
			cancel()
		})
	}
	serve(s.unix, NewHandler(s.opt.Backend, s.opt.State, s.opt.Config, s.opt.Metrics))
	if s.tcp != nil {
		serve(s.tcp, NewPublicHandler(s.opt.Backend, s.opt.Metrics))
	}
	wg.Wait()
	close(errs)
	var failed error
	for err := range errs {
		if !errors.Is(err, http.ErrServerClosed) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// Close gives up listeners that are not served.
func (s *Server) Close() error {
	err := s.unix.Close()
	if s.tcp != nil {
		err = errors.Join(err, s.tcp.Close())
	}
	return err
}

// socketListener removes its own socket when it closes, and no other that took its place.
type socketListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
	once sync.Once
}

func (l *socketListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// listenUnix makes a socket that only this user may open. It is bound in a private directory and moved into place
// when its mode is right: there is no moment at which another user could connect.
func listenUnix(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- users may see that a daemon runs; the socket is 0600
		return nil, fmt.Errorf("API socket: %w", err)
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(dir, ".api")
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	defer os.RemoveAll(tmp)
	birth := filepath.Join(tmp, "s")
	if n := max(len(birth), len(path)); n > maxSocketPath {
		return nil, fmt.Errorf("API socket %s: a unix socket's path has at most %d bytes, this needs %d; choose a shorter one with --socket", path, maxSocketPath, n)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: birth, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	made, err := place(birth, path)
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("API socket: %w", err)
	}
	return &socketListener{UnixListener: l, path: path, made: made}, nil
}

func place(birth, path string) (fs.FileInfo, error) {
	if err := os.Chmod(birth, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(birth, path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// clearStale checks that path can be taken over: that it is free, or a socket on which nobody answers.
func clearStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("API socket: %w", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("API socket %s: something that is not a socket is in its place; move it away or choose another with --socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("%w %s; stop it first or choose another with --socket", ErrSocketInUse, path)
	}
	if !isGone(err) {
		return fmt.Errorf("API socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("API socket: stale one left by a daemon that died: %w", err)
	}
	return nil
}

// loopbackHost reports whether the Host header of a request names this machine's loopback.
func loopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		name = host[1 : len(host)-1]
	}
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.IsLoopback()
}
