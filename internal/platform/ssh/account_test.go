//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"bufio"
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

// account is the owner of the file, and stranger another user.
const account, stranger = 12345, 54321

// homes makes the directory of the account and that of a stranger, each with a file.
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

// untouched asserts that the directory of the stranger has not changed.
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

// TestAnAccountDivertsNoWrite takes about a tenth of a second for each operation: the account holds the lock, and puts
// a link to a stranger's directory in place of its own while we wait.
func TestAnAccountDivertsNoWrite(t *testing.T) {
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
			t.Fatalf("the account does not hold the lock: %q, %v", line, err)
		}
		if op == jit.Remove { // a line to remove
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

// TestTheNextAttemptIsAsStrict: after the read the account replaces its directory, or its file with a stranger's.
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
			return errors.Join(os.Remove(path), os.Symlink("away", path),
				os.Symlink(filepath.Dir(theirs), filepath.Join(filepath.Dir(path), "away")))
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

// TestAChangeArrivesWhereThePathLeads: the account replaces its directory with another one of its own, which sshd then
// reads.
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
			if err := errors.Join(os.Rename(dir, dir+".mine"+strings.Repeat("x", swaps)),
				os.Mkdir(dir, 0o700)); err != nil {
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

// TestAFileOfAStrangerIsRefused: the file is in the account's directory.
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

// TestAFileWithTwoNames: a replacement would separate the two, so nothing is granted; revoking works.
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

// TestAnEndlessFile: the account can make its file of any size at no cost.
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
	// A change does not raise a file above the limit, where it could not be read again.
	write(t, path, strings.Repeat("#", maxSize-1)+"\n")
	if err := one(p, t.Context(), path, jit.Ensure, a); !errors.As(err, &user) ||
		!strings.Contains(user.Problem, "4 MiB") {
		t.Errorf("a line too much: %v", err)
	}
	if _, err := p.Read(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// TestAnEmptyDirectory: an empty directory, as of a file system that is away, does not prove that a recorded grant is
// gone.
func TestAnEmptyDirectory(t *testing.T) {
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
		if err := held(op, a); !errors.Is(err, fs.ErrNotExist) ||
			!strings.Contains(err.Error(), "cannot be looked at") {
			t.Errorf("%s with everything gone: %v", op, err)
		}
	}
	onlyFiles(t, dir)
	if err := one(newPlatform(t, path), t.Context(), path, jit.Remove, a); err != nil {
		t.Errorf("Remove of an unconfirmed grant: %v", err)
	}
	past := a
	past.Marker.Window = jit.Window{Start: a.Marker.Window.Start.Add(-2 * time.Hour),
		End: a.Marker.Window.Start.Add(-time.Hour)}
	if err := held(jit.Remove, past); err != nil {
		t.Errorf("Remove of a grant that sshd has ended: %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), held(jit.Remove, a)); err != nil {
		t.Errorf("Remove with only the file deleted: %v", err)
	}
}

// TestAnObstacleToTheNewFile: the account may have put it there.
func TestAnObstacleToTheNewFile(t *testing.T) {
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
		if got := at.cannotWrite(&fs.PathError{Op: "x", Path: "y", Err: err}); !errors.As(got, &user) ||
			!errors.Is(got, err) || !strings.Contains(user.Hint, want) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
