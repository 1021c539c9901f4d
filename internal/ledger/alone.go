package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Alone keeps a second daemon away from a ledger that is a file: it would only be in the way. A ledger that many may share is not kept.
// The death of the process lets go of it too. Its methods are for one goroutine.
type Alone struct {
	ledger *Ledger
	file   *sqliteFile // nil for a ledger that is shared
	lock   *flock.Flock
	held   fs.FileInfo
}

// WatchAlone takes the ledger for this process. The error is [jit.ErrInvalid] when another process has it.
func (l *Ledger) WatchAlone() (*Alone, error) {
	file, _ := l.db.(*sqliteFile)
	a := &Alone{ledger: l, file: file}
	if file == nil {
		return a, nil
	}
	return a, a.take()
}

// Keep makes sure that the ledger is still kept. Where somebody has removed the lock, with its directory perhaps, it is taken anew; the error
// is [jit.ErrInvalid] when another process has taken it meanwhile.
func (a *Alone) Keep() error {
	if a.file == nil {
		return nil
	}
	if there, err := os.Stat(a.lock.Path()); err == nil && os.SameFile(there, a.held) {
		return nil
	}
	old := a.lock
	if err := a.take(); err != nil {
		return err
	}
	return a.ledger.fail("watch", old.Close())
}

// Release lets go of the ledger.
func (a *Alone) Release() {
	if a.file != nil {
		_ = a.lock.Unlock() // the lock ends with the process in any case
	}
}

// take locks a file beside the ledger.
func (a *Alone) take() error {
	if err := os.MkdirAll(filepath.Dir(a.file.path), 0o700); err != nil {
		return a.ledger.fail("watch", err)
	}
	path, err := resolved(a.file.path)
	if err != nil {
		return a.ledger.fail("watch", err)
	}
	lock := flock.New(path+".watch", flock.SetPermissions(0o600))
	mine, err := lock.TryLock()
	if err == nil && mine {
		a.held, err = os.Stat(lock.Path())
	}
	if err != nil {
		return a.ledger.fail("watch", err)
	}
	if !mine {
		return jit.Invalid("ledger", "stop the other one first, or use a postgres:// ledger, which any number of them share",
			"another `jit sweep --watch` is at work on %s", a.ledger.db.name())
	}
	a.lock = lock
	return nil
}

// resolved is where a file is, or will be, whatever links lead there: one file has one lock.
func resolved(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}
