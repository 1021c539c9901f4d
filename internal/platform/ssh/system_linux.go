package ssh

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// pathOnly opens a directory that we may search, also if we may not list it.
const pathOnly = unix.O_PATH

// copyAttributes copies the extended attributes of the old file: its SELinux
// label and its access list among them. What the file system or our rights do not allow to
// set is left out, except for the access list, which decides who reads the file.
func copyAttributes(f, old *os.File) error {
	from := int(old.Fd())
	list, err := attribute(func(b []byte) (int, error) { return unix.Flistxattr(from, b) })
	switch {
	case errors.Is(err, unix.ENOTSUP):
		return nil
	case err != nil:
		return fmt.Errorf("list the extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := attribute(func(b []byte) (int, error) { return unix.Fgetxattr(from, name, b) })
		if err == nil {
			err = unix.Fsetxattr(int(f.Fd()), name, value, 0)
		}
		if err != nil && name == "system.posix_acl_access" {
			return fmt.Errorf("copy the extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// attribute asks for the size, then for the value.
func attribute(get func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		value := make([]byte, n)
		n, err = get(value)
		if errors.Is(err, unix.ERANGE) {
			continue // it grew meanwhile
		}
		if err != nil {
			return nil, err
		}
		return value[:n], nil
	}
}
