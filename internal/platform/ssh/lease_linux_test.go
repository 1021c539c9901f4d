package ssh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lease takes a lease on the file, as its owner may.
func lease(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := setLease(f, unix.F_WRLCK); err != nil {
		t.Skipf("no leases here: %v", err)
	}
	return f
}

func setLease(f *os.File, kind int) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind)
	return err
}

// TestALeaseOnTheLockDelaysNoChange: with a lease, opening the lock would wait.
func TestALeaseOnTheLockDelaysNoChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	p, a, warned := newPlatform(t, path), current(path, alice, "x"), 0
	p.warn = func(string) { warned++ }
	write(t, path, bob+"\n")
	write(t, path+".jit.lock", "")
	lease(t, path+".jit.lock")
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		if err := one(p, t.Context(), path, op, a); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	if got := string(read(t, path)); got != bob+"\n" || warned != 1 {
		t.Errorf("the file holds %q, %d warnings", got, warned)
	}
}

// TestALeaseOnTheKeysIsWaitedFor: the account gives it up at the last moment and tries to take it again at once.
func TestALeaseOnTheKeysIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	a := current(path, alice, "x")
	write(t, path, bob+"\n"+render(a.Marker, alice, role{})+"\n")
	held := lease(t, path)
	stop, done := make(chan struct{}), make(chan struct{})
	defer func() { close(stop); <-done }()
	go func() {
		defer close(done)
		time.Sleep(300 * time.Millisecond)
		for {
			if err := setLease(held, unix.F_UNLCK); err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Error(err)
			}
			_ = setLease(held, unix.F_WRLCK)
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := one(newPlatform(t, path), ctx, path, jit.Remove, a); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with the lease taken: %v, want the error of the context", err)
	}
	if err := one(newPlatform(t, path), t.Context(), path, jit.Remove, a); err != nil {
		t.Error(err)
	}
	if got := string(read(t, path)); strings.Contains(got, a.Marker.String()) {
		t.Errorf("the line is still there:\n%s", got)
	}
}
