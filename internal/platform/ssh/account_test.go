//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// account is the user whose file it is, and stranger somebody else.
const account, stranger = 12345, 54321

// homes makes the directory of the account, with a file, and one of a stranger, with another.
func homes(t *testing.T) (path, theirs string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can write for another account")
	}
	dir := openDir(t)
	path, theirs = filepath.Join(dir, "home", ".ssh", "authorized_keys"), filepath.Join(dir, "other", "authorized_keys")
	for file, user := range map[string]int{path: account, theirs: stranger} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, file, bob+"\n")
		if err := errors.Join(os.Chown(file, user, user), os.Chown(filepath.Dir(file), user, user)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "home"), account, account); err != nil {
		t.Fatal(err)
	}
	return path, theirs
}

// untouched asserts that the directory of the stranger is as it was.
func untouched(t *testing.T, theirs string) {
	t.Helper()
	onlyFiles(t, filepath.Dir(theirs), "authorized_keys")
	if got := string(read(t, theirs)); got != bob+"\n" {
		t.Errorf("the stranger's file holds\n%s", got)
	}
	for _, f := range []string{theirs, filepath.Dir(theirs)} {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != stranger {
			t.Errorf("%s belongs to %d", f, uid)
		}
	}
}

// TestAnAccountLeadsNoWriteAstray takes about a tenth of a second for each operation: the account keeps the lock, and
// puts a link to a stranger's directory in place of its own while we wait.
func TestAnAccountLeadsNoWriteAstray(t *testing.T) {
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		path, theirs := homes(t)
		p, a := newPlatform(t, path), current(path, alice, "x")
		cmd := spawn(t, "swap", path, 0)
		runAs(t, cmd, account)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); err != nil || line != "held\n" {
			t.Fatalf("the account has not got the lock: %q, %v", line, err)
		}
		if op == jit.Remove { // there is something to remove in both files
			write(t, path, bob+"\n"+render(a.Marker, alice, role{})+"\n")
		}
		done := make(chan error, 1)
		go func() { done <- one(p, t.Context(), path, op, a) }()
		time.Sleep(100 * time.Millisecond)
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want a refusal", op, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the account: %v", err)
		}
		untouched(t, theirs)
	}
}

// TestTheNextAttemptIsAsStrict: the account swaps its directory after the file was read, or its file for a stranger's.
func TestTheNextAttemptIsAsStrict(t *testing.T) {
	for name, swap := range map[string]func(path, theirs string) error{
		"a link to the directory": func(path, theirs string) error {
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+".mine"), os.Symlink(filepath.Dir(theirs), dir))
		},
		"a link to the file": func(path, theirs string) error {
			return errors.Join(os.Remove(path), os.Symlink(theirs, path))
		},
		"a link to the directory, once more": func(path, theirs string) error {
			return errors.Join(os.Remove(path), os.Symlink("away", path), os.Symlink(filepath.Dir(theirs), filepath.Join(filepath.Dir(path), "away")))
		},
		"a hard link": func(path, theirs string) error {
			return errors.Join(os.Remove(path), os.Link(theirs, path))
		},
	} {
		path, theirs := homes(t)
		p, a, swapped := newPlatform(t, path), current(path, alice, "x"), false
		p.OnCall = func(op string) {
			if op == "write" && !swapped {
				swapped = true
				if err := swap(path, theirs); err != nil {
					t.Error(err)
				}
			}
		}
		if err := one(p, t.Context(), path, jit.Ensure, a); err == nil {
			t.Errorf("%s: the grant was made", name)
		}
		untouched(t, theirs)
	}
}

// TestAChangeArrivesWhereThePathLeads: the account puts another directory of its own in the way, which sshd reads from
// then on.
func TestAChangeArrivesWhereThePathLeads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".ssh")
	path := filepath.Join(dir, "authorized_keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p, a := newPlatform(t, path), current(path, alice, "x")
	line := render(a.Marker, alice, role{}) + "\n"
	write(t, path, line)
	swaps := 0
	p.OnCall = func(op string) {
		if swaps++; op == "write" && swaps < 4 {
			if err := errors.Join(os.Rename(dir, dir+".mine"+strings.Repeat("x", swaps)), os.Mkdir(dir, 0o700)); err != nil {
				t.Error(err)
			}
			write(t, path, line+line)
		}
	}
	if err := one(p, t.Context(), path, jit.Remove, a); err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, path)); got != "" {
		t.Errorf("the grant was removed, and the file holds\n%s", got)
	}
}

// TestAHeldLockDelaysNoChange: any login of the account can take the lock.
func TestAHeldLockDelaysNoChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	write(t, path, bob+"\n")
	f, err := os.OpenFile(path+".jit.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	p, a := newPlatform(t, path), current(path, alice, "x")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	if err := one(p, ctx, path, jit.Ensure, a); !errors.Is(err, ctx.Err()) || err == nil {
		t.Errorf("with the lock taken: %v, want the error of the context", err)
	}
	cancel()
	if got := string(read(t, path)); got != bob+"\n" {
		t.Errorf("the file holds %q", got)
	}
	p.patience = 20 * time.Millisecond
	var warnings []string
	p.warn = func(text string) { warnings = append(warnings, text) }
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		if err := one(p, t.Context(), path, op, a); err != nil {
			t.Errorf("%s with the lock taken: %v", op, err)
		}
		p.patience = time.Hour // the next one does not wait again
		if got := strings.Contains(string(read(t, path)), a.Marker.String()); got != (op == jit.Ensure) {
			t.Errorf("after %s the line is there: %t", op, got)
		}
		if len(warnings) != 1 {
			t.Errorf("%s: the warnings are %q", op, warnings)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil || len(warnings) != 1 {
		t.Errorf("with the lock free again: %v, warnings %q", err, warnings)
	}
	onlyFiles(t, filepath.Dir(path), "authorized_keys", "authorized_keys.jit.lock")
}

// TestALockThatIsNone: what the account puts in its place neither stops a change, nor is it changed itself.
func TestALockThatIsNone(t *testing.T) {
	for name, put := range map[string]func(lock, victim string) error{
		"a pipe":      func(lock, _ string) error { return unix.Mkfifo(lock, 0o600) },
		"a directory": func(lock, _ string) error { return os.Mkdir(lock, 0o700) },
		"a link":      func(lock, victim string) error { return os.Symlink(victim, lock) },
		"a hard link": func(lock, victim string) error { return os.Link(victim, lock) },
		"a stranger's": func(lock, _ string) error {
			if os.Geteuid() != 0 {
				return unix.Mkfifo(lock, 0o600)
			}
			return errors.Join(os.WriteFile(lock, nil, 0o600), os.Chown(lock, stranger, stranger))
		},
	} {
		dir := t.TempDir()
		home, victim := filepath.Join(dir, "home"), filepath.Join(dir, "victim")
		path := filepath.Join(home, "authorized_keys")
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, victim, "kept")
		if os.Geteuid() == 0 {
			if err := os.Chown(home, account, account); err != nil {
				t.Fatal(err)
			}
		}
		if err := put(path+".jit.lock", victim); err != nil {
			t.Fatal(err)
		}
		p, a, warned := newPlatform(t, path), current(path, alice, "x"), 0
		p.warn = func(string) { warned++ }
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			if err := one(p, t.Context(), path, op, a); err != nil {
				t.Errorf("%s, %s: %v", name, op, err)
			}
		}
		if got := string(read(t, path)); got != "" || warned != 1 {
			t.Errorf("%s: the file holds %q, %d warnings", name, got, warned)
		}
		info, err := os.Stat(victim)
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || string(read(t, victim)) != "kept" {
			t.Errorf("%s: the other file was changed: %v, %v", name, info, err)
		}
	}
}

// TestAFileOfAStrangerIsRefused: it lies in the account's directory.
func TestAFileOfAStrangerIsRefused(t *testing.T) {
	path, _ := homes(t)
	if err := os.Chown(path, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	p, a := newPlatform(t, path), current(path, alice, "x")
	if _, err := p.Read(t.Context(), path); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Read: %v", err)
	}
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		if err := one(p, t.Context(), path, op, a); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", op, err)
		}
	}
	if err := os.Chown(path, 0, 0); err != nil { // root may put a file there, and keeps it
		t.Fatal(err)
	}
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || owner(info) != 0 {
		t.Errorf("root's file is %v, %v", info, err)
	}
}

// TestAFileWithTwoNames: replacing it would part the two, so nothing is granted; taking access away comes first.
func TestAFileWithTwoNames(t *testing.T) {
	dir := t.TempDir()
	path, second := filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "second")
	p, a, b := newPlatform(t, path), current(path, alice, "x"), current(path, alice, "y")
	write(t, path, bob+"\n")
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, second); err != nil {
		t.Fatal(err)
	}
	errs := p.Apply(t.Context(), path, []jit.Change{{Op: jit.Ensure, Access: b}, {Op: jit.Remove, Access: a}})
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "several names") || errs[1] != nil {
		t.Errorf("with two names: %v", errs)
	}
	if got := string(read(t, path)); got != bob+"\n" {
		t.Errorf("the file holds\n%s", got)
	}
	if got := string(read(t, second)); !strings.Contains(got, a.Marker.String()) {
		t.Errorf("the second name holds\n%s", got)
	}
}

// TestAnEndlessFile: the account makes its file as large as it likes, which costs it nothing.
func TestAnEndlessFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	write(t, path, bob+"\n")
	if err := os.Truncate(path, 20<<30); err != nil {
		t.Skip(err)
	}
	p, a := newPlatform(t, path), current(path, alice, "x")
	var user *jit.Error
	if _, err := p.Read(t.Context(), path); !errors.As(err, &user) || !strings.Contains(user.Problem, "4 MiB") {
		t.Errorf("Read: %v", err)
	}
	for op, limit := range map[jit.Op]string{jit.Ensure: "4 MiB", jit.Remove: "256 MiB"} {
		if err := one(p, t.Context(), path, op, a); !errors.As(err, &user) || !strings.Contains(user.Problem, limit) {
			t.Errorf("%s: %v", op, err)
		}
	}
	write(t, path, strings.Repeat("\n", maxLines+1))
	if _, err := p.Read(t.Context(), path); !errors.As(err, &user) || !strings.Contains(user.Problem, "40000 lines") {
		t.Errorf("Read of too many lines: %v", err)
	}
	// A file just below the limit is not brought over it: it could not be read again.
	write(t, path, strings.Repeat("#", maxSize-1)+"\n")
	if err := one(p, t.Context(), path, jit.Ensure, a); !errors.As(err, &user) || !strings.Contains(user.Problem, "4 MiB") {
		t.Errorf("a line too much: %v", err)
	}
	if _, err := p.Read(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// TestWhereNothingIsLeft: an empty directory, as of a file system that is away, says nothing about a grant
// that is recorded there.
func TestWhereNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "authorized_keys")
	p, a := newPlatform(t, path), current(path, alice, "x")
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(filepath.Dir(dir), "away")
	if err := errors.Join(os.Rename(dir, away), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	held := func(op jit.Op, a jit.Access) error {
		return newPlatform(t, path).Apply(t.Context(), path, []jit.Change{{Op: op, Access: a, Held: true}})[0]
	}
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		if err := held(op, a); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "cannot be looked at") {
			t.Errorf("%s with everything gone: %v", op, err)
		}
	}
	onlyFiles(t, dir)
	if err := one(newPlatform(t, path), t.Context(), path, jit.Remove, a); err != nil {
		t.Errorf("Remove of what was never confirmed: %v", err)
	}
	past := a
	past.Marker.Window = jit.Window{Start: a.Marker.Window.Start.Add(-2 * time.Hour), End: a.Marker.Window.Start.Add(-time.Hour)}
	if err := held(jit.Remove, past); err != nil {
		t.Errorf("Remove of what sshd has ended: %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), held(jit.Remove, a)); err != nil {
		t.Errorf("Remove with the file deleted, and only that: %v", err)
	}
}

// TestWhatIsInTheWayOfTheNewFile: the account may have put it there.
func TestWhatIsInTheWayOfTheNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	if err := os.Mkdir(filepath.Join(filepath.Dir(path), ".authorized_keys.jit-new"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, a := newPlatform(t, path), current(path, alice, "x")
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		if err := one(p, t.Context(), path, op, a); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	onlyFiles(t, filepath.Dir(path), ".authorized_keys.jit-new", "authorized_keys", "authorized_keys.jit.lock")
}

// TestEachCauseHasItsHint: "make room" is no advice for a file that is mounted.
func TestEachCauseHasItsHint(t *testing.T) {
	at := &place{path: "/home/deploy/.ssh/authorized_keys"}
	for err, want := range map[error]string{
		unix.EBUSY:  "mount its directory /home/deploy/.ssh",
		unix.EROFS:  "read-only",
		unix.ENOSPC: "make room",
		unix.EDQUOT: "quota",
		unix.EFBIG:  "ulimit",
		unix.EIO:    "run again",
	} {
		var user *jit.Error
		if got := at.cannotWrite(&fs.PathError{Op: "x", Path: "y", Err: err}); !errors.As(got, &user) || !errors.Is(got, err) || !strings.Contains(user.Hint, want) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
