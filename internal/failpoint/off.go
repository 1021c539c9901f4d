//go:build !failpoint

// Package failpoint marks the steps between which a crash must lose nothing.
// Only a binary built with the tag "failpoint" can be killed at one.
package failpoint

import "time"

// Hit does nothing.
func Hit(string) {}

// Lag returns how long reads of a target lag.
func Lag(d time.Duration) time.Duration { return d }
