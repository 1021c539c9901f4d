package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// WrongClock is a PostgreSQL server whose clock a test sets.
type WrongClock struct {
	*PostgresServer
	file string // with what libfaketime adds to the time
}

// PostgresWithClock starts a PostgreSQL server whose clock can be set; it ends with the test. Debian's libfaketime
// (https://github.com/wolfcw/libfaketime) changes the time of the server only: the test's own clock stays right.
func PostgresWithClock(t testing.TB) *WrongClock {
	t.Helper()
	Acceptance(t)
	library, err := fakeTime()
	if err != nil {
		Unavailable(t, "libfaketime", err)
	}
	dir, err := tempDir(nil, "jit-clock") // the server's account must be able to read it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &WrongClock{file: filepath.Join(dir, "offset")}
	s.SetClock(t, 0)
	s.PostgresServer = ownCluster(t, clusterOptions{env: []string{"LD_PRELOAD=" + library,
		"FAKETIME_TIMESTAMP_FILE=" + s.file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}})
	return s
}

// SetClock sets the server's clock off from this machine's, from the next statement on.
func (s *WrongClock) SetClock(t testing.TB, by time.Duration) {
	t.Helper()
	// The file is replaced, so that the server never reads a part of it.
	next := s.file + ".next"
	err := os.WriteFile(next, fmt.Appendf(nil, "%+.3f\n", by.Seconds()), 0o600)
	err = errors.Join(err, os.Chmod(next, 0o644))
	if err = errors.Join(err, os.Rename(next, s.file)); err != nil {
		t.Fatal(err)
	}
}

// fakeTime returns the path of libfaketime.
func fakeTime() (string, error) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(found) == 0 {
		return "", errors.New("no /usr/lib/*/faketime/libfaketime.so.1; run `make testenv` or install faketime")
	}
	return found[0], nil
}
