//go:build linux

package lifetest_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// smallDisk mounts a disk of a size such as "64k" and returns its directory. It needs root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill writes a file until the disk is full, and returns its path.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for {
		if _, err := f.Write(make([]byte, 512)); errors.Is(err, syscall.ENOSPC) {
			return f.Name()
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// The place cannot be written. The file stays unchanged, the error says what to do, and the next run continues.
func TestUnwritableHost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		// close makes the directory unwritable and returns a function that undoes it.
		close func(t *testing.T, dir string) (open func())
		says  []string
	}{
		{
			"full disk",
			func(t *testing.T, dir string) func() {
				full := fill(t, dir)
				return func() {
					if err := os.Remove(full); err != nil {
						t.Fatal(err)
					}
				}
			},
			[]string{"no space left on device", "nothing was changed; make room on the file system"},
		},
		{
			"read-only directory",
			func(t *testing.T, dir string) func() {
				remount := func(flags uintptr) {
					if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
						t.Fatal(err)
					}
				}
				remount(syscall.MS_RDONLY)
				return func() { remount(0) }
			},
			[]string{"read-only file system", "nothing was changed"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, "64k")
			h := hostIn(t, dir)
			s := newSite(t, testenv.Terraforms(t)[0], h, released)
			foreign := s.foreign(t)
			first := s.dump(t)
			s.configure(s.grant("a"))

			open := tc.close(t, dir)
			r := s.Run("apply", "-auto-approve")
			if r.ExitCode != 1 {
				t.Errorf("apply: exit code %d, want 1\n%s", r.ExitCode, r.Text())
			}
			saysFolded(t, r, append(tc.says, h.file, "jit_grant.a")...)
			same(t, first, s.dump(t), "the failed apply wrote")
			s.may(false, "after the failed apply")
			open()
			s.Apply()
			s.may(true, "after the next apply")

			live := s.dump(t)
			open = tc.close(t, dir)
			r = s.Run("destroy", "-auto-approve")
			if r.ExitCode != 1 {
				t.Errorf("destroy: exit code %d, want 1\n%s", r.ExitCode, r.Text())
			}
			saysFolded(t, r, append(tc.says, h.file)...)
			same(t, live, s.dump(t), "the failed destroy wrote")
			if r := s.jit(nil, "sweep"); r.ExitCode != 1 {
				t.Errorf("sweep: exit code %d, want 1, because the revocation fails\n%s", r.ExitCode,
					r.Text())
			}
			open()
			s.Must("destroy", "-auto-approve")
			s.may(false, "after the next destroy")
			s.gone(foreign, "after the next destroy")
			says(t, s.mustJit("audit", "verify"), "intact")
		})
	}
}

// The disk of the ledger is full. Access still ends, and the end is recorded once there is room again.
func TestFaultsLedgerDiskFull(t *testing.T) {
	t.Parallel()
	p := newPost(t, released, map[string]place{"host": newHost(t), "gateway": newGateway(t)}, 4)
	dir := smallDisk(t, "16m")
	p.ledger = "sqlite://" + filepath.Join(dir, "ledger.db")
	var full string
	p.ledgerFails(func() { full = fill(t, dir) }, func() {
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
	})
}
