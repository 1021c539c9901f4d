package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

// Promise 11: the objects of a bucket are all that an auditor needs, and a copy that has read them before hides no damage.
func TestAuditVerifyOfABucket(t *testing.T) {
	w := newWorld(t)
	s := buckettest.New(t)
	buckettest.Setenv(t)
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	url := s.Ledger("jit")
	t.Setenv(config.EnvLedger, url)
	settings, err := os.ReadFile("jit.hcl")
	if err != nil {
		t.Fatal(err)
	}
	w.write("jit.hcl", strings.Replace(string(settings), `ledger  = "sqlite://ledger.db"`, "", 1))
	w.grant("INC-1", "1h")
	g := w.grant("INC-2", "1h")
	w.wantAccess(g, true)
	w.run("revoke", string(g.ID), "--reason", "done", "--yes").wantCode(exitDone)
	w.wantAccess(g, false)
	w.run("audit", "verify").wantCode(exitDone).wantOut("is intact", "2 grants")

	empty := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", empty)
	t.Setenv(config.EnvLedger, "")
	t.Chdir(t.TempDir())
	w.run("audit", "verify", url).wantCode(exitDone).wantOut("is intact", "2 grants")
	if found, err := os.ReadDir(empty); err != nil || len(found) > 0 {
		t.Errorf("the cache has %v, %v", found, err)
	}

	t.Setenv("XDG_CACHE_HOME", cache)
	second := "jit/payments/log/00000000000000000002"
	kept := s.Object(second)
	s.Put(second, nil)
	w.run("audit", "verify", url).wantCode(exitUnreadable).wantErr(second, "is missing")
	s.Put(second, append([]byte("{"), kept...))
	w.run("audit", "verify", url).wantCode(exitUnreadable).wantErr(second, "cut off or is not a commit")
	s.Put(second, kept)
	w.run("audit", "verify", url, "--owner", "payments").wantCode(exitDone)
	w.run("audit", "verify", "ftp://x").wantCode(exitUsage).wantErr("not a kind of ledger")
}
