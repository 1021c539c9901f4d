package ssh

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// privateMounts lets the test mount file systems that nobody else sees, and returns an empty directory.
func privateMounts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	runtime.LockOSThread() // the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("only root can mount: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skipf("only root can mount: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Skipf("only root can mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// refusedWith asserts the cause and the hint of an error.
func refusedWith(t *testing.T, err error, cause error, hint string) {
	t.Helper()
	var user *jit.Error
	if !errors.As(err, &user) || !errors.Is(err, cause) || !strings.Contains(user.Hint, hint) {
		t.Errorf("got %v, want %v and the hint %q", err, cause, hint)
	}
}

func TestAFileThatIsMountedByItself(t *testing.T) {
	dir := privateMounts(t)
	path, source := filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "source")
	write(t, path, "")
	write(t, source, bob+"\n")
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, one(newPlatform(t, path), t.Context(), path, jit.Ensure, current(path, alice, "x")), unix.EBUSY,
		"mount its directory")
	if got := string(read(t, path)); got != bob+"\n" {
		t.Errorf("the file holds %q", got)
	}
	onlyFiles(t, dir, "authorized_keys", "authorized_keys.jit.lock", "source")
}

func TestAFileSystemThatIsFullOrReadOnly(t *testing.T) {
	dir := privateMounts(t)
	path := filepath.Join(dir, "authorized_keys")
	p, a := newPlatform(t, path), current(path, alice, "x")
	write(t, path, bob+"\n")
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	if err := fill.Close(); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, one(p, t.Context(), path, jit.Ensure, a), unix.ENOSPC, "make room")
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, one(p, t.Context(), path, jit.Remove, a), unix.EROFS, "read-only")
	if _, err := newPlatform(t, path).Read(t.Context(), path); err != nil {
		t.Errorf("a file that can only be read: %v", err)
	}
}

// TestAFileSystemThatIsAway: recorded access is not forgotten, and is there once the file system is back.
func TestAFileSystemThatIsAway(t *testing.T) {
	base := privateMounts(t)
	for _, below := range []string{"", "keys"} {
		mount := filepath.Join(base, "home"+below)
		path := filepath.Join(mount, below, "authorized_keys")
		disk := filepath.Join(base, "disk"+below)
		if err := errors.Join(os.Mkdir(mount, 0o755), os.MkdirAll(filepath.Join(disk, below), 0o755),
			unix.Mount(disk, mount, "", unix.MS_BIND, "")); err != nil {
			t.Fatal(err)
		}
		p, a := newPlatform(t, path), current(path, alice, "x")
		if err := one(p, t.Context(), path, jit.Ensure, a); err != nil {
			t.Fatal(err)
		}
		if err := unix.Unmount(mount, 0); err != nil {
			t.Fatal(err)
		}
		for name, p := range map[string]*Platform{"the same process": p, "another process": newPlatform(t, path)} {
			for _, op := range []jit.Op{jit.Remove, jit.Ensure} {
				if err := p.Apply(t.Context(), path, []jit.Change{{Op: op, Access: a, Held: true}})[0]; !errors.Is(err,
					fs.ErrNotExist) || !strings.Contains(err.Error(), "mount its file system") {
					t.Errorf("%s, %s: %v", name, op, err)
				}
			}
		}
		onlyFiles(t, mount)
		if err := unix.Mount(disk, mount, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(t.Context(), path, []jit.Change{{Op: jit.Remove, Access: a, Held: true}})[0]; err != nil {
			t.Errorf("with the file system back: %v", err)
		}
		if got := string(read(t, path)); got != "" {
			t.Errorf("the file holds %q", got)
		}
	}
}
