//go:build !unix

package testenv

import (
	"errors"
	"os/exec"
)

// account stands for the system user that a server runs as.
type account struct{}

func unprivileged() (*account, error) {
	return nil, errors.New("the servers start on Unix only; run these tests on Linux or macOS")
}

func (*account) apply(*exec.Cmd) {}

func (*account) own(string) error { return nil }

func (*account) write(string, string) error { return nil }
