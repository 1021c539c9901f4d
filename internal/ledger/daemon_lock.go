package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// DaemonLock keeps a second daemon away from a ledger in a file. Any number of daemons may share a ledger on a server,
// for which it does nothing. The lock ends with the process. Its methods are for one goroutine.
type DaemonLock struct {
	ledger *Ledger
	file   *sqliteFile // nil for a ledger on a server
	lock   *flock.Flock
	held   fs.FileInfo
}

// LockDaemon locks the ledger for this process. The error is [jit.ErrInvalid] if another process holds the lock.
func (l *Ledger) LockDaemon() (*DaemonLock, error) {
	file, _ := l.db.(*sqliteFile)
	d := &DaemonLock{ledger: l, file: file}
	return d, d.acquire()
}

// Keep checks that the ledger is still locked. If somebody removed the lock file, perhaps with its directory, Keep
// locks the ledger again. The error is [jit.ErrInvalid] if another process has locked it meanwhile.
func (d *DaemonLock) Keep() error {
	if d.file == nil {
		return nil
	}
	if now, err := os.Stat(d.lock.Path()); err == nil && os.SameFile(now, d.held) {
		return nil
	}
	old := d.lock
	if err := d.acquire(); err != nil {
		return err
	}
	return d.ledger.fail("watch", old.Close())
}

// Release unlocks the ledger.
func (d *DaemonLock) Release() {
	if d.file != nil {
		_ = d.lock.Unlock() // the lock ends with the process in any case
	}
}

// acquire locks a file beside the ledger.
func (d *DaemonLock) acquire() error {
	if d.file == nil {
		return nil
	}
	locked, err := d.tryLock()
	switch {
	case err != nil:
		return d.ledger.fail("watch", err)
	case !locked:
		return jit.Invalid("ledger",
			"stop that one first, or use a postgres:// ledger, which any number of daemons can share",
			"another `jit sweep --watch` runs on %s", d.ledger.db.name())
	}
	return nil
}

func (d *DaemonLock) tryLock() (bool, error) {
	if err := os.MkdirAll(filepath.Dir(d.file.path), 0o700); err != nil {
		return false, err
	}
	path, err := resolved(d.file.path)
	if err != nil {
		return false, err
	}
	lock := flock.New(path+".watch", flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil || !locked {
		return false, err
	}
	d.lock = lock
	d.held, err = os.Stat(path + ".watch")
	return true, err
}

// resolved returns the path of a file, which need not exist, without symbolic links: one file has one lock.
func resolved(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}
