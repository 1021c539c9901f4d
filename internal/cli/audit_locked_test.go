package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// An auditor learns which objects of the record the store keeps, and until when. An object that can be replaced fails
// the check.
func TestAuditVerifyLocked(t *testing.T) {
	w := newWorld(t)
	s := buckettest.New(t)
	buckettest.Setenv(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	w.grant("INC-1", "1h")
	url := s.Ledger("jit")
	w.run("ledger", "copy", "sqlite://ledger.db", url).wantCode(exitDone)
	w.run("audit", "verify", "--locked").wantCode(exitUsage).wantErr("is not in a bucket")
	w.run("audit", "verify", url, "--locked").wantCode(exitNotDone).
		wantOut("The store keeps 0 of ", "not kept: jit/_all/log/00000000000000000001").
		wantErr("can remove or replace")
	first, last := w.now.Add(time.Hour), w.now.Add(1000*time.Hour)
	keys := s.Keys()
	for _, key := range keys {
		s.Keep(key, buckettest.Kept{Mode: "COMPLIANCE", Until: last})
	}
	s.Keep(keys[0], buckettest.Kept{Mode: "COMPLIANCE", Until: first})
	w.run("audit", "verify", url, "--locked").wantCode(exitDone).wantOut("the first until ", "is intact")
	var v struct {
		OK     bool        `json:"ok"`
		Locked ledger.Kept `json:"locked"`
	}
	w.run("audit", "verify", url, "--locked", "--json").wantCode(exitDone).decode(&v)
	if !v.OK || v.Locked.Kept != int64(len(keys)) || !v.Locked.Until.Equal(first) || len(v.Locked.Retention) != len(keys) {
		t.Errorf("%+v", v)
	}
	w.now = w.now.Add(2 * time.Hour) // the lock of one object has ended
	w.run("audit", "verify", url, "--locked").wantCode(exitNotDone).wantOut("not kept: " + keys[0]).
		wantErr("does not keep 1 object of")
	var theirs int
	for _, key := range keys {
		if strings.Contains(key, "/_shared/") {
			theirs++
		}
	}
	w.run("audit", "verify", url, "--locked", "--owner", "payments", "--json").wantCode(exitNotDone).decode(&v)
	if v.OK || int(v.Locked.Objects) != len(keys)-theirs {
		t.Errorf("of one owner: %+v", v)
	}
}
