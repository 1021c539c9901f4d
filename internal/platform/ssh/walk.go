//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxLinks is the most links on the way to a file, as in the kernel.
const maxLinks = 40

// find opens the directory of the file at path; the file itself need not exist. It looks up one name at a time in an
// open directory and follows a link only where [walk.follow] permits it. The directories on the way must belong to
// root, to us or to the owner of the last one: anyone else could have us write the keys of their account into the file
// of another. The error is [errMeanwhile] if somebody changes the way meanwhile.
func find(path string) (*place, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", path, err)
	}
	w := &walk{path: path, rest: path}
	at, err := w.arrive()
	if err == nil {
		return at, nil
	}
	_ = w.dir.Close()
	var user *jit.Error
	if errors.As(err, &user) || errors.Is(err, errMeanwhile) {
		return nil, err
	}
	return nil, fmt.Errorf("resolve %s: %w", path, err)
}

// walk is the way along a path.
type walk struct {
	path  string // as asked for
	rest  string // not yet looked up
	dir   *os.File
	at    string // where dir is, without links
	links int
	// owners are the users, other than root and us, who can change a directory on the way.
	owners []ownedDir
}

type ownedDir struct {
	user int
	dir  string
}

// arrive goes all the way. It refuses a directory if somebody other than its owner could have led us there.
func (w *walk) arrive() (*place, error) {
	name, err := w.last()
	if err != nil {
		return nil, err
	}
	info, err := w.dir.Stat()
	if err != nil {
		return nil, err
	}
	for _, o := range w.owners {
		if o.user != owner(info) {
			return nil, &jit.Error{
				Problem: fmt.Sprintf("%s leads to the directory %s of the user %d by way of %s, which the user %d "+
					"can change", w.path, w.at, owner(info), o.dir, o.user),
				Hint: "write the path of the file itself into the target; the directories on the way must belong to " +
					"root or to the owner of the last one",
				Err: fs.ErrPermission,
			}
		}
	}
	return &place{dir: w.dir, info: info, name: name, path: filepath.Join(w.at, name)}, nil
}

// last goes as far as the directory of the file and returns the name of the file there.
func (w *walk) last() (string, error) {
	if err := w.enter(unix.AT_FDCWD, "/", "/"); err != nil {
		return "", err
	}
	for {
		var name string
		name, w.rest, _ = strings.Cut(strings.TrimLeft(w.rest, "/"), "/")
		switch name {
		case "":
			return ".", nil // a directory, and so no file
		case ".":
			continue
		}
		if arrived, err := w.step(name); arrived || err != nil {
			return name, err
		}
	}
}

// step goes one name further. arrived means that the name is that of the file, which need not exist.
func (w *walk) step(name string) (arrived bool, err error) {
	info, err := w.dir.Stat()
	if err != nil {
		return false, err
	}
	if user := owner(info); user != 0 && user != os.Geteuid() {
		w.owners = append(w.owners, ownedDir{user, w.at})
	}
	isLast := strings.Trim(w.rest, "/") == ""
	found, err := stat(w.dir, name)
	switch kind := found.Mode & unix.S_IFMT; {
	case errors.Is(err, fs.ErrNotExist) && !isLast:
		return false, away(w.path, filepath.Join(w.at, name))
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case kind == unix.S_IFLNK:
		return false, w.follow(name, info)
	case isLast && name != "..":
		return true, nil
	case kind != unix.S_IFDIR:
		return false, &fs.PathError{Op: "open", Path: filepath.Join(w.at, name), Err: unix.ENOTDIR}
	}
	return false, w.descend(name, info)
}

// follow puts the target of a link in place of its name. It refuses a link in a directory where others than its owner
// can make one.
func (w *walk) follow(name string, dir fs.FileInfo) error {
	link := filepath.Join(w.at, name)
	if openToOthers(dir) {
		return &jit.Error{
			Problem: fmt.Sprintf("%s goes over the link %s, which everyone who can write to %s can lead elsewhere",
				w.path, link, w.at),
			Hint: "write the path of the file itself into the target",
			Err:  fs.ErrPermission,
		}
	}
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("more than %d links", maxLinks)
	}
	target := make([]byte, 4096) // PATH_MAX
	var n int
	err := uninterrupted(func() (err error) { n, err = unix.Readlinkat(w.fd(), name, target); return err })
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, fs.ErrNotExist):
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

// descend enters a directory on the way.
func (w *walk) descend(name string, dir fs.FileInfo) error {
	if openToOthers(dir) && dir.Mode()&fs.ModeSticky == 0 {
		return &jit.Error{
			Problem: fmt.Sprintf("%s goes through %s, and others than its owner can put another directory there "+
				"(its mode is %s)", w.path, w.at, dir.Mode().Perm()),
			Hint: "remove write permission for group and others, as sshd requires too: chmod go-w " + w.at,
			Err:  fs.ErrPermission,
		}
	}
	return w.enter(w.fd(), name, filepath.Join(w.at, name))
}

// enter opens a directory that is no link.
func (w *walk) enter(parent int, name, at string) error {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Openat(parent, name, pathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	switch {
	case swapped(err), errors.Is(err, unix.ENOTDIR):
		return errMeanwhile // it was a directory a moment ago
	case errors.Is(err, fs.ErrNotExist):
		return away(w.path, at)
	case err != nil:
		return &fs.PathError{Op: "open", Path: at, Err: err}
	}
	_ = w.dir.Close()
	w.dir, w.at = os.NewFile(uintptr(fd), at), at
	return nil
}

func (w *walk) fd() int { return int(w.dir.Fd()) }
