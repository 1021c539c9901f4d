package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The ledger is lost: what the markers tell is recorded again, and nothing that is over comes back.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	over, live := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	w.run("adopt").wantCode(exitDone).wantErr("The ledger knows every marker.")
	lostLedger(w)
	w.now = w.now.Add(time.Hour)
	w.run("adopt", "--dry-run").wantCode(exitNotDone).wantOut(string(over.ID), string(live.ID)).wantErr("2 grants would be recorded")
	if exists("ledger.db") {
		t.Error("a dry run made a ledger")
	}
	w.run("adopt").wantCode(exitDone).wantOut(string(over.ID), string(live.ID))
	w.run("adopt").wantCode(exitDone).wantErr("The ledger knows every marker.")
	var shown []struct {
		ID    jit.ID
		State jit.State
		Start time.Time `json:"starts_at"`
		End   time.Time `json:"expires_at"`
		jit.Binding
	}
	w.run("list", "--all", "--json").decode(&shown)
	if len(shown) != 2 {
		t.Fatalf("recorded %+v", shown)
	}
	for i, want := range []struct {
		g     jit.Grant
		state jit.State
	}{{over, jit.StateExpired}, {live, jit.StateActive}} {
		if got := shown[i]; got.ID != want.g.ID || got.State != want.state || got.Binding != want.g.Binding || !got.Start.Equal(want.g.Start) || !got.End.Equal(want.g.End) {
			t.Errorf("recorded %+v, want %s %+v", got, want.state, want.g)
		}
	}
	w.run("sweep").wantCode(exitDone).wantOut("end", string(over.ID)).wantNotOut(string(live.ID))
	w.wantAccess(over, false)
	w.wantAccess(live, true)
	if n := strings.Count(w.run("audit", "export").out, `"kind":"adopted"`); n != 2 {
		t.Errorf("%d events tell of it, want 2", n)
	}
	w.run("adopt", "--target", "none*").wantCode(exitDone)
}
