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

// lockName is the name of the lock file. The file of keys cannot be the lock, because each change replaces it.
func (at *place) lockName() string { return at.name + ".jit.lock" }

// lock waits for the lock until a time, or until ctx ends. If the lock is unavailable it warns and goes on without:
// each change compares the file that it replaces with the one that it has read.
func (p *Platform) lock(ctx context.Context, at *place, until time.Time) (unlock func(), err error) {
	side := filepath.Join(filepath.Dir(at.path), at.lockName())
	f, err := at.openLock()
	var why unusableError
	if errors.As(err, &why) {
		p.doWithout(side, string(why))
		return func() {}, nil
	}
	if err != nil {
		return nil, at.cannotWrite(err)
	}
	if p.didWithout(side) {
		until = time.Time{}
	}
	at.locked, err = waitForLock(ctx, f, until)
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", side, err), f.Close())
	case !at.locked:
		p.doWithout(side, fmt.Sprintf("somebody has held it for %s", p.patience))
		return func() {}, f.Close()
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// waitForLock reports whether it could take the lock before a time.
func waitForLock(ctx context.Context, f *os.File, until time.Time) (taken bool, err error) {
	for n := 0; ; n++ {
		err := uninterrupted(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err == nil, err
		}
		if !time.Now().Before(until) {
			return false, nil
		}
		if err := backoff.Wait(ctx, n, 2*time.Millisecond, 10*time.Millisecond); err != nil {
			return false, err
		}
	}
}

// impatient is how long changes do not wait for a lock that was unavailable, so that many changes in a row do not each
// wait.
const impatient = time.Minute

// didWithout reports whether the lock was unavailable a short while ago.
func (p *Platform) didWithout(side string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.without[side]) < impatient
}

// doWithout notes that the lock is unavailable, and warns once in a while.
func (p *Platform) doWithout(side, why string) {
	if p.didWithout(side) {
		return
	}
	p.mu.Lock()
	p.without[side] = time.Now()
	p.mu.Unlock()
	p.warn(fmt.Sprintf("authorized_keys is changed without its lock %s: %s", side, why))
}

// unusableError says why the account has made the lock file useless.
type unusableError string

// Error returns the reason.
func (why unusableError) Error() string { return string(why) }

// openLock opens the lock file and creates it if necessary. The error is [unusableError] if the account has put
// something else in its place.
func (at *place) openLock() (*os.File, error) {
	f, err := at.create(at.lockName())
	if errors.Is(err, fs.ErrExist) {
		return at.reopenLock()
	}
	if err != nil {
		return nil, err
	}
	if err := at.give(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (at *place) reopenLock() (*os.File, error) {
	// Some files act on being opened, so the kind comes first.
	found, err := stat(at.dir, at.lockName())
	if err != nil {
		return nil, unusableOr(err)
	}
	if found.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unusableError("it is not a regular file")
	}
	f, err := at.open(at.lockName(), os.O_RDWR)
	if err != nil {
		return nil, unusableOr(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = at.usable(info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unusableOr returns the reason if the account can cause such an error, else the error.
func unusableOr(err error) error {
	switch {
	case swapped(err), errors.Is(err, unix.ENXIO), errors.Is(err, fs.ErrNotExist):
		return unusableError("it was changed meanwhile")
	case errors.Is(err, unix.EWOULDBLOCK):
		return unusableError("somebody has a lease on it")
	}
	return err
}

// usable refuses a lock file that the account may share with others.
func (at *place) usable(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return unusableError("it is not a regular file")
	case !at.trusts(info):
		return unusableError(fmt.Sprintf("it belongs to the user %d", owner(info)))
	case linked(info):
		return unusableError("it has a second name (hard link)")
	}
	return nil
}
