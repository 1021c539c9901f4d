//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// nonBlocking keeps the opening of a pipe from waiting for its other end.
const nonBlocking = unix.O_NONBLOCK

// openLock opens the lock file and makes it if need be, for the owner of dir. It
// follows no link, for the directory may belong to somebody else than us.
func openLock(side, dir string) (*os.File, error) {
	f, err := os.OpenFile(side, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|nonBlocking, 0o600)
	if err != nil {
		return nil, err
	}
	if err := give(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// tryLock takes the lock if nobody has it.
func tryLock(f *os.File) (bool, error) {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return true, nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return false, nil
		default:
			return false, err
		}
	}
}

// dress gives the new file the owner, group, mode and extended attributes of the
// old one; without an old one, the owner of the directory, for sshd reads the file as its account.
func dress(f *os.File, path string, old fs.FileInfo) error {
	if old == nil {
		return give(f, filepath.Dir(path))
	}
	if err := chown(f, old); err != nil {
		return err
	}
	if err := f.Chmod(old.Mode().Perm()); err != nil {
		return err
	}
	return copyAttributes(f, path)
}

// give makes the owner of the directory the owner of the file. Who is not root owns what he makes.
func give(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return chown(f, info)
}

// owner is the user who owns the file.
func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// sameOwner reports whether both belong to the same user and group.
func sameOwner(a, b fs.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Uid == y.Uid && x.Gid == y.Gid
}

// chown makes the owner and group of f those of the file that like describes.
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

// syncDir makes the renaming last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
