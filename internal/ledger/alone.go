package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// WatchAlone keeps a second daemon away from a ledger that is a file: it would only be in the way. The error is
// [jit.ErrInvalid] when another process has it. A ledger that many may share is not kept. release lets go; the death
// of the process does too.
func (l *Ledger) WatchAlone() (release func(), err error) {
	file, ok := l.db.(*sqliteFile)
	if !ok {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(file.path), 0o700); err != nil {
		return nil, l.fail("watch", err)
	}
	path, err := resolved(file.path)
	if err != nil {
		return nil, l.fail("watch", err)
	}
	lock := flock.New(path+".watch", flock.SetPermissions(0o600))
	mine, err := lock.TryLock()
	if err != nil {
		return nil, l.fail("watch", err)
	}
	if !mine {
		return nil, jit.Invalid("ledger", "stop the other one first, or use a postgres:// ledger, which any number of them share",
			"another `jit sweep --watch` is at work on %s", l.db.name())
	}
	return func() { _ = lock.Unlock() }, nil // the lock ends with the process in any case
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
