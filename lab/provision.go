package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"x0tta6bl4/mesh"
)

// How provisioning goes: nodes join this many at a time, a join that fails is tried again with a new token.
const (
	joinsAtOnce  = 4
	joinAttempts = 5
	joinWait     = "40s"            // a way of links that lose much takes a few tries
	joinPause    = time.Second      // before the second attempt; longer before each further one
	settleTime   = 30 * time.Second // for a daemon to come up, or a few to agree
	meshPort     = "7420"
)

// provision makes the first node of the map the authority of a new domain and lets every other node join through a
// neighbour that is a member already. At the end all daemons run.
func (l *Lab) provision(ctx context.Context) error {
	for _, id := range l.m.Nodes {
		if err := l.writeConfig(id); err != nil {
			return err
		}
	}
	first := l.m.Nodes[0]
	l.say("%s becomes the authority of %s", first, l.opt.TrustDomain)
	if _, err := l.Exec(ctx, first, "x0t", "init", "--trust-domain", l.opt.TrustDomain, "--name", first.String()); err != nil {
		return err
	}
	if err := l.startDaemon(first); err != nil {
		return err
	}
	members := []mesh.NodeID{first}
	levels, parent := l.m.levels()
	for _, level := range levels[1:] {
		if err := l.await(ctx, members, l.strangers); err != nil {
			return err
		}
		l.say("%s join", names(level))
		if err := l.joinAll(ctx, level, parent); err != nil {
			return err
		}
		members = append(members, level...)
	}
	return l.await(ctx, members, l.strangers)
}

func (l *Lab) joinAll(ctx context.Context, level []mesh.NodeID, parent map[mesh.NodeID]mesh.NodeID) error {
	errs := make([]error, len(level))
	slots := make(chan struct{}, joinsAtOnce)
	var wg sync.WaitGroup
	for i, id := range level {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = l.join(ctx, id, parent[id]); errs[i] == nil {
				errs[i] = l.startDaemon(id)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// join provisions one node through its neighbour via.
func (l *Lab) join(ctx context.Context, id, via mesh.NodeID) error {
	addr, _ := l.Addr(via, id)
	var last error
	for try := range joinAttempts {
		if try > 0 {
			l.say("%s could not join through %s, again with a new token: %s", id, via, firstLine(last))
			if err := sleep(ctx, time.Duration(try)*joinPause); err != nil {
				return errors.Join(last, err)
			}
		}
		out, err := l.Exec(ctx, l.m.Nodes[0], "x0t", "token", "create", "--node", id.String(), "--json")
		if err != nil {
			return err
		}
		var t struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal(out, &t); err != nil || t.Token == "" {
			return fmt.Errorf("x0t token create --json did not print a token: %q", out)
		}
		_, last = l.Exec(ctx, id, "x0t", "join", "--via", net.JoinHostPort(addr, meshPort), "--wait", joinWait, t.Token)
		if last != nil { // a token is no matter for logs, be it a lab's
			last = fmt.Errorf("%s", strings.ReplaceAll(last.Error(), t.Token, "TOKEN"))
		}
		if last == nil || ctx.Err() != nil {
			return last
		}
		if err := os.RemoveAll(l.nodes[id].state()); err != nil {
			return err
		}
	}
	return last
}

// writeConfig writes the configuration that an operator of the node would: its name and the addresses of its
// neighbours.
func (l *Lab) writeConfig(id mesh.NodeID) error {
	n := l.nodes[id]
	var b strings.Builder
	fmt.Fprintf(&b, "node:\n  name: %s\n", id)
	if l.opt.TTL > 0 {
		fmt.Fprintf(&b, "identity:\n  ttl: %s\n", l.opt.TTL)
	}
	var peers []string
	for _, w := range l.wires {
		if here, there := w.at(id); here.node == id {
			peers = append(peers, fmt.Sprintf("%q", net.JoinHostPort(there.addr.Addr().String(), meshPort)))
		}
	}
	fmt.Fprintf(&b, "links:\n  neighbours: [%s]\n", strings.Join(peers, ", "))
	if l.opt.Hello > 0 {
		fmt.Fprintf(&b, "  hello: %s\n", l.opt.Hello)
	}
	b.WriteString("dns: {mode: off}\n") // the nodes share this machine's /etc, which is not theirs to change
	b.WriteString(l.opt.Config)
	return os.WriteFile(n.config(), []byte(b.String()), 0o600)
}

// startDaemon starts x0t up on a node.
func (l *Lab) startDaemon(id mesh.NodeID) error {
	n, err := l.node(id)
	if err != nil {
		return err
	}
	cmd, err := l.Command(context.Background(), id, "x0t", "up")
	if err != nil {
		return err
	}
	cmd.Cancel = nil
	cmd.Env = append(cmd.Env, clockEnv+"="+n.clock())
	return n.start(cmd)
}

func (n *node) start(cmd *exec.Cmd) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.daemon != nil {
		if ended, _ := n.daemon.ended(); !ended {
			return fmt.Errorf("the daemon of %s runs already", n.id)
		}
	}
	log, err := os.OpenFile(n.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	n.daemon, err = startProcess("x0t up", n.space, cmd)
	return err
}

// running returns the node's daemon, nil if none runs.
func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.daemon == nil {
		return nil
	}
	if ended, _ := n.daemon.ended(); ended {
		return nil
	}
	return n.daemon
}

func (n *node) stop() {
	if p := n.running(); p != nil {
		p.stop()
	}
}

// signal sends a signal to the node's daemon.
func (n *node) signal(sig syscall.Signal) error {
	p := n.running()
	if p == nil {
		return fmt.Errorf("no daemon runs on %s", n.id)
	}
	return p.signal(sig)
}

// launch stops all daemons, starts them again at once and waits until they agree: nothing is warm.
func (l *Lab) launch(ctx context.Context) error {
	l.say("all nodes start at once")
	var wg sync.WaitGroup
	for _, id := range l.m.Nodes {
		wg.Go(l.nodes[id].stop)
	}
	wg.Wait()
	began := time.Now()
	l.record.begin()
	if err := l.startAll(ctx); err != nil {
		return err
	}
	if err := l.settle(ctx, l.m.Nodes); err != nil {
		return err
	}
	if err := l.await(ctx, l.m.Nodes, l.pathless); err != nil {
		return err
	}
	l.Converged = time.Since(began)
	l.record.note(time.Now(), "converged", "all nodes hold the same topology and every link is up")
	l.say("converged in %d ms", l.Converged.Milliseconds())
	return nil
}

// How many daemons start at the same time on one processor, and how long after those the next ones do: the handshakes of
// sixty daemons at once would keep two processors busy for longer than a handshake waits.
const (
	startsPerCPU = 20
	startGap     = time.Second
)

// startAll starts all daemons: at once, or where that is too many for the machine in groups.
func (l *Lab) startAll(ctx context.Context) error {
	for i, id := range l.m.Nodes {
		if i > 0 && i%(startsPerCPU*runtime.NumCPU()) == 0 {
			l.say("%d of %d nodes were started", i, len(l.m.Nodes))
			if err := sleep(ctx, startGap); err != nil {
				return err
			}
		}
		if err := l.startDaemon(id); err != nil {
			return err
		}
	}
	return nil
}

// sleep returns after d, or with the error of ctx when that ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// explain adds the end of the log of every daemon that ended without being told to.
func (l *Lab) explain(err error) error {
	var b bytes.Buffer
	for _, id := range l.m.Nodes {
		n := l.nodes[id]
		n.mu.Lock()
		p := n.daemon
		n.mu.Unlock()
		if p == nil {
			continue
		}
		if ended, wanted := p.ended(); !ended || wanted {
			continue
		}
		log, _ := os.ReadFile(n.logPath)
		fmt.Fprintf(&b, "\nthe daemon of %s ended (%v); the end of its log:\n%s", id, p.err, tail(log, 15))
	}
	if b.Len() == 0 {
		return err
	}
	return fmt.Errorf("%w%s", err, b.String())
}

func names(ids []mesh.NodeID) string {
	var s []string
	for _, id := range ids {
		s = append(s, id.String())
	}
	return strings.Join(s, ", ")
}
