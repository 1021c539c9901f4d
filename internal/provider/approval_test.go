package provider_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// signer returns a person's key. Repeated calls return the same key.
func signer(t *testing.T, name string) ssh.Signer {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t *testing.T, name string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer(t, name).PublicKey())))
}

// person returns the block jit_person.<name> with the person's own key.
func person(t *testing.T, name string, lines ...string) string {
	return fmt.Sprintf("resource \"jit_person\" %q {\n  name = %q\n  signing_keys = [%q]\n  %s\n}\n", name, name,
		publicKey(t, name), strings.Join(lines, "\n  "))
}

const leads = `groups = ["group:leads"]`

// approved returns the policy "prod", which requires the approval of one of the leads.
func approved(lines ...string) string {
	return policy("prod", append([]string{`approval = [{ required = 1, from = ["group:leads"] }]`,
		"depends_on = [jit_person.lea, jit_person.leo]"}, lines...)...)
}

// office returns the blocks of the people in the tests. Lea and leo are leads; alice is the principal.
func office(t *testing.T) string {
	return person(t, "lea", leads) + person(t, "leo", leads, `github = "leo-gh"`) +
		person(t, "alice", `groups = ["group:leads", "group:oncall"]`, fmt.Sprintf("principals = [%q]", alice+" alice@laptop"))
}

// planned returns the planned values of a resource in the plan file tf.plan.
func planned(t *testing.T, w *acctest.World, address string) map[string]any {
	t.Helper()
	var shown struct {
		Changes []struct {
			Address string
			Change  struct{ After map[string]any }
		} `json:"resource_changes"`
	}
	if err := json.Unmarshal([]byte(w.Must("show", "-json", "tf.plan").Stdout), &shown); err != nil {
		t.Fatal(err)
	}
	for _, c := range shown.Changes {
		if c.Address == address {
			return c.Change.After
		}
	}
	t.Fatalf("the plan has no %s", address)
	return nil
}

// signs runs a plan and signs the request of a planned grant for a person, as `jit approve` does. It returns the path
// of the statement file.
func signs(t *testing.T, w *acctest.World, who, address string, change ...func(*approval.Statement)) string {
	t.Helper()
	if r := w.Run("plan", "-out=tf.plan"); r.ExitCode != 0 {
		t.Fatalf("plan: %s", r.Text())
	}
	values := planned(t, w, address)
	text := func(name string) string {
		if values[name] == nil {
			return ""
		}
		return fmt.Sprint(values[name])
	}
	now := w.Clock.Now()
	s := approval.Statement{Choice: jit.Approve, Approver: who, SignedAt: now, NotAfter: now.Add(24 * time.Hour),
		Digest: text("request_digest")}
	for _, c := range change {
		c(&s)
	}
	var fields []jit.Field
	for _, f := range (jit.Grant{}).RequestFields() {
		value := text(f.Name)
		if f.Name == "expires_at" && text("ttl") != "" {
			value = ""
		}
		fields = append(fields, jit.Field{Name: f.Name, Value: value})
	}
	body := s.Text(fields)
	armored, err := approval.Sign(body, signer(t, who))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("approvals", approval.FileName(s))
	if err := os.MkdirAll(w.Path("approvals"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.Write(path, string(approval.Join(body, armored)))
	return path
}

// waits fails the test unless the plan needs approval by the leads, and the apply refuses for want of it without a call.
func waits(t *testing.T, w *acctest.World, when string, parts ...string) {
	t.Helper()
	r := w.Plan()
	if r.ExitCode != 2 {
		t.Errorf("%s: plan: exit code %d\n%s", when, r.ExitCode, r.Text())
	}
	says(t, r, append([]string{"Warning: The grant needs approval"}, parts...)...)
	readable(t, r)
	w.Calls.Reset()
	r = w.Run("apply", "-auto-approve")
	if r.ExitCode != 1 || w.Calls.Count().Writes != 0 {
		t.Errorf("%s: apply: exit code %d, %+v\n%s", when, r.ExitCode, w.Calls.Count(), r.Text())
	}
	readable(t, r)
	says(t, r, append([]string{"Error: The grant needs approval"}, parts...)...)
}

// inOrder is what a person reads: who is needed, then the command on a line of its own, which nothing has wrapped.
var inOrder = regexp.MustCompile(`(?ms)^(│ )?It needs the approval of 1 of: lea.*^(│ )?  jit approve --plan plan\.json$`)

// readable fails the test unless the text says so.
func readable(t *testing.T, r acctest.Result) {
	t.Helper()
	if !inOrder.MatchString(r.Stdout) && !inOrder.MatchString(r.Stderr) {
		t.Errorf("who is needed, and the command, are hard to find:\n%s", r.Stdout+r.Stderr)
	}
}

// Two people: one asks, the other signs the plan, and the apply grants. Time passing changes nothing.
func TestApproval(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		base := []string{office(t), approved()}
		configure(w, base...)
		w.Apply()
		unchanged(t, w, "people and a policy")

		needs := "1 of: lea, leo"
		named := "policy = jit_policy.prod.name"
		waiting := func(lines ...string) { configure(w, append(base, grant("a", append(lines, named)...))...) }
		waiting()
		waits(t, w, "unsigned", needs)
		file := signs(t, w, "lea", "jit_grant.a")
		if err := os.Remove(w.Path(file)); err != nil {
			t.Fatal(err)
		}
		waits(t, w, "the file was deleted", needs)

		// A change of any field makes another request, which the signature does not cover.
		signs(t, w, "lea", "jit_grant.a")
		for _, line := range []string{
			`reason = "INC-2: look"`, `ttl = "3h"`, `renewal = 2`, `role = "command:/bin/true"`,
			fmt.Sprintf("principal = %q", bob), `start_by = "2026-11-24T09:00:00Z"`, `requester = "leo"`,
			`starts_at = "2026-11-23T10:00:00Z"`,
		} {
			waiting(line)
			want := needs
			switch {
			case strings.HasPrefix(line, "requester"):
				want = "1 of: lea"
			case strings.HasPrefix(line, "principal"):
				want = "1 of: alice, lea, leo"
			}
			if r := w.Plan(); r.ExitCode != 2 {
				t.Errorf("%s: exit code %d\n%s", line, r.ExitCode, r.Text())
			} else {
				says(t, r, "Warning: The grant needs approval", want)
			}
		}
		waiting(`ttl = "3h"`)
		waits(t, w, "a longer ttl after the signature", needs)

		waiting()
		if r := w.Plan(); r.ExitCode != 2 || strings.Contains(r.Text(), "needs approval") {
			t.Errorf("signed: exit code %d\n%s", r.ExitCode, r.Text())
		}
		w.Apply()
		if lines(w) != 1 {
			t.Error("the approved grant is not on the target")
		}
		unchanged(t, w, "approved")

		// An extension is a request of its own. A shorter window needs no approval.
		waiting(`ttl = "4h"`)
		waits(t, w, "an extension", needs)
		signs(t, w, "leo", "jit_grant.a")
		w.Apply()
		waiting(`ttl = "1h"`)
		w.Apply()

		// A replacement warns as well.
		waiting(`ttl = "1h"`, "renewal = 2")
		r := w.Plan()
		says(t, r, "must be replaced", "Warning: The grant needs approval", needs)
		readable(t, r)

		waiting(`ttl = "1h"`)
		w.Clock.Advance(5 * time.Hour)
		unchanged(t, w, "after the end")
		waiting(`ttl = "1h"`, "renewal = 2")
		waits(t, w, "a renewal after the end", needs)
		signs(t, w, "leo", "jit_grant.a")
		w.Apply()
		unchanged(t, w, "renewed")
		w.Must("destroy", "-auto-approve")
		if lines(w) != 1 { // the line of the first grant, which sshd has ended
			t.Error("destroy left the access")
		}
	})
}

// Statements that do not count.
func TestApprovalThatDoesNotCount(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		base := []string{office(t), approved(), person(t, "eve")}
		configure(w, base...)
		w.Apply()
		named := "policy = jit_policy.prod.name"
		ask := func(lines ...string) { configure(w, append(base, grant("a", append(lines, named)...))...) }
		for i, c := range []struct {
			who, line, why string
			change         func(*approval.Statement)
		}{
			{"alice", "", "alice is the principal", nil},
			{"lea", fmt.Sprintf("principal = %q", publicKey(t, "lea")), "lea is the principal", nil},
			{"lea", `requester = "lea"`, "lea is the requester", nil},
			{"eve", "", "1 of: lea, leo", nil},
			{"leo", "", "belongs to leo, not to lea", func(s *approval.Statement) { s.Approver = "lea" }},
			{"lea", "", "it was valid until", func(s *approval.Statement) {
				s.SignedAt, s.NotAfter = s.SignedAt.Add(-3*time.Hour), s.SignedAt.Add(-time.Hour)
			}},
			{"lea", "", "lea denied it", func(s *approval.Statement) { s.Choice = jit.Deny }},
		} {
			ask(c.line, fmt.Sprintf("reason = \"INC-%d: look\"", i))
			if c.change == nil {
				c.change = func(*approval.Statement) {}
			}
			signs(t, w, c.who, "jit_grant.a", c.change)
			w.Calls.Reset()
			r := w.Run("apply", "-auto-approve")
			if r.ExitCode != 1 || w.Calls.Count().Writes != 0 {
				t.Errorf("%s, %s: exit code %d, %+v", c.who, c.why, r.ExitCode, w.Calls.Count())
			}
			says(t, r, c.why)
		}

		ask(`reason = "INC-90: look"`)
		file := signs(t, w, "lea", "jit_grant.a")
		w.Write(file, strings.Replace(w.Read(file), "look", "luck", 1))
		says(t, w.Run("apply", "-auto-approve"), "the text is not about this request as it stands")
	})
}

// A run cannot change who may approve its own grants, nor which of them need approval.
func TestApprovalIsThatOfBeforeTheRun(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		named := "policy = jit_policy.prod.name"
		configure(w, office(t), approved())
		w.Apply()

		// The approval is dropped in the change that grants.
		configure(w, office(t), policy("prod", `description = "open"`), grant("a", named))
		waits(t, w, "the policy asks for nobody any more", "as it was before this run")
		if r := w.Plan(); r.ExitCode != 2 || strings.Contains(r.Text(), "needs approval") {
			t.Errorf("the next run: exit code %d\n%s", r.ExitCode, r.Text())
		}
		configure(w, office(t), approved())
		w.Apply()

		// An approver is added in the change that they approve.
		joe := person(t, "joe", leads)
		configure(w, office(t), approved("max_ttl = \"4h\""), joe, grant("a", named))
		signs(t, w, "joe", "jit_grant.a")
		waits(t, w, "joe is new", "belongs to nobody")
		configure(w, office(t), approved("max_ttl = \"4h\""), joe, grant("a", named))
		w.Apply()
		if lines(w) != 1 {
			t.Error("the approval of a person recorded in an earlier run does not count")
		}
	})
}

// The first change of all creates the ledger. Grants that need approval wait; everything else is created.
func TestApprovalInTheFirstChange(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		named := "policy = jit_policy.prod.name"
		configure(w, office(t), approved(`description = "first"`), grant("a", named))
		r := w.Plan()
		if r.ExitCode != 2 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Warning: The grant needs approval")
		if r := w.Run("apply", "-auto-approve"); r.ExitCode != 1 || lines(w) != 0 {
			t.Errorf("apply: exit code %d, %d lines\n%s", r.ExitCode, lines(w), r.Text())
		}
		signs(t, w, "lea", "jit_grant.a")
		w.Apply()
		unchanged(t, w, "approved")

		// A waiting grant does not delay others.
		open := strings.Replace(policy("open"), "match = [{}]", `match = [{ roles = ["command:*"] }]`, 1)
		configure(w, office(t), approved(`description = "first"`), open, grant("a", named))
		w.Apply()
		configure(w, office(t), approved(`description = "first"`), open, grant("a", named),
			grant("b", named, "renewal = 2"),
			grant("c", "policy = jit_policy.open.name", `role = "command:/bin/true"`))
		r = w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 || lines(w) != 2 {
			t.Errorf("one of two: exit code %d, %d lines\n%s", r.ExitCode, lines(w), r.Text())
		}
		says(t, r, "Error: The grant needs approval", "with jit_grant.b")

		// With the ledger unreachable, nothing begins, and granted access can be ended.
		w.Write("not-a-ledger", "x")
		gone := fmt.Sprintf("ledger = %q", "sqlite://"+w.Path("not-a-ledger")+"/ledger.db")
		configureWith(w, gone, office(t), approved(`description = "first"`), open, grant("a", named),
			grant("d", named, "renewal = 3"))
		if r := w.Run("apply", "-auto-approve", "-refresh=false"); r.ExitCode != 1 {
			t.Errorf("without the ledger: exit code %d\n%s", r.ExitCode, r.Text())
		}
		w.Run("destroy", "-auto-approve", "-target=jit_grant.a")
		if strings.Contains(w.Read("authorized_keys"), "login") || lines(w) > 1 {
			t.Errorf("without the ledger, destroy did not end the access:\n%s", w.Read("authorized_keys"))
		}
	})
}
