package lifetest_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// loseLedger deletes the default ledger.
func (s *site) loseLedger() {
	s.t.Helper()
	if err := os.RemoveAll(s.Path(".jit")); err != nil {
		s.t.Fatal(err)
	}
}

// query runs a statement on the default ledger.
func (s *site) query(statement string) {
	s.t.Helper()
	db, err := sql.Open("sqlite", s.Path(".jit/ledger.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(s.t.Context(), statement); err != nil {
		s.t.Fatal(err)
	}
}

// Promise 10: with an unusable ledger, no access begins, and existing access can be ended.
func TestUnusableLedger(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		ruin   func(s *site)
		mend   func(s *site)
		reason string
	}{
		{
			"unreachable",
			func(s *site) { s.ledger = "postgres://jit:secret-of-the-ledger@127.0.0.1:1/jit?connect_timeout=5" },
			func(s *site) { s.ledger = "" },
			"127.0.0.1:1",
		},
		{
			"newer",
			func(s *site) {
				s.query("UPDATE jit_ledger SET schema_version = schema_version + 1000, " +
					"readable_since = readable_since + 1000, writable_since = writable_since + 1000")
			},
			func(s *site) {
				s.query("UPDATE jit_ledger SET schema_version = schema_version - 1000, " +
					"readable_since = readable_since - 1000, writable_since = writable_since - 1000")
			},
			"update to at least that version",
		},
		{
			"damaged",
			func(s *site) {
				if err := os.Rename(s.Path(".jit"), s.Path("kept")); err != nil {
					s.t.Fatal(err)
				}
				if err := os.Mkdir(s.Path(".jit"), 0o700); err != nil {
					s.t.Fatal(err)
				}
				s.Write(".jit/ledger.db", strings.Repeat("no database\n", 1000))
			},
			func(s *site) {
				s.loseLedger()
				if err := os.Rename(s.Path("kept"), s.Path(".jit")); err != nil {
					s.t.Fatal(err)
				}
			},
			"restore it from a backup",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testenv.Terraforms(t)[0], newHost(t), released)
			foreign := s.foreign(t)
			policy := "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{}]\n}\n"
			a, b := s.grant("a", "policy = jit_policy.p.name"), s.grant("b")
			s.configure(policy)
			s.Apply()
			s.configure(policy, a, b)
			s.Apply()
			id := s.fact("b", "id")
			tc.ruin(s)

			before := s.dump(t)
			s.configure(policy, a, b, s.grant("new"))
			for _, r := range []acctest.Result{s.Plan(), s.Run("apply", "-auto-approve")} {
				if r.ExitCode != 1 {
					t.Errorf("exit code %d, want 1", r.ExitCode)
				}
				says(t, r, tc.reason)
				silent(t, r, "secret-of-the-ledger")
			}
			same(t, before, s.dump(t), "a refused grant wrote")

			r := s.jit(nil, "revoke", id, "--reason", "INC-1: stop it")
			if r.ExitCode != 1 {
				t.Errorf("jit revoke: exit code %d, want 1, because the record is missing\n%s", r.ExitCode, r.Text())
			}
			silent(t, r, "secret-of-the-ledger")
			if n := s.marked(t); n != 1 {
				t.Errorf("jit revoke left %d bindings of ours, want 1", n)
			}
			s.may(true, "with another grant of the same access live")

			s.configure(policy, a, b)
			r = s.Run("destroy", "-auto-approve")
			if r.ExitCode != 1 {
				t.Errorf("destroy: exit code %d, want 1, because it is not recorded\n%s", r.ExitCode, r.Text())
			}
			says(t, r, "was ended, but the ledger could not record it")
			if _, kept := s.State()["jit_policy.p"]; !kept {
				t.Error("the policy is gone from the state, but not from the ledger")
			}
			s.may(false, "after destroy")
			s.gone(foreign, "after destroy")

			tc.mend(s)
			s.configure()
			s.Apply()
			s.gone(foreign, "after the destroy was repeated")
			s.mustJit("sweep")
			s.gone(foreign, "after the sweep")
			says(t, s.mustJit("audit", "verify"), "intact")
		})
	}
}
