//go:build failpoint

package failpoint

import (
	"os"
	"syscall"
	"time"
)

// Hit kills the process, as a crash would, if the environment variable
// JIT_FAILPOINT is name.
func Hit(name string) {
	if os.Getenv("JIT_FAILPOINT") != name {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	time.Sleep(time.Minute) // the signal is on its way; go no step further
}

// Lag returns how long reads of a target lag, or what the environment variable JIT_LAG says in its place.
func Lag(d time.Duration) time.Duration {
	if said, err := time.ParseDuration(os.Getenv("JIT_LAG")); err == nil {
		return said
	}
	return d
}
