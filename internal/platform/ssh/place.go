//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxLinks bounds how many links lead to a file, as the kernel does.
const maxLinks = 40

// place is a file by the open directory that holds it and its name there. Everything is done to the file
// through that directory: an account that puts something else in place of its directory leads nobody astray.
type place struct {
	dir  *os.File
	info fs.FileInfo // of dir
	name string
	path string // of the file, without links
	// held is the file, open since somebody's lease on it was broken: nobody gets another one meanwhile.
	held *os.File
	// lax: to replace the file it is enough that nobody wrote to it since it was read, whatever happened to its mode
	// and owner.
	lax bool
}

// close lets go of the directory.
func (at *place) close() {
	_ = at.dir.Close()
	at.hold(nil)
}

// hold keeps f open in place of what was held.
func (at *place) hold(f *os.File) {
	if at.held != nil {
		_ = at.held.Close()
	}
	at.held = f
}

// leases bounds how many leases are waited for to open one file.
const leases = 3

// openKeys opens the file of keys to read it. The account can take a lease on it (fcntl, F_SETLEASE), which
// the kernel takes away from it after a while. While we wait for that, or hold the file, there is no new lease on it.
func (at *place) openKeys(ctx context.Context) (*os.File, error) {
	for range leases {
		f, err := at.open(at.name, os.O_RDONLY)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		if f, err = at.openLeased(ctx); err != nil {
			return nil, fmt.Errorf("wait for the end of the lease on %s: %w", at.path, err)
		}
		at.hold(f)
	}
	return at.open(at.name, os.O_RDONLY)
}

// find opens the directory of the file at path; the file itself need not exist. It looks up one name at a time
// in an open directory and follows a link only where [walk.follow] permits it. The
// directories on the way belong to root, to us or to the owner of the last one: anyone else could
// have us write the keys of their account into the file of another.
func find(path string) (*place, error) {
	for range attempts {
		at, err := findOnce(path)
		if !errors.Is(err, errMeanwhile) {
			return at, err
		}
	}
	return nil, fmt.Errorf("resolve %s, %d attempts: %w", path, attempts, errMeanwhile)
}

func findOnce(path string) (*place, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", path, err)
	}
	w := &walk{path: path, rest: path}
	name, err := w.last()
	if err == nil {
		var info fs.FileInfo
		if info, err = w.judge(); err == nil {
			return &place{dir: w.dir, info: info, name: name, path: filepath.Join(w.at, name)}, nil
		}
	}
	if w.dir != nil {
		_ = w.dir.Close()
	}
	var forUser *jit.Error
	if errors.As(err, &forUser) || errors.Is(err, errMeanwhile) {
		return nil, err
	}
	return nil, fmt.Errorf("resolve %s: %w", path, err)
}

// walk is the way along a path.
type walk struct {
	path  string // as it was asked for
	rest  string // what is still to be looked up
	dir   *os.File
	at    string // where dir is, without links
	links int
	// owners are the users, other than root and ourselves, who can change a directory on the way.
	owners []step
}

type step struct {
	user int
	dir  string
}

// last goes as far as the directory of the file and returns the name of the file there.
func (w *walk) last() (string, error) {
	if err := w.enter(unix.AT_FDCWD, "/", "/"); err != nil {
		return "", err
	}
	for {
		var name string
		name, w.rest, _ = strings.Cut(strings.TrimLeft(w.rest, "/"), "/")
		if name == "" {
			return ".", nil // a directory, and so no file
		}
		if name == "." {
			continue
		}
		isLast := strings.Trim(w.rest, "/") == ""
		info, err := w.dir.Stat()
		if err != nil {
			return "", err
		}
		if user := owner(info); user != 0 && user != os.Geteuid() {
			w.owners = append(w.owners, step{user, w.at})
		}
		var found unix.Stat_t
		err = uninterrupted(func() error { return unix.Fstatat(w.fd(), name, &found, unix.AT_SYMLINK_NOFOLLOW) })
		switch kind := found.Mode & unix.S_IFMT; {
		case errors.Is(err, fs.ErrNotExist) && isLast:
			return name, nil
		case errors.Is(err, fs.ErrNotExist):
			return "", away(w.path, filepath.Join(w.at, name))
		case err != nil:
			return "", err
		case kind == unix.S_IFLNK:
			err = w.follow(name, info)
		case isLast && name != "..":
			return name, nil
		case kind != unix.S_IFDIR:
			err = &fs.PathError{Op: "open", Path: filepath.Join(w.at, name), Err: unix.ENOTDIR}
		default:
			err = w.descend(name, info)
		}
		if err != nil {
			return "", err
		}
	}
}

// follow puts the target of the link in place of its name. Where others than the owner of the directory can
// make a link, none is followed.
func (w *walk) follow(name string, dir fs.FileInfo) error {
	link := filepath.Join(w.at, name)
	if openToOthers(dir) {
		return &jit.Error{
			Problem: fmt.Sprintf("%s goes over the link %s, which everyone who can write to %s can lead elsewhere", w.path, link, w.at),
			Hint:    "write the path of the file itself into the target",
			Err:     fs.ErrPermission,
		}
	}
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("more than %d links", maxLinks)
	}
	target := make([]byte, 4096) // PATH_MAX
	var n int
	err := uninterrupted(func() (err error) { n, err = unix.Readlinkat(w.fd(), name, target); return err })
	switch {
	case errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist):
		return errMeanwhile
	case err != nil:
		return err
	}
	w.rest = string(target[:n]) + "/" + w.rest
	if strings.HasPrefix(w.rest, "/") {
		return w.enter(unix.AT_FDCWD, "/", "/")
	}
	return nil
}

// descend goes into a directory on the way.
func (w *walk) descend(name string, dir fs.FileInfo) error {
	if openToOthers(dir) && dir.Mode()&fs.ModeSticky == 0 {
		return &jit.Error{
			Problem: fmt.Sprintf("%s goes through %s, and others than its owner can put another directory there (its mode is %s)", w.path, w.at, dir.Mode().Perm()),
			Hint:    fmt.Sprintf("take the right to write from group and others (chmod go-w %s), as sshd asks for too", w.at),
			Err:     fs.ErrPermission,
		}
	}
	return w.enter(w.fd(), name, filepath.Join(w.at, name))
}

// enter opens a directory, but no link.
func (w *walk) enter(parent int, name, at string) error {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Openat(parent, name, pathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	switch {
	case swapped(err) || errors.Is(err, unix.ENOTDIR):
		return errMeanwhile // it was a directory a moment ago
	case errors.Is(err, fs.ErrNotExist):
		return away(w.path, at)
	case err != nil:
		return &fs.PathError{Op: "open", Path: at, Err: err}
	}
	if w.dir != nil {
		_ = w.dir.Close()
	}
	w.dir, w.at = os.NewFile(uintptr(fd), at), at
	return nil
}

func (w *walk) fd() int { return int(w.dir.Fd()) }

// judge refuses a directory that somebody led us to whose own it is not.
func (w *walk) judge() (fs.FileInfo, error) {
	info, err := w.dir.Stat()
	if err != nil {
		return nil, err
	}
	for _, o := range w.owners {
		if o.user != owner(info) {
			return nil, &jit.Error{
				Problem: fmt.Sprintf("%s leads to the directory %s of the user %d by way of %s, which the user %d can change", w.path, w.at, owner(info), o.dir, o.user),
				Hint:    "write the path of the file itself into the target; the directories on the way have to belong to root or to the owner of the last one",
				Err:     fs.ErrPermission,
			}
		}
	}
	return info, nil
}

// trusts reports whether a file in the directory belongs to root, to us or to the owner of the directory. Into a
// directory of root's that is closed to others, root alone has put it, whoever owns it.
func (at *place) trusts(info fs.FileInfo) bool {
	user, of := owner(info), owner(at.info)
	return user == 0 || user == os.Geteuid() || user == of || of == 0 && !openToOthers(at.info)
}

// open opens a file in the directory, but no link, and does not wait for the other end of a pipe.
func (at *place) open(name string, flags int) (*os.File, error) {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Openat(at.fd(), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(filepath.Dir(at.path), name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// create makes a file that was not there.
func (at *place) create(name string) (*os.File, error) {
	return at.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// give makes the owner of the directory the owner of a file that we have just created: sshd and the account
// itself read it. Only root has to.
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

// sync makes a renaming last.
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

// swapped reports whether a link stands where we opened something that was none before.
func swapped(err error) bool { return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) }

// owner is the user who owns the file.
func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// sameOwner reports whether both belong to the same user and group.
func sameOwner(a, b fs.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Uid == y.Uid && x.Gid == y.Gid
}

// linked reports whether the file has another name (hard link), in this directory or elsewhere.
func linked(info fs.FileInfo) bool { return info.Sys().(*syscall.Stat_t).Nlink > 1 }

// openToOthers reports whether others than the owner of the directory can write to it. What an ordinary
// user who runs us has opened to a group of theirs is their own affair.
func openToOthers(dir fs.FileInfo) bool {
	mine := os.Geteuid() != 0 && owner(dir) == os.Geteuid()
	return dir.Mode().Perm()&0o022 != 0 && !mine
}

// chown makes the owner and group of f those of the file that like describes. f is one that we have just made.
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
