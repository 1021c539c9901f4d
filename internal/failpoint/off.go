//go:build !failpoint

// Package failpoint marks the steps between which a crash must lose nothing.
// Only a binary built with the tag "failpoint" can be killed at one.
package failpoint

// Hit does nothing.
func Hit(string) {}
