package cli

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

// Whoever may write the log of one owner can damage it. Sweepers still end the access of the others by the record, and
// the sweeper of this owner does by the markers. Each that may end this owner's access says which object is damaged.
func TestSweepWithADamagedLogOfAnOwner(t *testing.T) {
	w := newWorld(t)
	s := buckettest.New(t)
	buckettest.Setenv(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	text, err := os.ReadFile("jit.hcl")
	if err != nil {
		t.Fatal(err)
	}
	settings := strings.Replace(string(text), `ledger  = "sqlite://ledger.db"`, "", 1)
	t.Setenv(config.EnvLedger, s.Ledger("jit"))
	owner := func(name, more string) {
		w.write("jit.hcl", strings.Replace(settings, `"payments"`, `"`+name+`"`, 1)+more)
	}
	owner("mallory", "")
	theirs := w.grant("INC-1: theirs", "30m")
	owner("payments", "")
	live := w.grant("INC-2: live", "12h")
	s.Put("jit/mallory/log/notes", []byte("no commit"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, c := range []struct {
		settings string
		code     int
		repairs  bool
	}{
		{"", exitUnreadable, true},
		{`owners = ["payments"]`, exitDone, true},
		{`owners = ["*"]`, exitUnreadable, false}, // it needs the log of each
	} {
		owner("payments", "\n"+c.settings+"\n")
		over := w.grant("INC-3: over, "+c.settings, "30m")
		w.now = w.now.Add(time.Hour)
		w.write("authorized_keys", without(w.read("authorized_keys"), live.Principal))
		r := w.run("sweep").wantCode(c.code).wantOut(string(over.ID))
		if c.code != exitDone {
			r.wantErr("jit/mallory/log/notes")
		}
		w.wantAccess(over, false)
		w.wantAccess(live, c.repairs)
		if t.Failed() {
			t.Fatalf("with %q", c.settings)
		}
	}
	owner("mallory", "")
	w.run("sweep").wantCode(exitUnreadable).wantOut("remove", string(theirs.ID))
	w.wantAccess(theirs, false)
	owner("payments", "")
	w.run("revoke", string(live.ID), "--reason", "done", "--yes").wantCode(exitDone)
	w.run("list", "--owner", "payments").wantCode(exitDone)
	w.run("show", string(live.ID)).wantCode(exitDone).wantOut("revoked")
}

// without returns the lines that do not contain a text.
func without(lines, text string) string {
	var rest strings.Builder
	for line := range strings.Lines(lines) {
		if !strings.Contains(line, text) {
			rest.WriteString(line)
		}
	}
	return rest.String()
}
