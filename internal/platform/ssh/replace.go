//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// write replaces the content of the file and returns the new one.
func (at *place) write(ctx context.Context, before content, data []byte) (content, error) {
	if exceeds(data) {
		return content{}, at.tooLarge()
	}
	fill := func(temp *os.File) error {
		_, err := temp.Write(data)
		return err
	}
	unchanged := func() error {
		now, err := at.read(ctx)
		if err == nil && !now.same(before) && !(at.lax && now.sameText(before)) {
			err = errMeanwhile
		}
		return err
	}
	info, err := at.replace(ctx, before.info, fill, unchanged)
	return content{path: at.path, data: data, info: info}, err
}

// replace puts a new file, which fill writes, in the place of the old one, whole or not at all. unchanged makes sure
// that nobody has changed the old one since it was read. It notices a writer without our lock, such as an editor, that
// is done by then. What such a writer writes in the microseconds between that check and the renaming is lost; no call
// closes that gap.
func (at *place) replace(ctx context.Context, old fs.FileInfo, fill func(*os.File) error, unchanged func() error) (
	info fs.FileInfo, err error) {
	temp, name, err := at.temporary()
	if err != nil {
		return nil, at.cannotWrite(err)
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = at.remove(name)
		}
	}()
	for _, step := range []func() error{
		func() error { return fill(temp) },
		func() error { return at.dress(ctx, temp, old) },
		temp.Sync,
		func() (err error) { info, err = temp.Stat(); return err },
		temp.Close,
		unchanged,
		ctx.Err,
		func() error { failpoint.Hit("ssh.before-rename"); return at.rename(name, at.name) },
		func() error { failpoint.Hit("ssh.after-rename"); return at.sync() },
	} {
		if err := step(); err != nil {
			if ctx.Err() == nil {
				err = at.cannotWrite(err)
			}
			return nil, err
		}
	}
	return info, nil
}

// temporary creates the file that is to replace the old one. Only the holder of the lock uses the plain name, so a file
// of that name is left from a writer that died.
func (at *place) temporary() (f *os.File, name string, err error) {
	name = "." + at.name + ".jit-new"
	if at.locked {
		_ = at.remove(name) // if that fails, create does too
		if f, err = at.create(name); !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
	name += "-" + rand.Text()
	f, err = at.create(name)
	return f, name, err
}

// dress gives the new file the owner, group, mode and extended attributes of the old one; without an old one, the owner
// of the directory, because sshd reads the file as its account.
func (at *place) dress(ctx context.Context, f *os.File, old fs.FileInfo) error {
	if old == nil {
		return at.give(f)
	}
	if err := errors.Join(chown(f, old), f.Chmod(old.Mode().Perm())); err != nil {
		return err
	}
	from, err := at.openKeys(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist), swapped(err):
		return errMeanwhile
	case err != nil:
		return err
	}
	defer func() { _ = from.Close() }()
	if info, err := from.Stat(); err != nil || !os.SameFile(info, old) {
		return errors.Join(errMeanwhile, err)
	}
	return copyAttributes(f, from)
}

// cannotWrite explains an error of a write, unless it needs no explanation.
func (at *place) cannotWrite(err error) error {
	var user *jit.Error
	if errors.As(err, &user) || errors.Is(err, errMeanwhile) || errors.Is(err, errNothing) {
		return err
	}
	return &jit.Error{
		Problem: fmt.Sprintf("cannot write %s: %v", at.path, err),
		Hint:    "nothing was changed; " + at.remedy(err), Err: err,
	}
}

func (at *place) remedy(err error) string {
	dir := filepath.Dir(at.path)
	switch {
	case errors.Is(err, unix.EBUSY):
		return "a file that is mounted by itself (a bind mount, a volume with subPath) cannot be replaced in one " +
			"step: mount its directory " + dir + " instead"
	case errors.Is(err, unix.EROFS):
		return dir + " is on a file system that is mounted read-only: mount it so that it can be written to"
	case errors.Is(err, unix.ENOSPC):
		return "make room on the file system of " + dir + ", also for one more file (df -i), and run again"
	case errors.Is(err, unix.EDQUOT):
		return "the disk quota of the owner of " + at.path + " is used up: raise it or make room, and run again"
	case errors.Is(err, unix.EFBIG):
		return "raise the limit on the size of files (ulimit -f) and run again"
	case errors.Is(err, unix.EPERM) && os.Geteuid() == 0:
		return "an attribute of " + at.path + " or of its directory forbids it " +
			"(lsattr shows i or a; chattr removes it), or root has no such right here"
	case errors.Is(err, fs.ErrPermission):
		return "run as the owner of " + at.path + " or as root: a new file is made in its directory and renamed"
	}
	return "fix the cause and run again"
}
