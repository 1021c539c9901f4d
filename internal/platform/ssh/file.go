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
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// read reads the whole file. A file that does not exist is empty.
func (at *place) read() (content, error) {
	c := content{path: at.path}
	f, err := at.open(at.name, os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.untouched = at.untouched()
		return c, nil
	case err != nil && swapped(err):
		return c, errMeanwhile
	case errors.Is(err, unix.ENXIO): // a socket
		return c, at.notRegular("a socket")
	case err != nil:
		return c, fmt.Errorf("read authorized keys: %w", err)
	}
	defer func() { _ = f.Close() }()
	if c.info, err = f.Stat(); err != nil {
		return c, fmt.Errorf("read authorized keys: %w", err)
	}
	switch {
	case !c.info.Mode().IsRegular():
		return c, at.notRegular(c.info.Mode().Type().String())
	case !at.trusts(c.info):
		return c, &jit.Error{
			Problem: fmt.Sprintf("%s belongs to the user %d and its directory to the user %d", at.path, owner(c.info), owner(at.info)),
			Hint:    "give the file to the account whose keys it holds (chown)",
			Err:     fs.ErrPermission,
		}
	}
	c.data, err = io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return c, fmt.Errorf("read authorized keys %s: %w", at.path, err)
	case len(c.data) > maxSize || bytes.Count(c.data, []byte("\n")) > maxLines:
		return c, at.tooLarge()
	}
	return c, nil
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
	}
}

// same reports whether nobody wrote to the file, or changed its owner, mode or names, between two looks.
func (c content) same(o content) bool {
	if c.info == nil || o.info == nil {
		return c.info == nil && o.info == nil
	}
	return os.SameFile(c.info, o.info) && c.info.ModTime().Equal(o.info.ModTime()) &&
		c.info.Mode() == o.info.Mode() && sameOwner(c.info, o.info) && linked(c.info) == linked(o.info) && bytes.Equal(c.data, o.data)
}

// stands makes sure that the file is still what path leads to, as it was read.
func (c content) stands(path string) error {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	now, err := at.read()
	if err == nil && !now.same(c) {
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
	f, err := at.open(at.name, os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err != nil && swapped(err):
		return errMeanwhile
	case err != nil:
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, c.info) {
		err = errMeanwhile
	}
	return err
}

// linked reports whether the file has another name.
func (c content) linked() bool { return c.info != nil && linked(c.info) }

// errMeanwhile: somebody who does not take our lock wrote to the file or put another directory in place of its own.
var errMeanwhile = errors.New("the file was changed meanwhile")

// attempts bounds how often an edit starts again because of such a writer.
const attempts = 20

// look finds the file and reads it.
func (p *Platform) look(path string) (content, error) {
	for range attempts {
		c, err := p.lookOnce(path)
		if !errors.Is(err, errMeanwhile) {
			return c, err
		}
	}
	return content{}, fmt.Errorf("read authorized keys %s, %d attempts: %w", path, attempts, errMeanwhile)
}

func (p *Platform) lookOnce(path string) (content, error) {
	at, err := find(path)
	if err != nil {
		return content{}, err
	}
	defer at.close()
	return p.read(path, at)
}

// read reads the file and remembers it.
func (p *Platform) read(path string, at *place) (content, error) {
	p.called("read")
	c, err := at.read()
	p.remember(path, c, err)
	return c, err
}

// edit changes the file under its lock. before is the file as the caller saw it without the lock; with expected, access is
// recorded there; change is told what it changes.
func (p *Platform) edit(ctx context.Context, path string, before content, expected bool, change func(content, *keys)) error {
	patience := time.Now().Add(p.patience)
	var err error
	for n := range attempts {
		if n > 0 {
			if err := backoff.Wait(ctx, 0, 20*time.Millisecond, 20*time.Millisecond); err != nil {
				return err
			}
		}
		if err = p.editOnce(ctx, path, before, expected, n > 0, patience, change); !errors.Is(err, errMeanwhile) {
			return err
		}
	}
	return fmt.Errorf("write authorized keys %s, %d attempts: %w", path, attempts, err)
}

// editOnce finds the file, takes its lock, changes it and looks where the change went.
func (p *Platform) editOnce(ctx context.Context, path string, before content, expected, anew bool, patience time.Time, change func(content, *keys)) error {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	if expected && at.untouched() {
		return vanished(at.path)
	}
	unlock, locked, err := p.lock(ctx, at, patience)
	if err != nil {
		return err
	}
	defer unlock()
	if anew {
		if before, err = p.read(path, at); err != nil {
			return err
		}
	}
	k := before.parsed.parseAgain(before.data)
	change(before, k)
	after := k.bytes()
	if bytes.Equal(before.data, after) {
		// Nothing to do, if that is still what is there.
		return errors.Join(before.stands(path), ctx.Err())
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
