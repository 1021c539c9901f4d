//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// current is a grant of login for an hour from now.
func current(path, key, why string) jit.Access {
	b := jit.Binding{Target: "host", Principal: key, Role: "login", Scope: path}
	start := jit.Second(time.Now())
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "jit", ID: jit.NewID("jit", b, why, 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
}

func newPlatform(t *testing.T, path string) *Platform {
	t.Helper()
	p, err := New(Config{AuthorizedKeys: path}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func one(p *Platform, ctx context.Context, path string, op jit.Op, a jit.Access) error {
	return p.Apply(ctx, path, []jit.Change{{Op: op, Access: a}})[0]
}

// onlyFiles asserts what is in the directory: nothing temporary is left.
func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func TestAFileIsMadeForTheFirstGrantOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "authorized_keys")
	p, a := newPlatform(t, path), current(path, alice, "first")
	if err := one(p, t.Context(), path, jit.Remove, a); err != nil {
		t.Errorf("Remove without a file: %v", err)
	}
	if s, err := p.Read(t.Context(), path); err != nil || len(s.Ours) != 0 {
		t.Errorf("Read without a file: %+v, %v", s, err)
	}
	onlyFiles(t, dir)
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", info.Mode(), err)
	}
	onlyFiles(t, dir, "authorized_keys", "authorized_keys.jit.lock")
}

func TestTheDirectoryMustExist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "authorized_keys")
	p, a := newPlatform(t, path), current(path, alice, "first")
	err := one(p, t.Context(), path, jit.Ensure, a)
	var user *jit.Error
	if !errors.As(err, &user) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(user.Hint, "make the directory") {
		t.Errorf("Ensure without the directory: %v", err)
	}
	if err := one(p, t.Context(), path, jit.Remove, a); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "cannot be looked at") {
		t.Errorf("Remove without the directory: %v, want an error", err)
	}
	if _, err := p.Read(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read without the directory: %v, want an error", err)
	}
}

func TestOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe} {
		p, a := newPlatform(t, path), current(path, alice, "x")
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			var user *jit.Error
			if err := one(p, t.Context(), path, op, a); !errors.As(err, &user) ||
				!strings.Contains(user.Problem, "not a regular file") {
				t.Errorf("%s on %s: %v", op, path, err)
			}
		}
		if _, err := p.Read(t.Context(), path); err == nil {
			t.Errorf("Read of %s succeeded", path)
		}
	}
}

func TestOwnerModeAndLinksStay(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real", "keys")
	if err := os.Mkdir(filepath.Dir(real), 0o700); err != nil {
		t.Fatal(err)
	}
	link, second := filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "second")
	if err := errors.Join(os.Symlink("real/keys", second), os.Symlink(second, link)); err != nil {
		t.Fatal(err)
	}
	p, a := newPlatform(t, link), current(link, alice, "x")
	// The first Ensure makes the file that the links lead to.
	for _, content := range []string{"", bob + "\n"} {
		wantUID, wantMode := os.Getuid(), fs.FileMode(0o600)
		if content != "" {
			write(t, real, content)
			wantMode = 0o640
			if err := os.Chmod(real, wantMode); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 {
				wantUID = 12345
				if err := os.Chown(real, wantUID, 54321); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := one(p, t.Context(), link, jit.Ensure, a); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(real)
		if err != nil {
			t.Fatal(err)
		}
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != wantUID || info.Mode() != wantMode {
			t.Errorf("the file belongs to %d with mode %s, want %d and %s", uid, info.Mode(), wantUID, wantMode)
		}
		if !bytes.HasPrefix(read(t, real), []byte(content)) ||
			!bytes.Contains(read(t, real), []byte(a.Marker.String())) {
			t.Errorf("the file holds %q", read(t, real))
		}
		for _, l := range []string{link, second} {
			if info, err := os.Lstat(l); err != nil || info.Mode().Type() != fs.ModeSymlink {
				t.Errorf("%s is no longer a link: %v, %v", l, info.Mode(), err)
			}
		}
	}
}

// TestANewFileBelongsToTheAccount: sshd reads it as the account, so root must not own it.
func TestANewFileBelongsToTheAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can write for another account")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "authorized_keys")
	if err := one(newPlatform(t, path), t.Context(), path, jit.Ensure, current(path, alice, "x")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{path, path + ".jit.lock"} {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 54321 {
			t.Errorf("%s belongs to %d:%d, want the owner of the directory", f, s.Uid, s.Gid)
		}
	}
}

func TestNothingToChangeWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	write(t, path, bob)
	p, a := newPlatform(t, path), current(path, alice, "x")
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	p.OnCall = func(op string) {
		if op == "write" {
			t.Error("a write was made")
		}
	}
	for _, err := range p.Apply(t.Context(), path,
		[]jit.Change{{Op: jit.Ensure, Access: a}, {Op: jit.Remove, Access: current(path, bob, "absent")}}) {
		if err != nil {
			t.Error(err)
		}
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) ||
		!after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the file was replaced: %v, %v", after, err)
	}
}

// TestAnEditorWithoutTheLockLosesNothing: the editor writes between our read and our rename.
func TestAnEditorWithoutTheLockLosesNothing(t *testing.T) {
	for name, edit := range map[string]func(path string) error{
		"in place": func(path string) error { return os.WriteFile(path, []byte("# theirs\n"+bob+"\n"), 0o600) },
		"by renaming": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("# theirs\n"+bob+"\n"), 0o600),
				os.Rename(path+".new", path))
		},
		"by deleting": os.Remove,
	} {
		path := filepath.Join(t.TempDir(), "authorized_keys")
		write(t, path, bob+"\n")
		p, a := newPlatform(t, path), current(path, alice, "x")
		edits := 0
		p.OnCall = func(op string) {
			if op == "write" && edits < 3 {
				edits++
				if err := edit(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if edits > 1 { // another change each time
					write(t, path, string(read(t, path))+"# edit "+strconv.Itoa(edits)+"\n")
				}
			}
		}
		if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := string(read(t, path))
		if !strings.Contains(got, "# edit 3\n") || strings.Count(got, a.Marker.String()) != 1 {
			t.Errorf("%s: the file holds\n%s", name, got)
		}
		onlyFiles(t, filepath.Dir(path), "authorized_keys", "authorized_keys.jit.lock")
	}
}

// TestAnEditorWhoNeverStops: the edit gives up without a write.
func TestAnEditorWhoNeverStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	p, edits := newPlatform(t, path), 0
	p.OnCall = func(op string) {
		if op == "write" {
			edits++
			write(t, path, "# edit "+strconv.Itoa(edits)+"\n")
		}
	}
	if err := one(p, t.Context(), path, jit.Ensure, current(path, alice, "x")); !errors.Is(err, errMeanwhile) {
		t.Errorf("got %v, want %v", err, errMeanwhile)
	}
	if got, want := string(read(t, path)), fmt.Sprintf("# edit %d\n", attempts); got != want {
		t.Errorf("the file holds %q, want %q", got, want)
	}
	onlyFiles(t, filepath.Dir(path), "authorized_keys", "authorized_keys.jit.lock")
}

// TestEnsureNeedsAWindowThatHasBegun: a line gives access from the moment it is written.
func TestEnsureNeedsAWindowThatHasBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	p := newPlatform(t, path)
	now := jit.Second(time.Now())
	for name, w := range map[string]jit.Window{
		"ahead":    {Start: now.Add(time.Hour), End: now.Add(2 * time.Hour)},
		"no end":   {Start: now},
		"empty":    {Start: now, End: now},
		"backward": {Start: now, End: now.Add(-time.Hour)},
	} {
		a := current(path, alice, name)
		a.Marker.Window = w
		if err := one(p, t.Context(), path, jit.Ensure, a); err == nil {
			t.Errorf("%s: the grant was made", name)
		}
	}
	if got := read(t, path); len(got) > 0 {
		t.Errorf("the file holds %q", got)
	}
}

// TestTouchingTheFileStopsNoRevocation: any login of the account can set the time of its file, or its mode.
func TestTouchingTheFileStopsNoRevocation(t *testing.T) {
	for name, touch := range map[string]func(path string, n int) error{
		"time": func(path string, n int) error {
			return os.Chtimes(path, time.Time{}, time.Unix(int64(n), 0))
		},
		"mode": func(path string, n int) error { return os.Chmod(path, os.FileMode(0o600+n%2*0o044)) },
	} {
		path := filepath.Join(t.TempDir(), "authorized_keys")
		p, a, n := newPlatform(t, path), current(path, alice, "x"), 0
		write(t, path, bob+"\n"+render(a.Marker, alice, role{})+"\n")
		p.OnCall = func(op string) {
			if op != "write" {
				return
			}
			n++
			if err := touch(path, n); err != nil {
				t.Error(err)
			}
		}
		if err := one(p, t.Context(), path, jit.Remove, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := string(read(t, path)); got != bob+"\n" {
			t.Errorf("%s: the file holds\n%s", name, got)
		}
	}
}
