//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const child = "JIT_SSH_CHILD"

func TestMain(m *testing.M) {
	task := strings.Fields(os.Getenv(child))
	if len(task) != 3 {
		os.Exit(m.Run())
	}
	if err := beChild(task[0], task[1], task[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func beChild(task, path, number string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := New(Config{AuthorizedKeys: path}, jit.Services{Now: time.Now})
	if err != nil {
		return err
	}
	p.patience = time.Minute // each of many writers gets its turn
	switch task {
	case "write": // several writers at once; each keeps one grant and drops another
		var wg sync.WaitGroup
		errs := make([]error, 10)
		for i := range errs {
			wg.Go(func() {
				stays, goes := current(path, alice, number+" stays "+strconv.Itoa(i)),
					current(path, bob, number+" goes "+strconv.Itoa(i))
				errs[i] = errors.Join(p.Apply(ctx, path,
					[]jit.Change{{Op: jit.Ensure, Access: stays}, {Op: jit.Ensure, Access: goes}})...)
				errs[i] = errors.Join(errs[i],
					errors.Join(p.Apply(ctx, path, []jit.Change{{Op: jit.Remove, Access: goes}})...))
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	case "hold", "swap":
		return keepLock(path, task == "swap")
	case "limit": // no file of ours may grow beyond the number of bytes
		limit, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return err
		}
		signal.Ignore(syscall.SIGXFSZ)
		bound := unix.Rlimit{Cur: limit, Max: limit}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &bound); err != nil {
			return err
		}
	}
	return errors.Join(p.Apply(ctx, path, []jit.Change{{Op: jit.Ensure, Access: current(path, alice, "child")}})...)
}

func spawn(t *testing.T, task, path string, number int) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", child, task, path, number))
	return cmd
}

// keepLock is the account that holds the lock of its file until its standard input ends. With swap it then replaces
// its directory by a link to the directory "other".
func keepLock(path string, swap bool) error {
	f, err := os.OpenFile(path+".jit.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	fmt.Println("held")
	if _, err := io.ReadAll(os.Stdin); err != nil || !swap {
		return err
	}
	dir := filepath.Dir(path)
	return errors.Join(os.Rename(dir, dir+".mine"),
		os.Symlink(filepath.Join(filepath.Dir(filepath.Dir(dir)), "other"), dir))
}

// openDir makes a directory that every user may search, unlike t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jit-ssh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Chmod(dir, 0o700), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runAs lets another user run the command, with a copy of the binary that they may run.
func runAs(t *testing.T, cmd *exec.Cmd, user uint32) {
	t.Helper()
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = filepath.Join(openDir(t), "child")
	if err := errors.Join(os.WriteFile(cmd.Path, binary, 0o555), os.Chmod(cmd.Path, 0o555)); err != nil {
		t.Fatal(err)
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
}

func TestFiftyWritersInSeveralProcesses(t *testing.T) {
	const processes, writers = 5, 10
	path := filepath.Join(t.TempDir(), "authorized_keys")
	write(t, path, foreignHead+bob)
	var wg sync.WaitGroup
	for number := range processes {
		cmd := spawn(t, "write", path, number)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", number, err, out)
			}
		})
	}
	wg.Wait()
	p := newPlatform(t, path)
	s, err := p.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[jit.ID]int{}
	for _, o := range s.Ours {
		found[o.Marker.ID]++
	}
	var all []jit.Change
	for number := range processes {
		for i := range writers {
			a := current(path, alice, fmt.Sprintf("%d stays %d", number, i))
			if found[a.Marker.ID] != 1 {
				t.Errorf("grant %d of process %d has %d lines", i, number, found[a.Marker.ID])
			}
			all = append(all, jit.Change{Op: jit.Remove, Access: a})
		}
	}
	if len(s.Ours) != processes*writers {
		t.Errorf("%d grants, want %d", len(s.Ours), processes*writers)
	}
	if err := errors.Join(p.Apply(t.Context(), path, all)...); err != nil {
		t.Error(err)
	}
	if got := string(read(t, path)); got != foreignHead+bob {
		t.Errorf("the file is %q, was %q", got, foreignHead+bob)
	}
	onlyFiles(t, filepath.Dir(path), "authorized_keys", "authorized_keys.jit.lock")
}

func TestAFullDiskChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	content := strings.Repeat(bob+"\n", 100)
	write(t, path, content)
	out, err := spawn(t, "limit", path, len(content)-1000).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), "cannot write") ||
		!strings.Contains(string(out), "file too large") {
		t.Errorf("the write without room ended with %v\n%s", err, out)
	}
	if got := string(read(t, path)); got != content {
		t.Errorf("the file has %d bytes, had %d", len(got), len(content))
	}
	onlyFiles(t, filepath.Dir(path), "authorized_keys", "authorized_keys.jit.lock")
	if out, err := spawn(t, "limit", path, len(content)+1000).CombinedOutput(); err != nil {
		t.Errorf("the write with room: %v\n%s", err, out)
	}
}

func TestWithoutPermissionNothingChanges(t *testing.T) {
	dir := openDir(t)
	path := filepath.Join(dir, "authorized_keys")
	write(t, path, bob+"\n")
	if err := errors.Join(os.Chmod(path, 0o444), os.Chmod(dir, 0o555)); err != nil {
		t.Fatal(err)
	}
	cmd := spawn(t, "ensure", path, 0)
	if os.Geteuid() == 0 {
		runAs(t, cmd, 12345) // root may do everything
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), "cannot write") ||
		!strings.Contains(string(out), "run as the owner") {
		t.Errorf("the write without permission ended with %v\n%s", err, out)
	}
	if got := string(read(t, path)); got != bob+"\n" {
		t.Errorf("the file holds %q", got)
	}
}
