package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// content is a file as it was read; info is nil when there was none.
type content struct {
	data []byte
	info fs.FileInfo
	// parsed are the lines, where they are known already.
	parsed *keys
}

// readContent reads the whole file. A file that does not exist is empty.
func readContent(path string) (content, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonBlocking, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, nil
	}
	if err != nil {
		return content{}, fmt.Errorf("read authorized keys: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return content{}, fmt.Errorf("read authorized keys: %w", err)
	}
	if !info.Mode().IsRegular() {
		return content{}, &jit.Error{
			Problem: fmt.Sprintf("%s is not a regular file (%s) and sshd does not read it", path, info.Mode().Type()),
			Hint:    "write the path of the authorized_keys file into the target",
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return content{}, fmt.Errorf("read authorized keys %s: %w", path, err)
	}
	return content{data: data, info: info}, nil
}

// same reports whether nobody wrote to the file, or changed its owner or mode, between two looks.
func (c content) same(o content) bool {
	if c.info == nil || o.info == nil {
		return c.info == nil && o.info == nil
	}
	return os.SameFile(c.info, o.info) && c.info.ModTime().Equal(o.info.ModTime()) &&
		c.info.Mode() == o.info.Mode() && sameOwner(c.info, o.info) && bytes.Equal(c.data, o.data)
}

// errMeanwhile: somebody who does not take our lock wrote to the file.
var errMeanwhile = errors.New("the file was changed meanwhile")

// attempts bounds how often an edit starts again because of such a writer.
const attempts = 20

// edit changes the file under its lock. before is the file as the caller saw it without the lock.
func (p *Platform) edit(ctx context.Context, path string, before content, change func(*keys)) error {
	unlock, err := lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	for range attempts {
		if err = p.editOnce(ctx, path, before, change); !errors.Is(err, errMeanwhile) {
			return err
		}
		if err := backoff.Wait(ctx, 0, 20*time.Millisecond, 20*time.Millisecond); err != nil {
			return err
		}
		var unread error
		if before, unread = p.read(path); unread != nil {
			return unread
		}
	}
	return fmt.Errorf("write authorized keys %s, %d attempts: %w", path, attempts, err)
}

func (p *Platform) editOnce(ctx context.Context, path string, before content, change func(*keys)) error {
	k := before.parsed.parseAgain(before.data)
	change(k)
	after := k.bytes()
	if !bytes.Equal(before.data, after) {
		p.called("write")
		written, err := replace(ctx, path, before, after)
		written.parsed = k
		p.remember(path, written, err)
		return err
	}
	// Nothing to do, if that is still what is there.
	now, err := readContent(path)
	if err == nil && !now.same(before) {
		err = errMeanwhile
	}
	return errors.Join(err, ctx.Err())
}

// replace puts a new file in the place of the old one, whole or not at all, and returns it.
func replace(ctx context.Context, path string, before content, data []byte) (written content, err error) {
	dir := filepath.Dir(path)
	defer func() {
		if err != nil && !errors.Is(err, errMeanwhile) && ctx.Err() == nil {
			err = cannotWrite(path, err)
		}
	}()
	// Who holds the lock is the only one to write this file; one that is there was left by a writer that died.
	name := filepath.Join(dir, "."+filepath.Base(path)+".jit-new")
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return content{}, err
	}
	temp, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // never through a link
	if err != nil {
		return content{}, err
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	if _, err := temp.Write(data); err != nil {
		return content{}, err
	}
	if err := dress(temp, path, before.info); err != nil {
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
	// Whoever writes without our lock, an editor for example, is noticed if he was done by now. What he writes
	// between this look and the rename, a few microseconds, is lost; no call closes that gap against a
	// writer who does not lock.
	now, err := readContent(path)
	if err != nil {
		return content{}, err
	}
	if !now.same(before) {
		return content{}, errMeanwhile
	}
	if err := ctx.Err(); err != nil {
		return content{}, err
	}
	failpoint.Hit("ssh.before-rename")
	if err := os.Rename(temp.Name(), path); err != nil {
		return content{}, err
	}
	failpoint.Hit("ssh.after-rename")
	return content{data: data, info: info}, syncDir(dir)
}

// cannotWrite says what stood in the way of writing.
func cannotWrite(path string, err error) error {
	hint := "nothing was changed; see to it that there is room and run again"
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = fmt.Sprintf("nothing was changed; run as the owner of %s or as root: a new file is made in its directory and renamed", path)
	case errors.Is(err, fs.ErrNotExist):
		hint = fmt.Sprintf("make the directory %s, owned by the account and with mode 0700, or correct the path in the target", filepath.Dir(path))
	}
	return &jit.Error{Problem: fmt.Sprintf("cannot write %s: %v", path, err), Hint: hint, Err: err}
}

// lock takes the lock of the file, which is that of a file beside it, and waits
// for it no longer than ctx lasts.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	side := path + ".jit.lock"
	f, err := openLock(side, filepath.Dir(path))
	if err != nil {
		return nil, cannotWrite(path, err)
	}
	for n := 0; ; n++ {
		taken, err := tryLock(f)
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", side, err)
		}
		if taken {
			return func() { _ = f.Close() }, nil // closing unlocks
		}
		if err := backoff.Wait(ctx, n, 2*time.Millisecond, 40*time.Millisecond); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("wait for the lock %s: %w", side, err)
		}
	}
}
