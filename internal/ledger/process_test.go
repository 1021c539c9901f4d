//go:build unix

package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// The test binary runs itself as other processes that share a ledger. This variable holds such a process's task.
const envTask = "LEDGER_TEST_TASK"

func TestMain(m *testing.M) {
	if task := os.Getenv(envTask); task != "" {
		if err := work(strings.Fields(task)); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// work is the other process. "write URL FIRST COUNT" writes grants one by one and prints a line after each. "small URL"
// does the same until the file may not grow further. "migrate URL VERSION" migrates, prints a line before the step to that
// version, and never takes it.
func work(task []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	l, err := ledger.Open(ctx, ledger.Config{URL: task[1]})
	if err != nil {
		return err
	}
	first, count := 0, 100_000
	switch task[0] {
	case "migrate":
		return l.Migrate(ctx, func(version int) {
			if fmt.Sprint(version) == task[2] {
				fmt.Println("began", version)
				<-ctx.Done()
			}
		})
	case "write":
		if first, err = strconv.Atoi(task[2]); err != nil {
			return err
		}
		if count, err = strconv.Atoi(task[3]); err != nil {
			return err
		}
	case "small":
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 1_000_000, Max: 1_000_000}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
	}
	for n := first; n < first+count; n++ {
		if err := l.Write(ctx, []jit.Entry{ledgertest.Entry(ledgertest.Grant(n))})[0]; err != nil {
			return err
		}
		fmt.Println("written", n)
	}
	return l.Close()
}

// process starts the test binary for a task. The process ends with the test.
func process(t *testing.T, task string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), envTask+"="+task)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // the test judges the output instead
	})
	return cmd, bufio.NewScanner(out)
}

func TestTenProcesses(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const processes, each = 10, 20
		var outputs []*bufio.Scanner
		for p := range processes {
			_, out := process(t, fmt.Sprintf("write %s %d %d", url, p*each, each))
			outputs = append(outputs, out)
		}
		written := 0
		for _, out := range outputs {
			for out.Scan() {
				if !strings.HasPrefix(out.Text(), "written") {
					t.Error(out.Text())
				}
				written++
			}
		}
		if written != processes*each {
			t.Errorf("%d writes, want %d", written, processes*each)
		}
		r := verify(t, open(t, url))
		if !r.OK() || r.Events != processes*each {
			t.Errorf("%d events, want %d, %v", r.Events, processes*each, r.Damage)
		}
	})
}

func TestKilledWhileWriting(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		for round := range 5 {
			cmd, out := process(t, fmt.Sprintf("write %s %d 100000", url, round*100_000))
			told := 0
			for told < 10+round*7 && out.Scan() {
				told++
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			last := ""
			for out.Scan() {
				last = out.Text()
			}
			if strings.HasPrefix(last, "error") || told == 0 {
				t.Fatalf("the other process wrote %d and then: %s", told, last)
			}
			r := verify(t, l)
			if !r.OK() || r.Events < int64(told) {
				t.Fatalf("round %d: %d events, %d reported as written, %v", round, r.Events, told, r.Damage)
			}
			id := ledgertest.Grant(round*100_000 + told - 1).ID
			if _, ok, err := l.Lookup(t.Context(), id); !ok || err != nil {
				t.Fatalf("round %d: the last grant reported as written: found %v, %v", round, ok, err)
			}
		}
		write(t, l, ledgertest.Entry(ledgertest.Grant(-1)))
		if r := verify(t, l); !r.OK() {
			t.Errorf("%v", r.Damage)
		}
	})
}

func TestNoRoomLeft(t *testing.T) {
	url := sqliteURL(t)
	_, out := process(t, "small "+url)
	written, last := 0, ""
	for out.Scan() {
		if last = out.Text(); strings.HasPrefix(last, "written") {
			written++
		}
	}
	if written == 0 || !strings.Contains(last, "disk") || !strings.Contains(last, "room") {
		t.Errorf("after %d writes: %q, want an error about a full disk", written, last)
	}
	l := open(t, url)
	if r := verify(t, l); !r.OK() || r.Events != int64(written) {
		t.Errorf("%d events, want %d, %v", r.Events, written, r.Damage)
	}
	write(t, l, ledgertest.Entry(ledgertest.Grant(-1)))
}

// TestReadOnly switches to another user if it runs as root, who may write everywhere.
func TestReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	l := open(t, "sqlite://"+dir+"/sub/ledger.db")
	for use, err := range uses(t, l) {
		if use != "Write" {
			if err != nil {
				t.Errorf("%s of an absent ledger: %v", use, err)
			}
			continue
		}
		told(t, use, err, dir, "permission denied")
	}

	dir = t.TempDir()
	path := dir + "/ledger.db"
	before := open(t, "sqlite://"+path)
	write(t, before, ledgertest.Entry(ledgertest.Grant(1)))
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{path: 0o400, dir: 0o500} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	err := open(t, "sqlite://"+path).Write(t.Context(), []jit.Entry{ledgertest.Entry(ledgertest.Grant(2))})[0]
	told(t, "Write", err, "the file cannot be opened", "directory")
}

// asNobody runs the calling test in a process of an unprivileged user.
func asNobody(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "jit-ledger")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(dir+"/test", binary, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, dir+"/test", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// A process that is killed between two steps of a migration leaves a ledger that others migrate on, whole.
func TestKilledWhileMigrating(t *testing.T) {
	const from = 16
	for version := from + 1; version <= ledger.Schemas(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			url := sqliteURL(t)
			old := open(t, url)
			old.KnowUpTo(from)
			if err := old.Migrate(t.Context(), func(int) {}); err != nil {
				t.Fatal(err)
			}
			g := ledgertest.Grant(1)
			g.Version = 1
			if err := old.RecordAsBefore(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			victim, out := process(t, fmt.Sprintf("migrate %s %d", url, version))
			if !out.Scan() || out.Text() != fmt.Sprint("began ", version) {
				t.Fatalf("the process says %q", out.Text())
			}
			if err := victim.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for out.Scan() { // until it is dead
			}
			l := open(t, url)
			if m, err := l.Migration(t.Context()); err != nil || m.From != version-1 || m.To != ledger.Schemas() {
				t.Errorf("left to do: %+v, %v", m, err)
			}
			if got, ok, err := l.Lookup(t.Context(), g.ID); err != nil || !ok || !got.End.Equal(g.End) {
				t.Errorf("before the migration: %+v, %v, %v", got, ok, err)
			}
			q := jit.DueQuery{Now: g.End, Holder: "a", Lease: time.Minute, Limit: 10}
			if due, err := l.AcquireDue(t.Context(), q); err != nil || len(due) != 1 || due[0].ID != g.ID {
				t.Errorf("due after the migration: %v, %v", due, err)
			}
			if err := writeGrant(t, l, 2); err != nil {
				t.Error(err)
			}
		})
	}
}

// killedAt lets a process write grants from 100 on and kills it at the creation of an object: before the server does
// it, or after that and before the process learns of it.
func killedAt(t *testing.T, url string, s *buckettest.Server, key string, done bool) {
	t.Helper()
	var victim *exec.Cmd
	armed := make(chan struct{})
	s.Decide(func(operation, of string) buckettest.Fault {
		if operation != "create" || of != key || s.Object(key) != nil {
			return buckettest.Fault{}
		}
		<-armed
		kill := func() { _ = victim.Process.Kill() }
		if done {
			return buckettest.Fault{Lose: true, Then: kill}
		}
		kill()
		return buckettest.Fault{Drop: true}
	})
	var out *bufio.Scanner
	victim, out = process(t, fmt.Sprintf("write %s 100 1000", url))
	close(armed)
	for out.Scan() { // until it is killed
	}
	s.Decide(nil)
	if got := s.Object(key) != nil; got != done {
		t.Fatalf("killed at %s with %v in the bucket", key, s.Keys())
	}
}

// A process that is killed at any step of a commit loses nothing and holds nobody up: neither what the log has and the
// copy has not, nor what neither has.
func TestKilledWhileWritingToABucket(t *testing.T) {
	for _, at := range []struct {
		key    string
		grants int // that the log has when the object is created
	}{{keyIn("_all", 1), 0}, {keyIn("_shared", 1), 0}, {objectKey(1), 1}, {objectKey(2), 2}, {objectKey(4), 4}} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s done %t", at.key, done), func(t *testing.T) {
				url, s := bucketURL(t)
				killedAt(t, url, s, at.key, done)
				left := at.grants
				if !done && left > 0 {
					left--
				}
				l := open(t, url) // with the copy of the process
				for n := range 2 {
					if err := writeGrant(t, l, n); err != nil {
						t.Fatal(err)
					}
				}
				for where, l := range map[string]*ledger.Ledger{"here": l, "elsewhere": onMachine(t, url)} {
					if r := verify(t, l); !r.OK() || r.Events != int64(left)+2 {
						t.Errorf("%s: %d events, want %d and 2; %v", where, r.Events, left, r.Damage)
					}
				}
			})
		}
	}
}

// Processes of one machine share the copy of a bucket.
func TestProcessesShareABucket(t *testing.T) {
	url, _ := bucketURL(t)
	const processes, each = 4, 5
	var outputs []*bufio.Scanner
	for p := range processes {
		_, out := process(t, fmt.Sprintf("write %s %d %d", url, p*each, each))
		outputs = append(outputs, out)
	}
	written := 0
	for _, out := range outputs {
		for out.Scan() {
			if !strings.HasPrefix(out.Text(), "written") {
				t.Error(out.Text())
			}
			written++
		}
	}
	if r := verify(t, open(t, url)); written != processes*each || !r.OK() || r.Events != processes*each {
		t.Errorf("%d writes and %d events, want %d, %v", written, r.Events, processes*each, r.Damage)
	}
}
