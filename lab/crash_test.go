package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
)

// childEnv makes the test binary play a part in a process of its own.
const childEnv = "X0T_LAB_TEST_CHILD"

func actAsChild() (code int, ok bool) {
	switch os.Getenv(childEnv) {
	case "x0t":
		if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test.") {
			return 0, false // the test itself, which set the variable for the children to come
		}
		if err := fakeX0t(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, true
	case "crash":
		return childCrash(), true
	case "user":
		return childUser(), true
	}
	return 0, false
}

// childCrash builds a lab, prints its directory and the processes that run in it, and waits to be killed.
func childCrash() int {
	l, err := build(Options{Map: mapOf("a-b"), Delay: time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	cmd, err := l.Command(context.Background(), id("a"), "sleep", "1000")
	if err == nil {
		_, err = l.Start(id("a"), cmd)
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println(l.work.dir, cmd.Process.Pid, l.relays[0].pid())
	time.Sleep(time.Hour)
	return 1
}

func TestKilledLabLeavesNothing(t *testing.T) {
	needLab(t)
	temp := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=crash", "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("child said %q: %v", line, err)
	}
	f := strings.Fields(line)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, p := range f[1:] {
		pid, err := strconv.Atoi(p)
		if err != nil {
			t.Fatal(err)
		}
		if !dies(pid) {
			t.Errorf("process %d outlived its lab", pid)
		}
	}
	if _, err := os.Stat(f[0]); err != nil {
		t.Fatalf("%s should be left over: %v", f[0], err)
	}
	alive := filepath.Join(temp, workspacePattern+"foreign")
	if err := os.Mkdir(alive, 0o700); err != nil { // no lock file: not a lab's
		t.Fatal(err)
	}
	removeStale(temp)
	if _, err := os.Stat(f[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was not removed by the next lab: %v", f[0], err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("a directory without a lock was touched: %v", err)
	}
}

// dies reports whether a process is gone, or a zombie that only waits for its new parent, within 5 s.
func dies(pid int) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(b), ") Z ") || syscall.Kill(pid, 0) != nil {
			return true
		}
	}
	return false
}

// childUser enters a user namespace and exchanges packets over a link of each sort.
func childUser() int {
	if code, done, err := Enter(); done {
		if err != nil {
			fmt.Println("enter:", err)
		}
		return code
	}
	m := mapOf("a-b", "b-c")
	m.Links[1].Delay = time.Millisecond
	// By its path, which leads through a directory of root's, another user could not start it.
	l, err := build(Options{Map: m, Delay: NoDelay, Helper: "/proc/self/exe"})
	if err != nil {
		fmt.Println(err)
		if errors.Is(err, ErrNoTUN) || errors.Is(err, ErrNoNamespaces) {
			return 77
		}
		return 1
	}
	defer l.Close()
	for _, w := range l.wires {
		if _, err := l.Exec(context.Background(), w.ends[0].node, "true"); err != nil {
			fmt.Println(err)
			return 1
		}
		p, err := newProber(spacesOf(w))
		if err == nil {
			_, err = reached(p, w.ends[0].node, w.ends[1].node, 5*time.Second)
			p.Close()
		}
		if err == nil && !w.relayed {
			err = loseAll(l, w)
		}
		if err == nil {
			err = l.Inject(Fault{Kind: fault.Blackhole, Target: Target{A: w.ends[0].node, B: w.ends[1].node}})
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("uid", os.Getuid(), "inside", os.Getenv(insideEnv))
	return 0
}

// loseAll has the packet filter drop everything on a veth pair, and checks that it does.
func loseAll(l *Lab, w *wire) error {
	p, err := newProber(spacesOf(w))
	if err != nil {
		return err
	}
	defer p.Close()
	f := Fault{Kind: fault.Loss, Target: Target{A: w.ends[0].node, B: w.ends[1].node}, Param: fault.Param{P: 1}}
	if err := l.Inject(f); err != nil {
		return err
	}
	if _, err := reached(p, w.ends[0].node, w.ends[1].node, 300*time.Millisecond); err == nil {
		return errors.New("a packet passed a link that loses all")
	}
	if e, err := l.Effect(f); err != nil || e.Engine != engineNFT || e.Packets == 0 {
		return fmt.Errorf("effect %+v: %w", e, err)
	}
	if err := l.Mend(f); err != nil {
		return err
	}
	_, err = reached(p, w.ends[0].node, w.ends[1].node, 5*time.Second)
	return err
}

func TestLabInUserNamespace(t *testing.T) {
	if os.Getuid() == 0 {
		t.Run("made by root", func(t *testing.T) { runUserChild(t, nil, true) })
		t.Run("another user", func(t *testing.T) {
			runUserChild(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, false)
		})
		return
	}
	runUserChild(t, nil, false)
}

func runUserChild(t *testing.T, attr *syscall.SysProcAttr, force bool) {
	temp := t.TempDir()
	if attr != nil {
		temp = "/tmp"
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=user", "TMPDIR="+temp)
	if force {
		cmd.Env = append(cmd.Env, ForceUserNamespace+"=1")
	}
	cmd.SysProcAttr, cmd.Dir = attr, "/"
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skipf("no lab in a user namespace here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "uid 0 inside 1") {
		t.Fatalf("%v: %s", err, out)
	}
}
