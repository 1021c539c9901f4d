//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
)

// lockName is the name of the file whose lock is that of the keys: these are replaced, so theirs would be lost.
func (at *place) lockName() string { return at.name + ".jit.lock" }

// lock takes the lock and waits for it until then, but no longer than ctx lasts. A lock that cannot be had
// is done without, with a warning: each change compares what it replaces with what it has read.
func (p *Platform) lock(ctx context.Context, at *place, until time.Time) (unlock func(), locked bool, err error) {
	side := filepath.Join(filepath.Dir(at.path), at.lockName())
	f, unusable, err := at.openLock()
	if err != nil {
		return nil, false, at.cannotWrite(err)
	}
	if f == nil {
		p.doWithout(side, unusable)
		return func() {}, false, nil
	}
	if p.didWithout(side) {
		until = time.Time{}
	}
	for n := 0; ; n++ {
		taken, err := tryLock(f)
		switch {
		case err != nil:
			_ = f.Close()
			return nil, false, fmt.Errorf("lock %s: %w", f.Name(), err)
		case taken:
			return func() { _ = f.Close() }, true, nil // closing unlocks
		case !time.Now().Before(until):
			p.doWithout(side, fmt.Sprintf("somebody has held it for %s", p.patience))
			return func() {}, false, f.Close()
		}
		if err := backoff.Wait(ctx, n, 2*time.Millisecond, 10*time.Millisecond); err != nil {
			_ = f.Close()
			return nil, false, fmt.Errorf("wait for the lock %s: %w", f.Name(), err)
		}
	}
}

// impatient is how long a lock that could not be had is not waited for again, so that many changes in a row do not each
// wait.
const impatient = time.Minute

// didWithout reports whether the lock could not be had a short while ago.
func (p *Platform) didWithout(side string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.without[side]) < impatient
}

// doWithout notes that the lock cannot be had, and warns of it once in a while.
func (p *Platform) doWithout(side, why string) {
	if p.didWithout(side) {
		return
	}
	p.mu.Lock()
	p.without[side] = time.Now()
	p.mu.Unlock()
	p.warn(fmt.Sprintf("authorized_keys is changed without its lock %s: %s", side, why))
}

// openLock opens the lock file and creates it if need be. What the account has put in its place is not
// used: unusable says why, and f is nil.
func (at *place) openLock() (f *os.File, unusable string, err error) {
	f, err = at.create(at.lockName())
	if err == nil {
		if err := at.give(f); err != nil {
			return nil, "", errors.Join(err, f.Close())
		}
		return f, "", nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, "", err
	}
	// Before it is opened, for there are files that act on being opened.
	var found unix.Stat_t
	err = uninterrupted(func() error { return unix.Fstatat(at.fd(), at.lockName(), &found, unix.AT_SYMLINK_NOFOLLOW) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "it was changed meanwhile", nil
	case err != nil:
		return nil, "", err
	case found.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, "it is not a regular file", nil
	}
	f, err = at.open(at.lockName(), os.O_RDWR)
	switch {
	case err != nil && (swapped(err) || errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist)):
		return nil, "it was changed meanwhile", nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, "somebody has a lease on it", nil
	case err != nil:
		return nil, "", err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, "", errors.Join(err, f.Close())
	case !info.Mode().IsRegular():
		unusable = "it is not a regular file"
	case !at.trusts(info):
		unusable = fmt.Sprintf("it belongs to the user %d", owner(info))
	case linked(info):
		unusable = "it has a second name (hard link)"
	default:
		return f, "", nil
	}
	return nil, unusable, f.Close()
}

// tryLock takes the lock if nobody has it.
func tryLock(f *os.File) (bool, error) {
	switch err := uninterrupted(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	default:
		return false, err
	}
}
