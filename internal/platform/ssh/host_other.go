//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package ssh

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
)

const nonBlocking = 0

// errUnsupported: the system has no lock and no owner of a file that sshd would heed.
var errUnsupported = errors.New("authorized_keys files cannot be edited safely on " + runtime.GOOS + "; run on the host's Unix or on Linux")

func openLock(string, string) (*os.File, error) { return nil, errUnsupported }

func tryLock(*os.File) (bool, error) { return false, errUnsupported }

func dress(*os.File, string, fs.FileInfo) error { return errUnsupported }

func syncDir(string) error { return errUnsupported }

func owner(fs.FileInfo) int { return 0 }

func sameOwner(fs.FileInfo, fs.FileInfo) bool { return true }
