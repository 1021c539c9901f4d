//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

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

// TestAnUnusableLock: an object in the place of the lock neither stops a change nor is changed.
func TestAnUnusableLock(t *testing.T) {
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
