//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package ssh

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// pathOnly opens a directory that we may list: these systems have no common flag for less.
const pathOnly = unix.O_RDONLY

// openLeased fails: only Linux has leases.
func (at *place) openLeased(context.Context) (*os.File, error) { return nil, unix.EWOULDBLOCK }

// copyAttributes does nothing: only Linux has attributes that decide who may read the file.
func copyAttributes(_, _ *os.File) error { return nil }
