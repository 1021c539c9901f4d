//go:build !linux && !windows

package provider

import (
	"os/exec"
	"strconv"
	"strings"
)

// processStart says when a process started, to the second.
func processStart(pid int) (string, error) {
	ps := exec.Command("/bin/ps", "-o", "lstart=", "-p", strconv.Itoa(pid))
	ps.Env = []string{"LC_ALL=C", "TZ=UTC"} // the same text in each provider of the run
	out, err := ps.Output()
	return strings.TrimSpace(string(out)), err
}
