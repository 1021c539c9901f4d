//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package ssh

import (
	"os"

	"golang.org/x/sys/unix"
)

// pathOnly opens a directory that we may list: these systems have no common flag for one that we may only search.
const pathOnly = unix.O_RDONLY

// copyAttributes copies none: only Linux has attributes that decide who may read the file.
func copyAttributes(_, _ *os.File) error { return nil }
