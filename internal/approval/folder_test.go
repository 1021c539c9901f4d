package approval_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestEntriesThatAreNoStatement hide no statement of the folder, but one that cannot be read may deny.
func TestEntriesThatAreNoStatement(t *testing.T) {
	s := approval.Statement{
		Choice: jit.Approve, Approver: "lea", Digest: strings.Repeat("0", 64),
		SignedAt: time.Unix(0, 0).UTC(), NotAfter: time.Unix(3600, 0).UTC(),
	}
	whole := approval.Join(s.Text(nil), []byte("-----BEGIN SSH SIGNATURE-----\n"))
	write := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	for name, c := range map[string]struct {
		make     func(path string) error
		at       string
		bad      int
		unusable bool
	}{
		"nothing":         {make: func(string) error { return nil }},
		"dangling link":   {func(path string) error { return os.Symlink("nowhere", path) }, "a.approval", 1, false},
		"endless link":    {func(path string) error { return os.Symlink("a.approval", path) }, "a.approval", 0, true},
		"folder":          {func(path string) error { return os.Mkdir(path, 0o700) }, "a.approval", 1, false},
		"long":            {write(strings.Repeat("x", 70000)), "a.approval", 1, false},
		"no statement":    {write("hello\n"), "a.approval", 1, false},
		"extra signature": {write("spoiled"), approval.FileName(s) + ".sig", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, approval.FileName(s)), whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.make(filepath.Join(dir, c.at)); err != nil {
				t.Fatal(err)
			}
			all, bad, err := approval.ReadDir(dir)
			if (err != nil) != c.unusable {
				t.Fatalf("error %v, want one: %t", err, c.unusable)
			}
			if err != nil {
				return
			}
			if len(all) != 1 || string(all[0].Signature) != "-----BEGIN SSH SIGNATURE-----\n" || len(bad) != c.bad {
				t.Errorf("read %v, bad %v", all, bad)
			}
			for _, err := range bad {
				if !strings.Contains(err.Error(), "a.approval") {
					t.Errorf("%v does not name its file", err)
				}
			}
		})
	}
}
