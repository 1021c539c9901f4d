//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestALinkLeadsToItsOwnersFilesOnly: the user of an account cannot have keys written into another's file.
func TestALinkLeadsToItsOwnersFilesOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make the links of another user")
	}
	const user = 12345
	for _, of := range []string{"authorized_keys", ".ssh"} {
		dir := t.TempDir()
		home, other := filepath.Join(dir, "home"), filepath.Join(dir, "other")
		if err := errors.Join(os.Mkdir(home, 0o700), os.Mkdir(other, 0o700)); err != nil {
			t.Fatal(err)
		}
		theirs := filepath.Join(other, "authorized_keys")
		link, target, path := filepath.Join(home, of), theirs, filepath.Join(home, of)
		if of == ".ssh" {
			target, path = other, filepath.Join(link, "authorized_keys")
		}
		if err := errors.Join(os.Symlink(target, link), os.Lchown(link, user, user),
			os.Chown(home, user, user)); err != nil {
			t.Fatal(err)
		}
		p, a := newPlatform(t, path), current(path, alice, "x")
		for _, there := range []bool{false, true} {
			if there {
				write(t, theirs, bob+"\n")
			}
			if err := one(p, t.Context(), path, jit.Ensure, a); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s, there %t: %v, want a refusal", of, there, err)
			}
		}
		if got := string(read(t, theirs)); got != bob+"\n" {
			t.Errorf("%s: the other file holds %q", of, got)
		}
		if err := errors.Join(os.Chown(theirs, user, user), os.Chown(other, user, user)); err != nil {
			t.Fatal(err)
		}
		if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
			t.Errorf("%s, of the same owner: %v", of, err)
		}
	}
}

func TestFind(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	if err := errors.Join(os.MkdirAll(in("a", "b"), 0o700), os.Symlink("a/b", in("rel")),
		os.Symlink(in("a"), in("abs")),
		os.Symlink("../../rel/../file", in("a", "b", "up")), os.Symlink("loop", in("loop")),
		os.Symlink("new/file", in("a", "dangling")),
		os.Symlink("b/new", in("a", "promise")), os.Symlink("..", in("a", "b", "parent"))); err != nil {
		t.Fatal(err)
	}
	write(t, in("a", "file"), "")
	for path, want := range map[string]string{
		in("a", "file"):        in("a", "file"),
		in("rel"):              in("a", "b"),
		in("abs", "file"):      in("a", "file"),
		in("rel", "up"):        in("a", "file"),
		in("abs", "b", "none"): in("a", "b", "none"),
		in("abs", "promise"):   in("a", "b", "new"),

		in("rel", "parent", "none"): in("a", "none"),
	} {
		at, err := find(path)
		if err != nil {
			t.Errorf("find(%q): %v", path, err)
			continue
		}
		if at.path != want {
			t.Errorf("find(%q) is %q, want %q", path, at.path, want)
		}
		at.close()
	}
	for path, want := range map[string]error{
		in("abs", "dangling"):    fs.ErrNotExist,
		in("x", "y", "z"):        fs.ErrNotExist,
		in("a", "file", "under"): unix.ENOTDIR,
	} {
		if at, err := find(path); !errors.Is(err, want) {
			t.Errorf("find(%q) = %v, %v; want %v", path, at, err, want)
		}
	}
	if at, err := find(in("loop")); err == nil {
		t.Errorf("a link to itself leads to %q", at.path)
	}
}

// TestNoLinkIsOpened: somebody puts a link there after the check.
func TestNoLinkIsOpened(t *testing.T) {
	dir := t.TempDir()
	file, sub := filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "sub")
	write(t, file, bob+"\n")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	at, err := find(file)
	if err != nil {
		t.Fatal(err)
	}
	defer at.close()
	if err := errors.Join(os.Rename(file, file+".mine"), os.Symlink("authorized_keys.mine", file),
		os.Rename(sub, sub+".mine"), os.Symlink("sub.mine", sub)); err != nil {
		t.Fatal(err)
	}
	if c, err := at.read(t.Context()); !errors.Is(err, errMeanwhile) {
		t.Errorf("read over a link: %q, %v", c.data, err)
	}
	if err := (&walk{dir: at.dir, at: dir}).enter(at.fd(), "sub", sub); !errors.Is(err, errMeanwhile) {
		t.Errorf("entered over a link: %v", err)
	}
}

// TestDirectoriesThatOthersCanChange: a user who can put another directory or a link on the way could divert us.
func TestDirectoriesThatOthersCanChange(t *testing.T) {
	path, _ := homes(t)
	home := filepath.Dir(filepath.Dir(path))
	p, a := newPlatform(t, path), current(path, alice, "x")
	tests := []struct {
		name   string
		change func() error
		ok     bool
	}{
		{"the group may write", func() error { return os.Chmod(home, 0o775) }, false},
		{"everyone may write, to their own", func() error { return os.Chmod(home, 0o777|fs.ModeSticky) }, true},
		{"a link of the account to its own directory", func() error {
			return errors.Join(os.Chmod(home, 0o755), os.Rename(filepath.Dir(path), filepath.Join(home, "keys")),
				os.Symlink("keys", filepath.Dir(path)))
		}, true},
		{"a link where everyone may write", func() error { return os.Chmod(home, 0o777|fs.ModeSticky) }, false},
		{"a home of another user", func() error {
			return errors.Join(os.Chmod(home, 0o755),
				os.Chown(home, stranger, stranger))
		}, false},
		{"a link of root's to the account", func() error { return os.Chown(home, 0, 0) }, true},
	}
	for _, tt := range tests {
		if err := tt.change(); err != nil {
			t.Fatal(err)
		}
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			if err := one(p, t.Context(), path, op, a); tt.ok && err != nil || !tt.ok &&
				!errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s, %s: %v", tt.name, op, err)
			}
		}
	}
}
