package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A failed build leaves no files. The next one replaces an incomplete result. Later ones do nothing.
func TestOnce(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "cache", "environment")
	file := filepath.Join(whole, "bin", "python")
	built := 0
	build := func(failure error) error {
		return once(t.Context(), "it", file, whole, t.Output(), func(partial string) error {
			built++
			return errors.Join(os.MkdirAll(filepath.Join(partial, "bin"), 0o700),
				os.WriteFile(filepath.Join(partial, "bin", "python"), nil, 0o600), failure)
		})
	}
	broken := errors.New("broken")
	if err := build(broken); !errors.Is(err, broken) || isThere(whole) {
		t.Errorf("a build that fails: %v, the result exists: %t", err, isThere(whole))
	}
	if err := os.Mkdir(whole, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := build(nil); err != nil || !isThere(file) || built != 2 {
			t.Errorf("after %d builds: %v, the file exists: %t", built, err, isThere(file))
		}
	}
	if left, _ := filepath.Glob(whole + ".*"); len(left) != 1 { // the lock
		t.Errorf("the remaining files are %v", left)
	}
}
