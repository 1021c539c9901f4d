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
	var b bytes.Buffer
	b.Grow(int(min(info.Size(), maxSize)) + bytes.MinRead)
	_, err = b.ReadFrom(io.LimitReader(f, maxSize+1))
	c.data = b.Bytes()
	switch {
	case err != nil:
		return c, fmt.Errorf("read authorized keys %s: %w", at.path, err)
	case exceeds(c.data):
		return c, at.tooLarge()
	}
	return c, nil
}

func exceeds(data []byte) bool {
	return len(data) > maxSize || bytes.Count(data, []byte("\n")) > maxLines
}

// openRegular opens the file to read it, if sshd would read it and its owner can be trusted.
func (at *place) openRegular(ctx context.Context) (*os.File, fs.FileInfo, error) {
	f, err := at.openKeys(ctx)
	switch {
	case swapped(err):
		return nil, nil, errMeanwhile
	case errors.Is(err, unix.ENXIO):
		return nil, nil, at.notRegular("a socket")
	case err != nil:
		return nil, nil, fmt.Errorf("read authorized keys: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = at.check(info)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// check refuses a file that sshd would not read, and a file of a stranger.
func (at *place) check(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return at.notRegular(info.Mode().Type().String())
	case at.trusts(info):
		return nil
	}
	return &jit.Error{
		Problem: fmt.Sprintf("%s belongs to the user %d and its directory to the user %d",
			at.path, owner(info), owner(at.info)),
		Hint: "give the file to the account whose keys it holds (chown)",
		Err:  fs.ErrPermission,
	}
}

// untouched reports whether neither the file nor our lock beside it exists.
func (at *place) untouched() bool {
	for _, name := range []string{at.name, at.lockName()} {
		if _, err := stat(at.dir, name); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

func (at *place) notRegular(kind string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s is not a regular file (%s) and sshd does not read it", at.path, kind),
		Hint:    "write the path of the authorized_keys file into the target",
	}
}

func (at *place) tooLarge() error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s has more than the %d MiB or %d lines that are read of such a file",
			at.path, maxSize>>20, maxLines),
		Hint: "remove lines that are no keys",
		Err:  errTooLarge,
	}
}

// same reports whether the file has the same content, owner, mode and number of names. The time of the last write does
// not count: any login of the account can change it all the time.
func (c content) same(o content) bool {
	return c.sameText(o) && (c.info == nil ||
		c.info.Mode() == o.info.Mode() && sameOwner(c.info, o.info) && linked(c.info) == linked(o.info))
}

// sameText reports whether it is the same file with the same content.
func (c content) sameText(o content) bool {
	if c.info == nil || o.info == nil {
		return c.info == nil && o.info == nil
	}
	return os.SameFile(c.info, o.info) && bytes.Equal(c.data, o.data)
}

// stands makes sure that the path still leads to the file as it was read.
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

// arrived makes sure that the path leads to the file that was written: somebody may have moved its directory away.
func (c content) arrived(path string) error {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	found, err := stat(at.dir, at.name)
	written := c.info.Sys().(*syscall.Stat_t)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (found.Ino != written.Ino || found.Dev != written.Dev) {
		return errMeanwhile
	}
	return err
}

// linked reports whether the file has another name.
func (c content) linked() bool { return c.info != nil && linked(c.info) }

// errMeanwhile: a writer without our lock wrote to the file, or replaced its directory.
var errMeanwhile = errors.New("the file was changed meanwhile")

// attempts limits how often a read or an edit starts again because of such a writer.
const attempts = 20

// undisturbed calls try, with the number of tries so far, until no other writer disturbs it.
func undisturbed(ctx context.Context, doing string, try func(n int) error) error {
	for n := range attempts {
		if err := try(n); !errors.Is(err, errMeanwhile) {
			return err
		}
		if err := backoff.Wait(ctx, 0, 20*time.Millisecond, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s, %d attempts: %w", doing, attempts, errMeanwhile)
}

// readFile finds the file and reads it.
func (p *Platform) readFile(ctx context.Context, path string) (c content, err error) {
	err = undisturbed(ctx, "read authorized keys "+path, func(int) error {
		at, err := find(path)
		if err != nil {
			return err
		}
		defer at.close()
		c, err = p.read(ctx, path, at)
		return err
	})
	return c, err
}

// read reads the file and remembers it.
func (p *Platform) read(ctx context.Context, path string, at *place) (content, error) {
	p.called("read")
	c, err := at.read(ctx)
	if err == nil {
		c.parsed = parseKeys(c.data)
	}
	p.remember(path, c, err)
	return c, err
}

// locked calls change with the file, found and locked, until no other writer disturbs it. With expected, the ledger
// says that the file has access.
func (p *Platform) locked(ctx context.Context, path string, expected bool, change func(at *place, n int) error) error {
	until := time.Now().Add(p.patience)
	return undisturbed(ctx, "write authorized keys "+path, func(n int) error {
		at, err := find(path)
		if err != nil {
			return err
		}
		defer at.close()
		if expected && at.untouched() {
			return vanished(at.path)
		}
		unlock, err := p.lock(ctx, at, until)
		if err != nil {
			return err
		}
		defer unlock()
		return change(at, n)
	})
}

// edit changes the file under its lock. before is the file as the caller last saw it. With creating, change may add
// lines. change receives the content that it changes.
func (p *Platform) edit(ctx context.Context, path string, before content, expected, creating bool,
	change func(content, *keys)) error {
	return p.locked(ctx, path, expected, func(at *place, n int) (err error) {
		if n > 0 {
			if before, err = p.read(ctx, path, at); err != nil {
				return err
			}
		}
		k := before.parsed.clone()
		change(before, k)
		after := k.bytes()
		if bytes.Equal(before.data, after) {
			return errors.Join(before.stands(ctx, path), ctx.Err())
		}
		p.called("write")
		// Somebody may change the mode all the time; access must end all the same.
		at.lax = !creating && n >= attempts/2
		written, err := at.write(ctx, before, after)
		if err == nil {
			err = written.arrived(path)
		}
		written.parsed = k
		p.remember(path, written, err)
		return err
	})
}
