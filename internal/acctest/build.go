package acctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Build compiles the provider with the given build tags and returns the path of the
// binary, for [Options].
func Build(t testing.TB, tags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "terraform-provider-jit")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", strings.Join(tags, ","), "-o", binary,
		"github.com/jitaccess/terraform-provider-jit")
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the provider: %v\n%s", err, out)
	}
	return binary
}
