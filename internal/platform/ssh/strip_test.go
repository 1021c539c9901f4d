//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestRevokingInAFileTooLargeToBeRead: any login of the account can make it too large, and access must still end.
func TestRevokingInAFileTooLargeToBeRead(t *testing.T) {
	for name, padding := range map[string]string{
		"lines":      strings.Repeat("\n", maxLines+1),
		"bytes":      strings.Repeat(bob+"\n", maxSize/len(bob)+1),
		"a long one": strings.Repeat("#", maxSize+1) + "\n",
	} {
		path := filepath.Join(t.TempDir(), "authorized_keys")
		p, a, b, c, warned := newPlatform(t, path), current(path, alice, "x"), current(path, alice, "y"),
			current(path, alice, "z"), 0
		p.warn = func(string) { warned++ }
		line := func(a jit.Access) string { return render(a.Marker, alice, role{}) + "\n" }
		kept := line(b) + padding + "# the last line"
		write(t, path, line(a)+line(b)+line(a)+padding+"# the last line")
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		errs := p.Apply(t.Context(), path, []jit.Change{{Op: jit.Remove, Access: a}, {Op: jit.Ensure, Access: c}})
		if errs[0] != nil || !errors.Is(errs[1], errTooLarge) {
			t.Errorf("%s: removed: %v, granted: %v", name, errs[0], errs[1])
		}
		if err := one(p, t.Context(), path, jit.Remove, a); err != nil {
			t.Errorf("%s, once more: %v", name, err)
		}
		if got := string(read(t, path)); got != kept {
			t.Errorf("%s: %d bytes are left, want %d", name, len(got), len(kept))
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 || warned == 0 {
			t.Errorf("%s: %v, %v, %d warnings", name, info.Mode(), err, warned)
		}
		onlyFiles(t, filepath.Dir(path), "authorized_keys", "authorized_keys.jit.lock")
	}
}
