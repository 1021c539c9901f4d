package provider_test

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const third = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPyTu5kRUKHGbU9yyRXlP1dvvcGRdOIfKlTb3Zb6PZbH"

// backUp backs a SQLite ledger up as the guide says.
func backUp(t *testing.T, path, into string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.ExecContext(t.Context(), "VACUUM INTO ?", into)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// line returns the line of a text that has a part.
func line(text, part string) string {
	for l := range strings.Lines(text) {
		if strings.Contains(l, part) {
			return l
		}
	}
	return ""
}

// The state of a copy of the ledger, applied to the ledger itself, blocks its own run alone. Everybody else goes on, and
// nobody has to accept anything.
func TestStateOfACopyBlocksItsOwnRunAlone(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		one := grant("a")
		configure(w, one)
		w.Apply()
		copied := w.Path("copy.db")
		backUp(t, w.Path(".jit/ledger.db"), copied)
		state := w.Read("terraform.tfstate")
		// The owners of the copy work with it.
		configureWith(w, `ledger = "sqlite://`+copied+`"`, one, grant("b", "principal = \""+bob+"\""))
		w.Apply()
		configureWith(w, `ledger = "sqlite://`+copied+`"`, grant("a", `ttl = "3h"`), grant("b", "principal = \""+bob+"\""))
		w.Apply()
		ofCopy := w.Read("terraform.tfstate")

		// Then they forget to set the copy's URL.
		configure(w, grant("a", `ttl = "4h"`))
		keys := w.Read("authorized_keys")
		if plan := w.Plan(); strings.Count(plan.Text(), "Warning: The state remembers more than the ledger") != 1 {
			t.Errorf("plan exits with %d:\n%s", plan.ExitCode, plan.Text())
		}
		w.Must("plan", "-out=saved", "-no-color")
		for _, args := range [][]string{{"apply", "-no-color", "saved"}, {"apply", "-auto-approve", "-no-color"}} {
			apply := w.Run(args...)
			text := strings.Join(strings.Fields(strings.ReplaceAll(apply.Text(), "│", " ")), " ")
			for _, want := range []string{"may belong to a copy of the ledger", "set ledger to the URL of that copy",
				"jit ledger accept --reason"} {
				if apply.ExitCode != 1 || !strings.Contains(text, want) {
					t.Errorf("%v exits with %d, want %q:\n%s", args, apply.ExitCode, want, apply.Text())
				}
			}
		}
		if got := w.Read("authorized_keys"); !strings.Contains(keys, line(got, alice)) {
			t.Errorf("the refused apply changed the access to\n%s\nfrom\n%s", got, keys)
		}

		// The run with the right state, and a process without one, go on.
		w.Write("terraform.tfstate", state)
		configure(w, one, grant("d", "principal = \""+third+"\""))
		w.Apply()
		if got := w.Read("authorized_keys"); !strings.Contains(got, third) {
			t.Errorf("the third person has no access:\n%s", got)
		}
		if plan := w.Plan("-detailed-exitcode"); plan.ExitCode != 0 || warnings(plan) != 0 {
			t.Errorf("plan exits with %d:\n%s", plan.ExitCode, plan.Text())
		}

		// The state of the copy ends access all the same.
		w.Write("terraform.tfstate", ofCopy)
		configure(w)
		w.Apply()
		if got := w.Read("authorized_keys"); strings.Contains(got, alice) || strings.Contains(got, bob) {
			t.Errorf("after the destroy:\n%s", got)
		}
	})
}

// No plan shows that other people's events move the head of the ledger.
func TestHeadIsNoChange(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"), policy("all"))
		w.Apply()
		if err := w.Runtime().Broker.PutPerson(t.Context(), jit.Person{Name: "bob@example.com"}); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{nil, {"-refresh-only"}, {"-refresh=false"}} {
			if plan := w.Plan(append(args, "-detailed-exitcode")...); plan.ExitCode != 0 {
				t.Errorf("plan %v exits with %d:\n%s", args, plan.ExitCode, plan.Text())
			}
		}
	})
}

// Only states remember what a restored backup has lost: nothing that was revoked comes back, whichever resource is newer
// than the backup, until somebody accepts the ledger.
func TestOnlyStatesRememberARevocation(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		revoked := grant("a", "depends_on = [jit_grant.b]")
		configure(w, revoked, grant("b", "principal = \""+bob+"\""))
		w.Apply()
		path, backup := w.Path(".jit/ledger.db"), w.Path("backup.db")
		backUp(t, path, backup)
		rt := w.Runtime()
		for g, err := range rt.Ledger.Grants(t.Context(), jit.Filter{}) {
			if err == nil && strings.Contains(g.Principal, alice) {
				_, _, err = rt.Broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "SEC-1: stolen"})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		// The target has nothing to repair of bob: only his state is newer.
		configure(w, revoked, grant("b", "principal = \""+bob+"\"", `timeouts = { create = "3m" }`))
		w.Apply()
		_, _ = os.Remove(path+"-wal"), os.Remove(path+"-shm")
		if err := errors.Join(os.Rename(backup, path), os.Remove(path+".head")); err != nil {
			t.Fatal(err)
		}
		if apply := w.Run("apply", "-auto-approve", "-no-color"); apply.ExitCode == 0 {
			t.Errorf("apply passes:\n%s", apply.Text())
		}
		if got := w.Read("authorized_keys"); strings.Contains(got, alice) {
			t.Errorf("the revocation was undone:\n%s", got)
		}
		if _, err := w.Runtime().Ledger.Accept(t.Context(), jit.Actor{Name: "carol"}, "restored", ""); err != nil {
			t.Fatal(err)
		}
		w.Run("apply", "-auto-approve", "-no-color")
		if got := w.Read("authorized_keys"); strings.Contains(got, alice) || !strings.Contains(got, bob) {
			t.Errorf("after the acceptance:\n%s", got)
		}
	})
}

// A state that remembers more than the ledger stops its run, also if a grant to repair is planned before it. A plan that
// changes nothing, a refresh and a destroy work.
func TestOnlyALaterStateRemembers(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		revoked := grant("a")
		later := func(lines ...string) string {
			return grant("b", append(lines, "principal = \""+bob+"\"", "depends_on = [jit_grant.a]")...)
		}
		configure(w, revoked, later())
		w.Apply()
		path, backup := w.Path(".jit/ledger.db"), w.Path("backup.db")
		backUp(t, path, backup)
		rt := w.Runtime()
		for g, err := range rt.Ledger.Grants(t.Context(), jit.Filter{}) {
			if err == nil && strings.Contains(g.Principal, alice) {
				_, _, err = rt.Broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "SEC-1: stolen"})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		configure(w, revoked, later(`timeouts = { create = "3m" }`))
		w.Apply()
		_, _ = os.Remove(path+"-wal"), os.Remove(path+"-shm")
		if err := errors.Join(os.Rename(backup, path), os.Remove(path+".head")); err != nil {
			t.Fatal(err)
		}
		w.Must("plan", "-refresh=false", "-no-color") // the state does not know yet that a is missing
		w.Must("apply", "-refresh-only", "-auto-approve", "-no-color")
		for _, args := range [][]string{
			{"plan"}, {"plan", "-refresh=false"}, {"apply", "-auto-approve"}, {"destroy", "-auto-approve"},
		} {
			r := w.Run(append(args, "-no-color")...)
			text := strings.Join(strings.Fields(strings.ReplaceAll(r.Text(), "│", " ")), " ")
			for _, want := range []string{"set ledger to the URL of that copy", "jit ledger accept --reason", "-refresh=false"} {
				if r.ExitCode != 1 || !strings.Contains(text, want) {
					t.Errorf("%v exits with %d, want %q:\n%s", args, r.ExitCode, want, text)
				}
			}
		}
		configure(w, revoked, later(`ttl = "3h"`))
		if r := w.Run("apply", "-auto-approve", "-no-color"); r.ExitCode != 1 {
			t.Errorf("an apply that changes the later one too passes:\n%s", r.Text())
		}
		if got := w.Read("authorized_keys"); strings.Contains(got, alice) || !strings.Contains(got, bob) {
			t.Errorf("after the refused runs:\n%s", got)
		}
		w.Must("destroy", "-refresh=false", "-auto-approve", "-no-color")
		if got := w.Read("authorized_keys"); strings.Contains(got, alice) || strings.Contains(got, bob) {
			t.Errorf("after the destroy:\n%s", got)
		}
	})
}
