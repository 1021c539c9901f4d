package testenv

import (
	"os/exec"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// Chromium returns the path of a Chromium that runs without a display.
func Chromium(t testing.TB) string { t.Helper(); return onPath(t, "Chromium", "chromium") }

// Promtool returns the path of promtool, which checks and tests the rules of Prometheus.
func Promtool(t testing.TB) string { t.Helper(); return onPath(t, "promtool", "promtool") }

// OPA returns the path of the Open Policy Agent.
func OPA(t testing.TB) string { t.Helper(); return shared(t, "opa", cache.OPA().Lookup) }

func onPath(t testing.TB, what, name string) string {
	t.Helper()
	Acceptance(t)
	path, err := exec.LookPath(name)
	if err != nil {
		Unavailable(t, what, err)
	}
	return path
}
