package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// likeReal makes a machine on which x0t is installed and finds its default places empty and private.
func likeReal(t *testing.T, name string) *machine {
	t.Helper()
	m := machineIn(t, name)
	m.env = nil
	mounts := []string{"/var/lib", "/run"}
	if _, err := os.Stat("/etc/x0t"); err == nil {
		mounts = append(mounts, "/etc/x0t")
	}
	if err := m.do(func() error {
		for _, dir := range mounts {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
				return fmt.Errorf("tmpfs over %s: %w", dir, err)
			}
		}
		return unix.Mount(bin, "/usr/local/bin", "", unix.MS_BIND, "")
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

// shell is a command line as a user types it.
func (m *machine) shell(t *testing.T, line string) string {
	t.Helper()
	return m.must(t, "sh", "-c", line)
}

// The commands of README.md, exactly as they stand there: those for real machines make two of them reach each other,
// those for the desk are run on one.
func TestREADME(t *testing.T) {
	need(t, "sh", "ping6", "make")
	p, d := readPage(t, "README.md"), newDesk(t)
	alpha, beta := likeReal(t, "alpha"), likeReal(t, "beta")
	if err := plug(alpha, beta, cable{a: "alpha", b: "beta"}, 0); err != nil {
		t.Fatal(err)
	}
	join := ""
	p.follow(t, map[string][]step{
		"See it": {
			makes("make demo", "x0t lab demo"), // lab: TestDemo runs it
			makes("make test", "scripts/test"), // of which this is a part
		},
		"On real machines": {
			{"x0t init --trust-domain example.mesh --name alpha", func(t *testing.T, line string) { alpha.shell(t, line) }},
			{"x0t up", func(t *testing.T, line string) { foreground(t, alpha, line) }},
			{"x0t token create --node beta", func(t *testing.T, line string) {
				if join = alpha.shell(t, line); !regexp.MustCompile(`^x0t join x0t1-[a-z2-7]+\n$`).MatchString(join) {
					t.Fatalf("%s printed %q, not one line with the command to join", line, join)
				}
			}},
			{"x0t join x0t1-…", func(t *testing.T, _ string) { beta.shell(t, strings.TrimSpace(join)) }},
			{"x0t up", func(t *testing.T, line string) {
				foreground(t, beta, line)
				reachable(t, alpha)
			}},
			{"ping6 -c 3 beta.example.mesh", func(t *testing.T, line string) {
				eventually(t, 20*time.Second, "know the name", func(ctx context.Context) error {
					r, err := alpha.try(ctx, "getent", "hosts", "beta.example.mesh")
					if err == nil && r.code != 0 {
						err = fmt.Errorf("%s", r)
					}
					return err
				})
				alpha.shell(t, line)
				readmeTable(t, alpha, p.text)
			}},
		},
		"A mesh on your desk": {
			d.on("x0t lab run grid:3x3 --faults builtin:cut", "pairs reachable  72 of 72"),
			d.on("x0t lab up geo:12:1", "lab lab (geo:12:1): up, 12 nodes"),
			d.on("x0t lab exec n1 -- x0t peers", "n12"),
			d.on("x0t lab down", "lab lab is down"),
			d.on("x0t sim --nodes 200 --seed 7", "invariants  hold"),
		},
	})
}

// makes is a line that would do for hours what other tests do for minutes; that it leads there is checked.
func makes(line, program string) step {
	return step{line, func(t *testing.T, line string) {
		target := strings.TrimPrefix(line, "make ")
		out, err := exec.Command("make", "--dry-run", "-C", "..", target).CombinedOutput() // #nosec G204 -- a target of ours
		if err != nil || !strings.Contains(string(out), program) {
			t.Errorf("%s does not run %s: %v\n%s", line, program, err, out)
		}
	}}
}

// reachable waits until the only other member is one hop away, and pings it.
func reachable(t *testing.T, m *machine) {
	t.Helper()
	var peers []api.Peer
	eventually(t, 15*time.Second, "see the other", func(context.Context) error {
		if err := json.Unmarshal([]byte(m.shell(t, "x0t peers --json")), &peers); err != nil {
			return err
		}
		if len(peers) != 1 || len(peers[0].Path) != 2 {
			return fmt.Errorf("its peers are %v", peers)
		}
		return nil
	})
	m.shell(t, "ping6 -c 3 -i 0.2 "+peers[0].Address.String())
}

// foreground runs a command line that does not end in a shell of its own, as a user does in another window, and
// waits until the daemon answers.
func foreground(t *testing.T, m *machine, line string) {
	t.Helper()
	log, err := os.OpenFile(m.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := m.command(context.Background(), "sh", "-c", line)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := m.start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, syscall.SIGINT) // Ctrl-C, which the shell and the daemon both get
		<-p.done
	})
	eventually(t, 15*time.Second, line, func(ctx context.Context) error {
		r, err := m.try(ctx, "x0t", "status")
		if err == nil && r.code != 0 {
			err = fmt.Errorf("x0t status: %s", r)
		}
		return err
	})
}

// readmeTable runs every command of the table "to see", plain and with --json.
func readmeTable(t *testing.T, m *machine, text string) {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| `(x0t [^`]+)` \\|").FindAllStringSubmatch(text, -1)
	if len(rows) < 8 {
		t.Fatalf("the table has %d commands", len(rows))
	}
	beta, err := mesh.ParseNodeID("beta")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		line := strings.ReplaceAll(row[1], "NODE", beta.String())
		m.shell(t, line)
		for doc := range strings.Lines(m.shell(t, line+" --json")) {
			if !json.Valid([]byte(doc)) {
				t.Errorf("%s --json prints %q", line, doc)
			}
		}
	}
	if s := m.shell(t, "x0t status"); !strings.Contains(s, "policy") || !strings.Contains(s, "none") {
		t.Errorf("x0t status does not say policy: none:\n%s", s)
	}
}
