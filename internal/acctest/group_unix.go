//go:build unix

package acctest

import (
	"os/exec"
	"syscall"
)

// grouped lets the command lead a process group of its own.
func grouped(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills what is left of the command's group: a command line that is killed leaves its providers behind.
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
