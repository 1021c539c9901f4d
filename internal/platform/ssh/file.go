//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// read reads the whole file. A file that does not exist is empty.
func (at *place) read(ctx context.Context) (content, error) {
	c := content{path: at.path}
	f, info, err := at.openRegular(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.untouched = at.untouched()
		return c, nil
	case err != nil:
		return c, err
	}
	defer func() { _ = f.Close() }()
	c.info = info
	c.data, err = io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return c, fmt.Errorf("read authorized keys %s: %w", at.path, err)
	case len(c.data) > maxSize || bytes.Count(c.data, []byte("\n")) > maxLines:
		return c, at.tooLarge()
	}
	return c, nil
}

// openRegular opens the file to read it, if it is one that sshd reads and that belongs to whom it should.
func (at *place) openRegular(ctx context.Context) (*os.File, fs.FileInfo, error) {
	f, err := at.openKeys(ctx)
	switch {
	case err != nil && swapped(err):
		return nil, nil, errMeanwhile
	case errors.Is(err, unix.ENXIO): // a socket
		return nil, nil, at.notRegular("a socket")
	case err != nil:
		return nil, nil, fmt.Errorf("read authorized keys: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("read authorized keys: %w", err)
	case !info.Mode().IsRegular():
		err = at.notRegular(info.Mode().Type().String())
	case !at.trusts(info):
		err = &jit.Error{
			Problem: fmt.Sprintf("%s belongs to the user %d and its directory to the user %d", at.path, owner(info), owner(at.info)),
			Hint:    "give the file to the account whose keys it holds (chown)",
			Err:     fs.ErrPermission,
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// untouched reports whether there is neither the file nor the lock that we leave beside it.
func (at *place) untouched() bool {
	for _, name := range []string{at.name, at.lockName()} {
		var found unix.Stat_t
		err := uninterrupted(func() error { return unix.Fstatat(at.fd(), name, &found, unix.AT_SYMLINK_NOFOLLOW) })
		if !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

func (at *place) notRegular(what string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s is not a regular file (%s) and sshd does not read it", at.path, what),
		Hint:    "write the path of the authorized_keys file into the target",
	}
}

func (at *place) tooLarge() error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s has more than the %d MiB or %d lines that are read of such a file", at.path, maxSize>>20, maxLines),
		Hint:    "take out of it what is no key",
		Err:     errTooLarge,
	}
}

// same reports whether the file holds what it did, and has the owner, mode and names that it had. The time of the last
// write does not count: any login of the account can change it all the time.
func (c content) same(o content) bool {
	return c.sameText(o) && (c.info == nil || c.info.Mode() == o.info.Mode() && sameOwner(c.info, o.info) && linked(c.info) == linked(o.info))
}

// sameText reports whether it is the same file and holds what it did.
func (c content) sameText(o content) bool {
	if c.info == nil || o.info == nil {
		return c.info == nil && o.info == nil
	}
	return os.SameFile(c.info, o.info) && bytes.Equal(c.data, o.data)
}

// stands makes sure that the file is still what path leads to, as it was read.
func (c content) stands(ctx context.Context, path string) error {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	now, err := at.read(ctx)
	if err == nil && !now.sameText(c) {
		err = errMeanwhile
	}
	return err
}

// arrived makes sure that path leads to the file that was written: its directory may have been moved away meanwhile.
func (c content) arrived(path string) error {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	var found unix.Stat_t
	err = uninterrupted(func() error { return unix.Fstatat(at.fd(), at.name, &found, unix.AT_SYMLINK_NOFOLLOW) })
	written := c.info.Sys().(*syscall.Stat_t)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (found.Ino != written.Ino || found.Dev != written.Dev) {
		return errMeanwhile
	}
	return err
}

// linked reports whether the file has another name.
func (c content) linked() bool { return c.info != nil && linked(c.info) }

// errMeanwhile: somebody who does not take our lock wrote to the file or put another directory in place of its own.
var errMeanwhile = errors.New("the file was changed meanwhile")

// attempts bounds how often an edit starts again because of such a writer.
const attempts = 20

// readFile finds the file and reads it.
func (p *Platform) readFile(ctx context.Context, path string) (content, error) {
	for range attempts {
		c, err := p.lookOnce(ctx, path)
		if !errors.Is(err, errMeanwhile) {
			return c, err
		}
	}
	return content{}, fmt.Errorf("read authorized keys %s, %d attempts: %w", path, attempts, errMeanwhile)
}

func (p *Platform) lookOnce(ctx context.Context, path string) (content, error) {
	at, err := find(path)
	if err != nil {
		return content{}, err
	}
	defer at.close()
	return p.read(ctx, path, at)
}

// read reads the file and remembers it.
func (p *Platform) read(ctx context.Context, path string, at *place) (content, error) {
	p.called("read")
	c, err := at.read(ctx)
	p.remember(path, c, err)
	return c, err
}

// edit changes the file under its lock. before is the file as the caller saw it without the lock; with expected, access
// is recorded there; with creating, change may add lines; change is told what it changes.
func (p *Platform) edit(ctx context.Context, path string, before content, expected, creating bool, change func(content, *keys)) error {
	patience := time.Now().Add(p.patience)
	var err error
	for n := range attempts {
		if n > 0 {
			if err := backoff.Wait(ctx, 0, 20*time.Millisecond, 20*time.Millisecond); err != nil {
				return err
			}
		}
		lax := !creating && n >= attempts/2 // somebody changes the mode all the time, and access is to end
		if err = p.editOnce(ctx, path, before, expected, n > 0, lax, patience, change); !errors.Is(err, errMeanwhile) {
			return err
		}
	}
	return fmt.Errorf("write authorized keys %s, %d attempts: %w", path, attempts, err)
}

// editOnce finds the file, takes its lock, changes it and looks where the change went.
func (p *Platform) editOnce(ctx context.Context, path string, before content, expected, anew, lax bool, patience time.Time, change func(content, *keys)) error {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	at.lax = lax
	if expected && at.untouched() {
		return vanished(at.path)
	}
	unlock, locked, err := p.lock(ctx, at, patience)
	if err != nil {
		return err
	}
	defer unlock()
	if anew {
		if before, err = p.read(ctx, path, at); err != nil {
			return err
		}
	}
	k := before.parsed.parseAgain(before.data)
	change(before, k)
	after := k.bytes()
	if bytes.Equal(before.data, after) {
		// Nothing to do, if that is still what is there.
		return errors.Join(before.stands(ctx, path), ctx.Err())
	}
	p.called("write")
	written, err := at.replace(ctx, before, after, locked)
	if err == nil {
		err = written.arrived(path)
	}
	written.parsed = k
	p.remember(path, written, err)
	return err
}
