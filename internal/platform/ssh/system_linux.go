package ssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// pathOnly opens a directory that we may search but perhaps not list.
const pathOnly = unix.O_PATH

// openPath opens the file of keys by its path only, if it is regular.
func (at *place) openPath() (*os.File, error) {
	seen, err := at.open(at.name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	info, err := seen.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errMeanwhile
	}
	if err != nil {
		return nil, errors.Join(err, seen.Close())
	}
	return seen, nil
}

// openLeased opens the file of keys and waits for the end of the lease on it, which the kernel enforces after
// /proc/sys/fs/lease-break-time. It opens exactly the file that it has seen to be regular, because it would wait for a
// pipe for ever.
func (at *place) openLeased(ctx context.Context) (*os.File, error) {
	seen, err := at.openPath()
	if err != nil {
		return nil, err
	}
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := reopen(seen, at.name)
		_ = seen.Close()
		if err == nil && ctx.Err() != nil { // nobody waits any more
			f, err = nil, errors.Join(ctx.Err(), f.Close())
		}
		done <- opened{f, err}
	}()
	select {
	case got := <-done:
		return got.f, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reopen opens a file to read it that is open by its path only.
func reopen(seen *os.File, name string) (*os.File, error) {
	var fd int
	err := uninterrupted(func() (err error) {
		path := fmt.Sprintf("/proc/self/fd/%d", seen.Fd())
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// copyAttributes copies the extended attributes of the old file, such as its SELinux label and its access list. It
// skips those that the file system or our rights forbid, except the access list, which decides who reads the file.
func copyAttributes(f, old *os.File) error {
	list, err := attribute(func(b []byte) (int, error) { return unix.Flistxattr(int(old.Fd()), b) })
	switch {
	case errors.Is(err, unix.ENOTSUP):
		return nil
	case err != nil:
		return fmt.Errorf("list the extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if err := copyAttribute(f, old, name); err != nil && name == "system.posix_acl_access" {
			return fmt.Errorf("copy the extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func copyAttribute(f, old *os.File, name string) error {
	value, err := attribute(func(b []byte) (int, error) { return unix.Fgetxattr(int(old.Fd()), name, b) })
	if err != nil {
		return err
	}
	return unix.Fsetxattr(int(f.Fd()), name, value, 0)
}

// attribute gets the size, then the value.
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
