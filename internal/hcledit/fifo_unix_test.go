//go:build unix

package hcledit_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

// A pipe with the name of a configuration is named as unread. Nobody waits for what it may give.
func TestReadPipe(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "main.tf"), 0o600); err != nil {
		t.Skipf("no pipe: %v", err)
	}
	f, err := hcledit.Read(dir)
	if err != nil || len(f.Unread) != 1 || f.Unread[0].File != filepath.Join(dir, "main.tf") {
		t.Errorf("%+v, %v", f, err)
	}
}
