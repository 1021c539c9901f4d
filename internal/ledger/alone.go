package ledger

import (
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
	lock := flock.New(file.path+".watch", flock.SetPermissions(0o600))
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
