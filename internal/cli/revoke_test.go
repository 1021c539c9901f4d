package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestRevokeEndsAccessNow(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	kept := w.grant("INC-2: b", "1h")
	w.wantAccess(g, true)

	w.run("revoke", string(g.ID), "--reason", "INC-1: done early").wantCode(exitDone).
		wantOut(string(g.ID), "revoked", "bastion")
	w.wantAccess(g, false)
	w.wantAccess(kept, true)

	// A second time there is nothing left to do, which is success.
	w.run("revoke", string(g.ID), "--reason", "again").wantCode(exitDone).wantOut(string(g.ID), "over")
	w.run("show", string(g.ID)).wantCode(exitDone).wantOut("INC-1: done early").wantNotOut("again")
}

func TestRevokeAsksBeforeItTakesMany(t *testing.T) {
	w := newWorld(t)
	a, b := w.grant("INC-1: a", "1h"), w.grant("INC-2: b", "1h")
	revoke := []string{"revoke", "--target", "bastion", "--reason", "SEC-1: stop"}

	for _, typed := range []string{"", "\n", "yes\n", "revoke\n", "revoke 3\n"} {
		w.answer(typed, revoke...).wantCode(exitNotDone).
			wantErr(string(a.ID), string(b.ID), `Type "revoke 2"`, "not confirmed")
		w.wantAccess(a, true)
		w.wantAccess(b, true)
	}
	w.answer("revoke 2\n", revoke...).wantCode(exitDone).wantOut(string(a.ID), string(b.ID))
	w.wantAccess(a, false)
	w.wantAccess(b, false)
	w.run(revoke...).wantCode(exitDone).wantErr("nothing is left to revoke")
}

func TestRevokeChooses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   func(a, b jit.Grant) []string
		ends   []bool
		result string
	}{
		{"all", func(jit.Grant, jit.Grant) []string { return []string{"--all"} }, []bool{true, true}, "revoked"},
		{"one principal", func(a, _ jit.Grant) []string { return []string{"--principal", a.Principal} },
			[]bool{true, false}, "revoked"},
		{"a principal that has no grant", func(jit.Grant,
			jit.Grant) []string {
			return []string{"--principal", "ssh-rsa *"}
		}, []bool{false, false}, ""},
		{"another target", func(a, _ jit.Grant) []string {
			return []string{"--principal", a.Principal, "--target",
				"prod*"}
		}, []bool{false, false}, "unknown"},
		{"two ids", func(a, b jit.Grant) []string { return []string{string(a.ID), string(b.ID)} }, []bool{true, true},
			"revoked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.grant("INC-1: a", "1h"), w.grant("INC-2: b", "1h")
			var outcomes []outcome
			r := w.run(append([]string{"revoke", "--yes", "--json", "--reason", "SEC-1: stop"}, tt.args(a, b)...)...)
			if tt.result == "unknown" {
				r.wantCode(exitUnknown).wantErr(`--target: no target matches "prod*"`)
			} else {
				r.wantCode(exitDone).decode(&outcomes)
			}
			ended := 0
			for i, g := range []jit.Grant{a, b} {
				w.wantAccess(g, !tt.ends[i])
				if tt.ends[i] {
					ended++
				}
			}
			if len(outcomes) != ended {
				t.Errorf("%d outcomes, want %d: %+v", len(outcomes), ended, outcomes)
			}
			for _, o := range outcomes {
				if o.Result != tt.result || o.Target != "bastion" || o.Error != "" {
					t.Errorf("outcome %+v", o)
				}
			}
		})
	}
}

func TestRevokeRefusesWhatIsUnclear(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	id := string(g.ID)
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"revoke", id}, []string{"error: --reason: ", "needs a reason"}},
		{[]string{"revoke", id, "--reason", "  "}, []string{"reason"}},
		{[]string{"revoke", id, "--reason", "two\nlines"}, []string{"reason", "one line"}},
		{[]string{"revoke", "--reason", "x"}, []string{"nothing says which grants"}},
		{[]string{"revoke", id, "--all", "--reason", "x"}, []string{"not clear"}},
		{[]string{"revoke", id, "--target", "bastion", "--reason", "x"}, []string{"not clear"}},
		{[]string{"revoke", "--all", "--target", "bastion", "--reason", "x"}, []string{"not clear"}},
		{[]string{"revoke", "3f2", "--reason", "x"}, []string{"error: id: ", `"3f2"`, "jit list"}},
		{[]string{"revoke", "--target", "[", "--yes", "--reason", "x"}, []string{"--target"}},
	} {
		w.run(tt.args...).wantCode(exitUsage).wantErr(append(tt.says, "Usage: jit revoke {ID... |")...)
		w.wantAccess(g, true)
	}
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"revoke", "00000000", "--reason", "x"}, []string{"error: id: ", "no grant 00000000", "jit list"}},
		{[]string{"revoke", "00000000-0000-8000-8000-000000000000", "--reason", "x"},
			[]string{"no grant 00000000-0000-8000-8000-000000000000"}},
		{[]string{"revoke", "--target", "bastoin", "--yes", "--reason", "x"},
			[]string{`"bastoin"`, "the targets are bastion", "did you mean bastion?"}},
	} {
		w.run(tt.args...).wantCode(exitUnknown).wantErr(tt.says...)
		w.wantAccess(g, true)
	}
}

func TestRevokeDoesTheOthersWhenOneIDIsUnknown(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	w.run("revoke", "00000000-0000-8000-8000-000000000000", string(g.ID), "--reason", "x").wantCode(exitUnknown).
		wantErr("no grant 00000000")
	w.wantAccess(g, false)
}

// broken is a target whose writes fail.
type broken struct{ jit.Platform }

func (broken) Apply(_ context.Context, _ string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	for i := range errs {
		errs[i] = errors.New("the disk is read-only")
	}
	return errs
}

func TestRevokeIsLoudWhenItCannot(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	w.wrap = func(_ string, p jit.Platform) jit.Platform { return broken{p} }
	var outcomes []outcome
	r := w.run("revoke", string(g.ID), "--reason", "stop", "--json").wantCode(exitNotDone).wantErr("1 of 1")
	r.decode(&outcomes)
	if len(outcomes) != 1 || outcomes[0].Result != "failed" || !strings.Contains(outcomes[0].Error, "read-only") {
		t.Errorf("outcomes %+v", outcomes)
	}
	w.run("sweep").wantCode(exitNotDone).wantOut("failed", "read-only").wantErr("1 failed")
	w.wantAccess(g, true)

	// The revocation is retried: the next pass with a working target ends the access.
	w.wrap = nil
	w.run("list").wantCode(exitDone).wantOut("revoked (not removed yet)")
	w.now = w.now.Add(5 * time.Minute)
	w.run("sweep").wantCode(exitDone).wantOut("end", "done", string(g.ID))
	w.wantAccess(g, false)
}

func TestRevokeWorksWithoutALedger(t *testing.T) {
	for _, tt := range []struct {
		name string
		args func(jit.Grant) []string
		code int
		harm func(w *world)
	}{
		{"unreadable, by id", func(g jit.Grant) []string { return []string{string(g.ID)} }, exitNotDone,
			unreadableLedger},
		{"unreadable, all", func(jit.Grant) []string { return []string{"--all", "--yes"} }, exitNotDone,
			unreadableLedger},
		{"lost, by id", func(g jit.Grant) []string { return []string{string(g.ID)} }, exitDone, lostLedger},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			g := w.grant("INC-1: a", "1h")
			tt.harm(w)
			r := w.run(append([]string{"revoke", "--reason", "stop"}, tt.args(g)...)...).wantCode(tt.code)
			w.wantAccess(g, false)
			if tt.code == exitNotDone { // the next sweep would restore the access
				r.wantOut("unrecorded").
					wantErr("run the command again when the ledger is back, before a sweep restores the access")
				if strings.Contains(r.err, "leave it to jit sweep") {
					t.Errorf("the output advises a sweep:\n%s", r.err)
				}
			}
		})
	}
}

// silent is a target that does not answer.
type silent struct{ jit.Platform }

func (silent) Read(context.Context, string) (jit.Snapshot, error) {
	return jit.Snapshot{}, errors.New("connection refused")
}

// With the ledger lost, a target that does not answer may hold another grant whose id has the same beginning. Only
// whole ids are then unambiguous.
func TestRevokeWithATargetThatDoesNotAnswer(t *testing.T) {
	for name, harm := range map[string]func(*world){"lost": lostLedger, "unreadable": unreadableLedger} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g, other := w.grant("INC-1: a", "1h"), w.grant("INC-2: b", "1h")
			harm(w)
			w.write("keys", "")
			w.write("jit.hcl", fmt.Sprintf("ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\ntargets = {\n"+
				"  bastion = { ssh = { authorized_keys = %q } }\n  away = { ssh = { authorized_keys = %q } }\n}\n",
				w.keys, filepath.Join(w.dir, "keys")))
			w.wrap = func(name string, p jit.Platform) jit.Platform {
				if name == "away" {
					return silent{p}
				}
				return p
			}
			revoke := func(ids ...string) result { return w.run(append([]string{"revoke", "--reason", "stop"}, ids...)...) }

			beginning := string(g.ID)[:8]
			revoke(beginning).wantCode(exitUnreadable).
				wantErr(`"`+beginning+`"`, "write the whole id", `target "away": connection refused`)
			w.wantAccess(g, true)

			const unknown = "00000000-0000-8000-8000-000000000000"
			revoke(unknown).wantCode(exitUnreadable).wantErr(unknown, `target "away": connection refused`)

			r := revoke(string(g.ID), string(other.ID)[:8])
			w.wantAccess(g, false)
			w.wantAccess(other, true)
			if r.code == exitDone {
				t.Errorf("exit code 0, although one target was not searched for the id")
			}
			r = revoke(string(other.ID)).wantErr("warning: ", `target "away": connection refused`)
			w.wantAccess(other, false)
			if name == "lost" {
				r.wantCode(exitDone)
			}
		})
	}
}

// Access with another owner's marker is not revoked, also with the ledger lost.
func TestRevokeLeavesTheAccessOfAnotherOwner(t *testing.T) {
	for name, harm := range map[string]func(*world){"known": func(*world) {}, "lost": lostLedger,
		"unreadable": unreadableLedger} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.grant("INC-1: a", "1h")
			harm(w)
			w.write(
				"jit.hcl",
				fmt.Sprintf(
					"ledger = \"sqlite://ledger.db\"\nowner = \"others\"\ntargets = {\n  bastion = { ssh = { authorized_keys = %q } }\n}\n",
					w.keys,
				),
			)
			w.run("revoke", string(g.ID), "--reason", "stop").wantCode(exitNotDone).
				wantOut("failed", `belongs to the owner "payments"`)
			w.wantAccess(g, true)
		})
	}
}

func unreadableLedger(w *world) {
	lostLedger(w)
	w.write("ledger.db", strings.Repeat("this is no database\n", 500))
}

func lostLedger(w *world) {
	for _, name := range []string{"ledger.db", "ledger.db-wal", "ledger.db-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
}

func TestRevokeTellsOfOpenSessions(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	w.run("revoke", string(g.ID), "--reason", "done").wantCode(exitDone).wantOut("unlimited").
		wantErr("open sessions of 1 grant may continue")
	w.run("revoke", string(g.ID), "--reason", "done").wantCode(exitDone).wantNotOut("unlimited")
}

func TestAConfirmationCanBeInterrupted(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	asked, typed := io.Pipe()
	defer func() { _ = typed.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	stderr := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "Type ") {
			cancel()
		}
		return len(b), nil
	})
	if code := Run(ctx, []string{"revoke", "--all", "--reason", "x"}, asked, io.Discard, stderr, w.options()); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	w.wantAccess(g, true)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
