package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// With the ledger lost, adopt records the grants again from their markers. No ended grant comes back.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	over, live := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	w.run("adopt").wantCode(exitDone).wantErr("The ledger explains every marker.")
	lostLedger(w)
	w.now = w.now.Add(time.Hour)
	w.run("adopt", "--dry-run").wantCode(exitNotDone).wantOut(string(over.ID), string(live.ID)).
		wantErr("2 grants would be recorded")
	if exists("ledger.db") {
		t.Error("a dry run created a ledger")
	}
	w.run("adopt").wantCode(exitDone).wantOut(string(over.ID), string(live.ID))
	w.run("adopt").wantCode(exitDone).wantErr("The ledger explains every marker.")
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
		if got := shown[i]; got.ID != want.g.ID || got.State != want.state || got.Binding != want.g.Binding ||
			!got.Start.Equal(want.g.Start) || !got.End.Equal(want.g.End) {
			t.Errorf("recorded %+v, want %s %+v", got, want.state, want.g)
		}
	}
	w.run("sweep").wantCode(exitDone).wantOut("end", string(over.ID)).wantNotOut(string(live.ID))
	w.wantAccess(over, false)
	w.wantAccess(live, true)
	if n := strings.Count(w.run("audit", "export").out, `"kind":"adopted"`); n != 2 {
		t.Errorf("%d adopted events, want 2", n)
	}
}

// An unreadable target does not stop the sweep or the adoption of the others. Expired access ends under any on_drift.
func TestLostLedgerWithATargetThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	over, live := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	lostLedger(w)
	w.now = w.now.Add(time.Hour)
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\nmax_unplanned_revocations = 0\ntargets = {\n"+
				"  bastion = { ssh = { authorized_keys = %q }, on_drift = \"report\" }\n  broken = { ssh = { authorized_keys = %q } }\n}\n",
			w.keys,
			t.TempDir(),
		),
	)
	w.run("adopt", "--dry-run").wantCode(exitUnreadable).wantOut(string(live.ID)).
		wantErr("broken", "not a regular file")
	w.run("sweep", "--markers-only").wantCode(exitUnreadable).wantOut("remove", "done", string(over.ID)).
		wantErr("broken", "not a regular file")
	w.wantAccess(over, false)
	w.wantAccess(live, true)
	w.run("adopt").wantCode(exitUnreadable).wantOut(string(live.ID)).wantNotOut(string(over.ID)).wantErr("broken")
	w.run("adopt", "--target", "bastion").wantCode(exitDone).wantErr("The ledger explains every marker.")
	if text, err := os.ReadFile(w.keys); err != nil || !strings.HasPrefix(string(text), foreignLine) {
		t.Errorf("a line of somebody else was changed: %s, %v", text, err)
	}
}

// A max_ttl that was lowered since does not apply to recorded grants. A grant that may not be recorded is named, with
// the limit.
func TestAdoptUnderALowerMaxTTL(t *testing.T) {
	w := newWorld(t)
	long, short := w.grant("INC-1: a", "2h"), w.grant("INC-2: b", "30m")
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\nmax_ttl = \"1h\"\ntargets = {\n  bastion = { ssh = { authorized_keys = %q } }\n}\n",
			w.keys,
		),
	)
	if r := w.run("adopt").wantCode(exitDone).wantErr("The ledger explains every marker."); strings.Contains(r.err,
		"max_ttl") {
		t.Errorf("a recorded grant was judged again: %s", r.err)
	}
	lostLedger(w)
	for _, args := range [][]string{{"adopt", "--dry-run"}, {"adopt"}} {
		w.run(args...).wantCode(exitNotDone).wantOut(string(short.ID)).wantNotOut(string(long.ID)).
			wantErr(string(long.ID), "max_ttl is 1h", "1 of 2 grants could not be recorded")
	}
	if r := w.run("adopt").wantCode(exitNotDone).wantErr(string(long.ID), "1 of 1 grants could not be recorded"); strings.Contains(
		r.err,
		"explains every marker",
	) ||
		r.out != "" {
		t.Errorf("output: %s%s", r.out, r.err)
	}
	w.wantAccess(long, true)
}

// Concurrent adoptions record each grant once.
func TestAdoptTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.grant(fmt.Sprintf("INC-%d: a", i), "2h")
	}
	lostLedger(w)
	codes := make([]int, 4)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			codes[i] = Run(t.Context(), []string{"adopt"}, strings.NewReader(""), io.Discard, io.Discard, w.options())
		})
	}
	wg.Wait()
	if n := strings.Count(w.run("audit", "export").out, `"kind":"adopted"`); n != 10 || slices.Max(codes) != exitDone {
		t.Errorf("%d adopted events, want 10; exit codes %v", n, codes)
	}
	w.run("audit", "verify").wantCode(exitDone)
}

// The adoption names the targets whose bindings only the ledger knew.
func TestAdoptTellsOfWhatOnlyTheLedgerRemembered(t *testing.T) {
	w := newWorld(t)
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger = \"sqlite://ledger.db\"\ntargets = {\n  bastion = { ssh = { authorized_keys = %[1]q } }\n  other = { ssh = { authorized_keys = %[1]q } }\n}\n",
			w.keys,
		),
	)
	w.wrap = func(name string, p jit.Platform) jit.Platform {
		if name == "bastion" {
			return remembering{p}
		}
		return p
	}
	w.run("adopt").wantCode(exitDone).wantErr("note: target bastion has bindings that cannot carry a marker")
	if r := w.run("adopt", "--target", "other").wantCode(exitDone); strings.Contains(r.err, "note:") {
		t.Errorf("the note names a target that was not selected: %s", r.err)
	}
}

// remembering is a platform that tells its bindings from others by the ledger alone.
type remembering struct{ jit.Platform }

func (remembering) Kind() string { return "gcp" }
