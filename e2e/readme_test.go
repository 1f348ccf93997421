package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// readmeSection returns what stands in README.md under a heading.
func readmeSection(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	return section
}

// commands returns the lines of the fenced blocks of a text.
func commands(text string) (lines []string) {
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	return lines
}

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

// The commands of README.md for real machines, exactly as they stand there, make two machines reach each other.
func TestREADME(t *testing.T) {
	need(t, "sh", "ping6")
	section := readmeSection(t, "On real machines")
	lines := commands(section)
	want := []string{
		"x0t init --trust-domain example.mesh --name alpha", "x0t up", "x0t token create --node beta", "x0t join x0t1-…", "x0t up",
	}
	if !slices.Equal(lines, want) {
		t.Fatalf("the commands of README.md are\n%s\nthis test knows how to run\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	alpha, beta := likeReal(t, "alpha"), likeReal(t, "beta")
	if err := plug(alpha, beta, cable{a: "alpha", b: "beta"}, 0); err != nil {
		t.Fatal(err)
	}

	alpha.shell(t, lines[0])
	foreground(t, alpha, lines[1])
	join := alpha.shell(t, lines[2])
	if !regexp.MustCompile(`^x0t join x0t1-[a-z2-7]+\n$`).MatchString(join) {
		t.Fatalf("%s printed %q, not one line with the command to join", lines[2], join)
	}
	beta.shell(t, strings.TrimSpace(join))
	foreground(t, beta, lines[4])

	var peers []api.Peer
	eventually(t, 15*time.Second, "alpha sees beta", func(context.Context) error {
		if err := json.Unmarshal([]byte(alpha.shell(t, "x0t peers --json")), &peers); err != nil {
			return err
		}
		if len(peers) != 1 || len(peers[0].Path) != 2 {
			return fmt.Errorf("its peers are %v", peers)
		}
		return nil
	})
	alpha.shell(t, "ping6 -c 3 -i 0.2 "+peers[0].Address.String())
	readmeTable(t, alpha, section)
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
func readmeTable(t *testing.T, m *machine, section string) {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| `(x0t [^`]+)` \\|").FindAllStringSubmatch(section, -1)
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
