package ssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// pathOnly opens a directory that we may search, also if we may not list it.
const pathOnly = unix.O_PATH

// openLeased opens the file of keys and waits for the end of the lease on it, which the kernel enforces after
// /proc/sys/fs/lease-break-time. It opens the very file that it has seen to be regular: a pipe would be waited for for
// ever.
func (at *place) openLeased(ctx context.Context) (*os.File, error) {
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
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		var fd int
		err := uninterrupted(func() (err error) {
			fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", seen.Fd()), unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			return err
		})
		_ = seen.Close()
		if err != nil {
			done <- opened{nil, err}
			return
		}
		f := os.NewFile(uintptr(fd), at.name)
		if ctx.Err() != nil { // nobody waits any more
			done <- opened{nil, errors.Join(ctx.Err(), f.Close())}
			return
		}
		done <- opened{f, nil}
	}()
	select {
	case got := <-done:
		return got.f, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

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
