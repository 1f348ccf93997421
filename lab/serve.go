package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"x0tta6bl4/mesh"
)

// serveMain is the demo's file server: it says "ready" when it listens and then serves until it is ended.
func serveMain() error {
	at, file := os.Getenv("X0T_LAB_LISTEN"), os.Getenv("X0T_LAB_FILE")
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, file) // #nosec G703 -- the one file that the lab itself named
		}),
	}
	return srv.Serve(ln)
}

// serve starts a file server on a node and returns when it listens.
func (l *Lab) serve(id mesh.NodeID, at, file string) error {
	cmd := exec.Command(l.opt.Helper) // #nosec G204 -- this same program
	cmd.Env = append(os.Environ(), helperEnv+"=serve", "X0T_LAB_LISTEN="+at, "X0T_LAB_FILE="+file)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	_, err = l.Start(id, cmd)
	in.Close()
	if err != nil {
		return err
	}
	if err := out.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	said := make([]byte, 512)
	n, err := out.Read(said)
	if err != nil || string(said[:n]) != "ready\n" {
		return fmt.Errorf("file server on %s at %s said %q: %w", id, at, said[:n], errors.Join(err, context.DeadlineExceeded))
	}
	return nil
}
