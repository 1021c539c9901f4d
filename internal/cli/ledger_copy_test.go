package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// A team that goes from a file to a bucket and back keeps its grants, and can end them.
func TestLedgerCopy(t *testing.T) {
	w := newWorld(t)
	s := buckettest.New(t)
	buckettest.Setenv(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	g := w.grant("INC-1", "1h")
	w.grant("INC-2", "1h")
	bucket, file := s.Ledger("jit"), "sqlite://"+filepath.Join(t.TempDir(), "ledger.db")

	w.run("ledger", "copy", "sqlite://ledger.db", bucket).wantCode(exitDone).wantOut("Copied 2 grants", "intact")
	w.run("audit", "verify", bucket).wantCode(exitDone).wantOut("is intact", "2 grants")
	r := w.run("ledger", "copy", bucket, file, "--json").wantCode(exitDone)
	var c ledger.Copied
	if r.decode(&c); c.Grants != 2 || c.Events == 0 || c.ID == "" {
		t.Errorf("%+v", c)
	}
	for _, to := range []string{bucket, file} {
		w.run("ledger", "copy", "sqlite://ledger.db", to).wantCode(exitNotDone).wantErr("is not empty", c.ID)
	}
	w.run("ledger", "copy", "sqlite://absent.db", s.Ledger("x")).wantCode(exitUnreadable).wantErr("there is no ledger")
	w.run("ledger", "copy", "sqlite://ledger.db").wantCode(exitUsage)
	w.run("ledger", "copy", "sqlite://ledger.db", "ftp://x").wantCode(exitUsage).wantErr("not a kind of ledger")

	settings, err := os.ReadFile("jit.hcl")
	if err != nil {
		t.Fatal(err)
	}
	w.write("jit.hcl", strings.Replace(string(settings), `ledger  = "sqlite://ledger.db"`, "", 1))
	t.Setenv(config.EnvLedger, bucket)
	w.wantAccess(g, true)
	w.run("revoke", string(g.ID), "--reason", "done", "--yes").wantCode(exitDone)
	w.wantAccess(g, false)
	w.run("audit", "verify").wantCode(exitDone).wantOut("is intact", "2 grants")
}
