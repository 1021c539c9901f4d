package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// By a file that everybody may write, nothing is granted; what is granted ends.
func TestLedgerThatEverybodyMayWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has other permissions")
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, "sqlite://"+path)
	granting := func(i int) error {
		e := ledgertest.Entry(ledgertest.Grant(i))
		e.Current = true
		return l.Write(t.Context(), []jit.Entry{e})[0]
	}
	if err := granting(1); err != nil {
		t.Fatal(err)
	}
	for mode, refused := range map[os.FileMode]bool{0o666: true, 0o602: true, 0o660: false, 0o644: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		err := granting(int(mode))
		var told *jit.Error
		if refused != errors.As(err, &told) || refused &&
			(!strings.Contains(told.Hint, "chmod 600 "+path) || !strings.Contains(told.Hint, "move the ledger")) {
			t.Errorf("mode %04o: %v", mode, err)
		}
		write(t, l, ledgertest.Entry(ledgertest.Grant(1000+int(mode))))
	}
}
