package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestReadingMakesNothing(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	path := filepath.Join(dir, "ledger.db")
	l := open(t, "sqlite://"+path)
	read := func() {
		t.Helper()
		if _, ok, err := l.Lookup(t.Context(), ledgertest.Grant(1).ID); ok || err != nil {
			t.Fatal(ok, err)
		}
		for _, f := range []jit.Filter{{Unsigned: true}, {Waiting: true}, {}} {
			for g, err := range l.Grants(t.Context(), f) {
				t.Fatal(g, err)
			}
		}
		if r := verify(t, l); r.Events != 0 {
			t.Fatal(r)
		}
		if got, err := l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"payments"}, Now: ledgertest.Epoch, Limit: 1}); len(
			got,
		) > 0 ||
			err != nil {
			t.Fatal(got, err)
		}
	}
	read()
	if got := names(t, top); got != "" {
		t.Errorf("reading created %s", got)
	}

	write(t, l, ledgertest.Entry(ledgertest.Grant(1)))
	for name, want := range map[string]os.FileMode{path: 0o600, dir: 0o700 | os.ModeDir, filepath.Dir(dir): 0o700 | os.ModeDir} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}

	other := open(t, "sqlite://"+path)
	if _, ok, err := other.Lookup(t.Context(), ledgertest.Grant(1).ID); !ok || err != nil {
		t.Errorf("another reader: %v, %v", ok, err)
	}
	if err := errors.Join(other.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "ledger.db ledger.db.head" {
		t.Errorf("after closing the directory has %s", got)
	}
}

func TestEmptyFileReadsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, "sqlite://"+path)
	if _, ok, err := l.Lookup(t.Context(), ledgertest.Grant(1).ID); ok || err != nil {
		t.Fatal(ok, err)
	}
	if text, err := os.ReadFile(path); err != nil || len(text) > 0 {
		t.Errorf("reading wrote %d bytes, %v", len(text), err)
	}
	write(t, l, ledgertest.Entry(ledgertest.Grant(1)))
}

func TestReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, "sqlite://"+path)
	write(t, l, ledgertest.Entry(ledgertest.Grant(1)))
	if _, ok, err := l.Lookup(t.Context(), ledgertest.Grant(1).ID); !ok || err != nil {
		t.Errorf("the written grant is not found: %v, %v", ok, err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if _, ok, err := l.Lookup(t.Context(), ledgertest.Grant(1).ID); ok || err != nil {
		t.Errorf("a removed file still answers: %v, %v", ok, err)
	}
	write(t, l, ledgertest.Entry(ledgertest.Grant(2)))
	if _, ok, err := open(t, "sqlite://"+path).Lookup(t.Context(), ledgertest.Grant(2).ID); !ok || err != nil {
		t.Errorf("another reader does not find the grant written after the removal: %v, %v", ok, err)
	}
	if _, ok, err := l.Lookup(t.Context(), ledgertest.Grant(2).ID); !ok || err != nil {
		t.Errorf("the writer does not find the grant written after the removal: %v, %v", ok, err)
	}
}

func TestDirectoryIsNoLedger(t *testing.T) {
	l := open(t, "sqlite://"+t.TempDir())
	for use, err := range uses(t, l) {
		told(t, use, err, "is a directory", "name a file")
	}
}

func TestFileAsDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for use, err := range uses(t, open(t, "sqlite://"+path+"/ledger.db")) {
		told(t, use, err, "not a directory", "name a file")
	}
}

func TestDamagedFile(t *testing.T) {
	t.Run("another file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "notes.txt")
		text := bytes.Repeat([]byte("these are notes\n"), 1000)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for use, err := range uses(t, open(t, "sqlite://"+path)) {
			told(t, use, err, "damaged, or is not a ledger", "backup")
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, text) {
			t.Errorf("the file was changed, %v", err)
		}
	})
	t.Run("overwritten pages", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		l := open(t, "sqlite://"+path)
		for n := range 50 {
			write(t, l, ledgertest.Entry(ledgertest.Grant(n)))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4096; i < len(text); i++ {
			text[i] = 0xa5
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for use, err := range uses(t, open(t, "sqlite://"+path)) {
			told(t, use, err, "damaged, or is not a ledger", "backup")
		}
	})
}
