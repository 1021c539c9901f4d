//go:build !unix

package acctest

import "os/exec"

// grouped does nothing: there are no process groups.
func grouped(*exec.Cmd) {}

// killGroup does nothing: there are no process groups.
func killGroup(*exec.Cmd) {}
