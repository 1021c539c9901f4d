package testenv

import (
	"os/exec"
	"testing"
)

// Chromium returns the path of a Chromium that can run without a screen.
func Chromium(t testing.TB) string {
	t.Helper()
	Acceptance(t)
	path, err := exec.LookPath("chromium")
	if err != nil {
		Unavailable(t, "Chromium", err)
	}
	return path
}
