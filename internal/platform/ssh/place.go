//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// place is a file by its name in the open directory that holds it. All work on the file goes through that directory, so
// an account that puts something else in the directory's place diverts nothing.
type place struct {
	dir  *os.File
	info fs.FileInfo // of dir
	name string
	path string // of the file, without links
	// held is the file, kept open after a lease on it was broken: meanwhile nobody gets another lease.
	held *os.File
	// locked: we hold the lock of the file.
	locked bool
	// lax: the file may be replaced if nobody wrote to it since it was read, even if its mode or owner has changed.
	lax bool
}

// close closes the directory.
func (at *place) close() {
	_ = at.dir.Close()
	_ = at.held.Close()
}

// leases is how many leases in a row are waited for to open one file.
const leases = 3

// openKeys opens the file of keys to read it. The account can take a lease on it (fcntl, F_SETLEASE), which the kernel
// breaks after a while. While we wait for that, or hold the file, there is no new lease on it.
func (at *place) openKeys(ctx context.Context) (*os.File, error) {
	for range leases {
		f, err := at.open(at.name, os.O_RDONLY)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		if f, err = at.openLeased(ctx); err != nil {
			return nil, fmt.Errorf("wait for the end of the lease on %s: %w", at.path, err)
		}
		_ = at.held.Close()
		at.held = f
	}
	return at.open(at.name, os.O_RDONLY)
}

// trusts reports whether a file in the directory belongs to root, to us or to the owner of the directory. A directory
// of root that is closed to others has only files that root put there, whatever their owner.
func (at *place) trusts(info fs.FileInfo) bool {
	user, account := owner(info), owner(at.info)
	return user == 0 || user == os.Geteuid() || user == account || account == 0 && !openToOthers(at.info)
}

// open opens a file in the directory. It follows no link and does not wait for the other end of a pipe.
func (at *place) open(name string, flags int) (*os.File, error) {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Openat(at.fd(), name,
			flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(filepath.Dir(at.path), name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// create makes a new file.
func (at *place) create(name string) (*os.File, error) {
	return at.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// give makes the owner of the directory the owner of a file that we have just created, because sshd and the account
// itself read it. Only root needs to.
func (at *place) give(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return chown(f, at.info)
}

func (at *place) rename(from, to string) error {
	return uninterrupted(func() error { return unix.Renameat(at.fd(), from, at.fd(), to) })
}

func (at *place) remove(name string) error {
	return uninterrupted(func() error { return unix.Unlinkat(at.fd(), name, 0) })
}

// sync makes a renaming durable.
func (at *place) sync() error {
	d, err := at.open(".", os.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (at *place) fd() int { return int(at.dir.Fd()) }

// uninterrupted repeats a call that a signal interrupted.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// swapped reports whether an error means that a link has replaced what was there.
func swapped(err error) bool { return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) }

// stat describes a name in a directory; it follows no link.
func stat(dir *os.File, name string) (found unix.Stat_t, err error) {
	err = uninterrupted(func() error {
		return unix.Fstatat(int(dir.Fd()), name, &found, unix.AT_SYMLINK_NOFOLLOW)
	})
	return found, err
}

// owner is the user who owns the file.
func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// sameOwner reports whether both belong to the same user and group.
func sameOwner(a, b fs.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Uid == y.Uid && x.Gid == y.Gid
}

// linked reports whether the file has another name (hard link), in this directory or elsewhere.
func linked(info fs.FileInfo) bool { return info.Sys().(*syscall.Stat_t).Nlink > 1 }

// openToOthers reports whether others than the owner of the directory can write to it. An ordinary user who runs us may
// open their own directories to a group.
func openToOthers(dir fs.FileInfo) bool {
	mine := os.Geteuid() != 0 && owner(dir) == os.Geteuid()
	return dir.Mode().Perm()&0o022 != 0 && !mine
}

// chown gives a new file the owner and group of another one.
func chown(f *os.File, like fs.FileInfo) error {
	have, err := f.Stat()
	if err != nil {
		return err
	}
	if sameOwner(have, like) {
		return nil
	}
	want := like.Sys().(*syscall.Stat_t)
	return f.Chown(int(want.Uid), int(want.Gid))
}
