//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"bytes"
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

// replace puts a new file in the place of the old one, whole or not at all, and returns it.
func (at *place) replace(ctx context.Context, before content, data []byte, locked bool) (written content, err error) {
	defer func() {
		if err != nil && !errors.Is(err, errMeanwhile) && ctx.Err() == nil {
			err = at.cannotWrite(err)
		}
	}()
	if len(data) > maxSize || bytes.Count(data, []byte("\n")) > maxLines {
		return content{}, at.tooLarge()
	}
	temp, name, err := at.temporary(locked)
	if err != nil {
		return content{}, err
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = at.remove(name)
		}
	}()
	if _, err := temp.Write(data); err != nil {
		return content{}, err
	}
	if err := at.dress(ctx, temp, before.info); err != nil {
		return content{}, err
	}
	if err := temp.Sync(); err != nil {
		return content{}, err
	}
	info, err := temp.Stat()
	if err != nil {
		return content{}, err
	}
	if err := temp.Close(); err != nil {
		return content{}, err
	}
	// Whoever writes without our lock, an editor for example, is noticed if they are done by now. What they write
	// between this look and the renaming, a few microseconds, is lost; no call closes that gap against a
	// writer who does not lock.
	now, err := at.read(ctx)
	if err != nil {
		return content{}, err
	}
	if !now.same(before) && !(at.lax && now.sameText(before)) {
		return content{}, errMeanwhile
	}
	if err := ctx.Err(); err != nil {
		return content{}, err
	}
	failpoint.Hit("ssh.before-rename")
	if err := at.rename(name, at.name); err != nil {
		return content{}, err
	}
	failpoint.Hit("ssh.after-rename")
	return content{path: at.path, data: data, info: info}, at.sync()
}

// temporary creates the file that is to replace the other one. Whoever holds the lock is the only one to use the plain
// name, so a file of that name was left by a writer that died.
func (at *place) temporary(locked bool) (f *os.File, name string, err error) {
	name = "." + at.name + ".jit-new"
	if locked {
		_ = at.remove(name) // what cannot be removed is in the way of the next call too
		if f, err = at.create(name); err == nil || !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
	name += "-" + rand.Text()
	f, err = at.create(name)
	return f, name, err
}

// dress gives the new file the owner, group, mode and extended attributes of the
// old one; without an old one, the owner of the directory, for sshd reads the file as its account.
func (at *place) dress(ctx context.Context, f *os.File, old fs.FileInfo) error {
	if old == nil {
		return at.give(f)
	}
	if err := chown(f, old); err != nil {
		return err
	}
	if err := f.Chmod(old.Mode().Perm()); err != nil {
		return err
	}
	from, err := at.openKeys(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err != nil && swapped(err):
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

// cannotWrite says what stood in the way of writing.
func (at *place) cannotWrite(err error) error {
	var forUser *jit.Error
	if errors.As(err, &forUser) {
		return err
	}
	dir := filepath.Dir(at.path)
	hint := "nothing was changed; put the cause right and run again"
	switch {
	case errors.Is(err, unix.EBUSY):
		hint = fmt.Sprintf("nothing was changed; a file that is mounted by itself (a bind mount, a volume with subPath) cannot be replaced in one step: mount its directory %s in its stead", dir)
	case errors.Is(err, unix.EROFS):
		hint = fmt.Sprintf("nothing was changed; %s is on a file system that is mounted read-only: mount it so that it can be written to", dir)
	case errors.Is(err, unix.ENOSPC):
		hint = fmt.Sprintf("nothing was changed; make room on the file system of %s, also for one more file (df -i), and run again", dir)
	case errors.Is(err, unix.EDQUOT):
		hint = fmt.Sprintf("nothing was changed; the disk quota of the user who owns %s is used up: raise it or make room, and run again", at.path)
	case errors.Is(err, unix.EFBIG):
		hint = "nothing was changed; raise the limit on the size of files (ulimit -f) and run again"
	case errors.Is(err, unix.EPERM) && os.Geteuid() == 0:
		hint = fmt.Sprintf("nothing was changed; an attribute of %s or of its directory forbids it (lsattr shows i or a; chattr takes it away), or root has no such right here", at.path)
	case errors.Is(err, fs.ErrPermission):
		hint = fmt.Sprintf("nothing was changed; run as the owner of %s or as root: a new file is made in its directory and renamed", at.path)
	}
	return &jit.Error{Problem: fmt.Sprintf("cannot write %s: %v", at.path, err), Hint: hint, Err: err}
}
