package provider_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// siege is a workspace whose grants need the approval of lea or leo.
type siege struct {
	*acctest.World
	t *testing.T
	// settings are those of the provider block; base are the people and the policy.
	settings string
	base     []string
}

const byProd = "policy = jit_policy.prod.name"

// ask configures a grant beside the people and the policy.
func (s *siege) ask(lines ...string) {
	configureWith(s.World, s.settings, append(s.base, grant("a", append(lines, byProd)...))...)
}

// signs is [signs] for jit_grant.a.
func (s *siege) signs(who string, change ...func(*approval.Statement)) string {
	s.t.Helper()
	return signs(s.t, s.World, who, "jit_grant.a", change...)
}

// replaces replaces the text or the signature of a file.
func (s *siege) replaces(file string, change func(text, signature []byte) ([]byte, []byte)) {
	s.t.Helper()
	signed, err := approval.Split([]byte(s.Read(file)), file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Write(file, string(approval.Join(change(signed.Text, signed.Signature))))
}

// refused fails unless an apply refuses the grant in words with each part, and gives nothing.
func (s *siege) refused(parts ...string) {
	s.t.Helper()
	before := s.Read("authorized_keys")
	s.Calls.Reset()
	r := s.Run("apply", "-auto-approve")
	if r.ExitCode != 1 || s.Calls.Count().Writes != 0 || s.Read("authorized_keys") != before {
		s.t.Errorf("exit code %d, %+v\n%s", r.ExitCode, s.Calls.Count(), r.Text())
	}
	says(s.t, r, parts...)
}

// begins fails unless an apply gives the access.
func (s *siege) begins() {
	s.t.Helper()
	before := lines(s.World)
	if s.Apply(); lines(s.World) != before+1 {
		s.t.Errorf("nothing was given:\n%s", s.Read("authorized_keys"))
	}
}

// attacks run a test in a workspace of each command line.
func attacks(t *testing.T, test func(s *siege)) {
	each(t, func(t *testing.T, w *acctest.World) {
		s := &siege{World: w, t: t, base: []string{office(t), approved()}}
		configure(w, s.base...)
		w.Apply()
		test(s)
	})
}

const needed = "1 of: lea, leo"

// The saved plan was approved, and the file is gone when it is applied.
func TestApprovalDeletedBeforeTheApply(t *testing.T) {
	attacks(t, func(s *siege) {
		s.ask()
		file := s.signs("lea")
		if r := s.Must("plan", "-out=tf.plan"); strings.Contains(r.Text(), "needs approval") {
			t.Errorf("approved, and the plan warns:\n%s", r.Text())
		}
		content := s.Read(file)
		if err := os.Remove(s.Path(file)); err != nil {
			t.Fatal(err)
		}
		r := s.Run("apply", "tf.plan")
		if r.ExitCode != 1 || lines(s.World) != 0 {
			t.Errorf("exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(s.t, r, "Error: The grant needs approval", needed)
		s.Write(file, content)
		s.begins()
	})
}

// A signature that was made for something else, or by somebody else, lets nothing begin.
func TestForgedApprovals(t *testing.T) {
	attacks(t, func(s *siege) {
		s.ask()
		file := s.signs("lea")
		genuine := s.Read(file)
		again := func() { s.Write(file, genuine) }

		s.replaces(file, func(text, _ []byte) ([]byte, []byte) {
			signature, err := sshsig.Sign(bytes.NewReader(text), signer(s.t, "lea"), sshsig.HashSHA512, "git")
			if err != nil {
				s.t.Fatal(err)
			}
			return text, sshsig.Armor(signature)
		})
		s.refused(needed, `for the namespace "git"`)

		again()
		s.replaces(file, func(text, signature []byte) ([]byte, []byte) {
			return bytes.Replace(text, []byte("\ncomment:\n"), []byte("\ncomment: edited\n"), 1), signature
		})
		s.refused(needed, "the signature does not match the text")

		again()
		s.replaces(file, func(text, _ []byte) ([]byte, []byte) {
			signature, err := approval.Sign(text, signer(s.t, "mallory"))
			if err != nil {
				s.t.Fatal(err)
			}
			return text, signature
		})
		s.refused(needed, "belongs to nobody")

		// The signature and the digest are right, and people read another text.
		again()
		s.replaces(file, func(text, _ []byte) ([]byte, []byte) {
			text = bytes.Replace(text, []byte("\nrole: login\n"), []byte("\nrole: command:/bin/true\n"), 1)
			signature, err := approval.Sign(text, signer(s.t, "lea"))
			if err != nil {
				s.t.Fatal(err)
			}
			return text, signature
		})
		s.refused(needed, "the text is not about this request as it stands")

		// The key was taken away in a run before.
		again()
		s.base = []string{strings.Replace(office(s.t), publicKey(s.t, "lea"), publicKey(s.t, "lea's new key"), 1), approved()}
		configure(s.World, s.base...)
		s.Apply()
		s.ask()
		s.refused(needed, "belongs to nobody")
	})
}

// A genuine approval lets nothing else begin, and nothing later.
func TestReplayedApprovals(t *testing.T) {
	attacks(t, func(s *siege) {
		s.ask()
		s.signs("lea")
		s.settings = `owner = "others"`
		s.ask()
		s.refused(needed)
		s.settings = ""
		s.ask("renewal = 2")
		s.refused(needed)
		s.ask()
		s.Write("main.tf", strings.Replace(s.Read("main.tf"), "targets = { host = ", "targets = { twin = ", 1))
		s.Write("main.tf", strings.Replace(s.Read("main.tf"), `target = "host"`, `target = "twin"`, 1))
		s.refused(needed)

		// Another ledger with the same people and policy.
		s.settings = fmt.Sprintf("ledger = %q", "sqlite://"+s.Path("other.db"))
		configureWith(s.World, s.settings, s.base...)
		s.Apply()
		s.ask()
		s.refused(needed)
		s.settings = ""
		configure(s.World, s.base...)
		s.Apply()

		// One approval, one grant: neither another one nor the same again.
		configure(s.World, append(s.base, grant("a", byProd), grant("b", byProd, fmt.Sprintf("principal = %q", bob)))...)
		if r := s.Run("apply", "-auto-approve"); r.ExitCode != 1 || lines(s.World) != 1 {
			s.t.Errorf("one of two: exit code %d, %d lines\n%s", r.ExitCode, lines(s.World), r.Text())
		}
		revoke(s.t, s.World, "jit_grant.a")
		given := lines(s.World)
		s.ask()
		s.Run("apply", "-auto-approve", "-replace=jit_grant.a")
		if lines(s.World) != given {
			s.t.Error("the approval was used twice")
		}

		// Time has passed.
		s.ask("renewal = 3")
		s.signs("lea")
		s.Clock.Advance(25 * time.Hour)
		s.refused(needed, "it was valid until")
	})
}

// Each field of a request is part of what was signed.
func TestEachFieldOfARequest(t *testing.T) {
	attacks(t, func(s *siege) {
		accounts := fmt.Sprintf("ssh = { accounts = { ops = %q, web = %q } }", s.Path("authorized_keys"), s.Path("web_keys"))
		twin := fmt.Sprintf("ssh = { accounts = { ops = %q } }", s.Path("twin_keys"))
		for _, name := range []string{"web_keys", "twin_keys"} {
			s.Write(name, foreign)
		}
		ask := func(lines ...string) {
			s.ask(append([]string{`scope = "ops"`, `requester = "alice"`}, lines...)...)
			s.Write("main.tf", strings.Replace(s.Read("main.tf"), fmt.Sprintf(
				"targets = { host = { ssh = { authorized_keys = %q } } }", s.Path("authorized_keys")),
				fmt.Sprintf("targets = {\n host = { %s }\n twin = { %s }\n}", accounts, twin), 1))
		}
		ask()
		s.signs("lea")
		for _, line := range []string{
			`target = "twin"`, fmt.Sprintf("principal = %q", bob), `role = "command:/bin/true"`, `scope = "web"`,
			`reason = "INC-2: look"`, "renewal = 2", `ttl = "1h"`, `starts_at = "2026-11-23T10:00:00Z"`,
			`start_by = "2026-11-24T09:00:00Z"`, `requester = "leo"`, "requester =",
		} {
			ask(line)
			s.refused("Error: The grant needs approval", "1 of: lea")
		}
		ask("ttl =", `expires_at = "2026-11-23T11:00:00Z"`)
		s.refused("Error: The grant needs approval", needed)
		s.signs("leo")
		ask("ttl =", `expires_at = "2026-11-23T12:00:00Z"`)
		s.refused("Error: The grant needs approval", needed)
		ask()
		s.begins()
	})
}

// Two approvals of one person, by two keys of theirs, are one.
func TestTwoKeysOfOnePerson(t *testing.T) {
	attacks(t, func(s *siege) {
		s.base = []string{
			strings.Replace(office(s.t), publicKey(s.t, "lea"), publicKey(s.t, "lea")+`", "`+publicKey(s.t, "second"), 1),
			strings.Replace(approved(), "required = 1", "required = 2", 1),
		}
		configure(s.World, s.base...)
		s.Apply()
		s.ask()
		s.signs("lea")
		s.signs("second", func(st *approval.Statement) {
			st.Approver, st.SignedAt = "lea", st.SignedAt.Add(time.Second)
		})
		s.refused("1 of: leo")
		s.signs("leo")
		s.begins()
	})
}

// Whoever started the run in CI does not approve it.
func TestTheActorOfTheRun(t *testing.T) {
	t.Parallel()
	binary := acctest.Build(t)
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{Binary: binary, Env: []string{"GITHUB_ACTIONS=true"}})
			w.Write("authorized_keys", foreign)
			configure(w, office(t), approved())
			w.Apply()
			configure(w, office(t), approved(), grant("a", byProd))
			signs(t, w, "leo", "jit_grant.a", func(s *approval.Statement) {
				s.SignedAt = jit.Second(time.Now())
				s.NotAfter = s.SignedAt.Add(time.Hour)
			})
			r := w.RunWith([]string{"GITHUB_ACTOR=leo-gh"}, "apply", "-auto-approve")
			if r.ExitCode != 1 || lines(w) != 0 {
				t.Errorf("exit code %d\n%s", r.ExitCode, r.Text())
			}
			says(t, r, "leo started this run")
			if r := w.RunWith([]string{"GITHUB_ACTOR=somebody"}, "apply", "-auto-approve"); r.ExitCode != 0 || lines(w) != 1 {
				t.Errorf("started by somebody else: exit code %d\n%s", r.ExitCode, r.Text())
			}
		})
	}
}

// Two people with their own tools: Terraform plans, `jit approve` signs with a key of ssh-keygen, Terraform grants. The
// record proves it.
func TestTwoPeopleWithTheirTools(t *testing.T) {
	t.Parallel()
	binary := acctest.Build(t)
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{RealTime: true})
			w.Write("authorized_keys", foreign)
			out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", w.Path("bob.key")).CombinedOutput()
			if err != nil {
				t.Fatalf("ssh-keygen: %v\n%s", err, out)
			}
			people := fmt.Sprintf("resource \"jit_person\" \"bob\" {\n  name = \"bob\"\n  groups = [\"group:leads\"]\n"+
				"  signing_keys = [file(%q)]\n}\n", w.Path("bob.key.pub"))
			prod := strings.ReplaceAll(approved(), "depends_on = [jit_person.lea, jit_person.leo]", "depends_on = [jit_person.bob]")
			configure(w, people, prod)
			w.Apply()
			configure(w, people, prod, grant("a", byProd))
			says(t, w.Must("plan", "-out=tfplan"), "Warning: The grant needs approval", "1 of: bob")
			w.Write("plan.json", w.Must("show", "-json", "tfplan").Stdout)
			if r := w.Run("apply", "tfplan"); r.ExitCode != 1 || lines(w) != 0 {
				t.Errorf("without the approval: exit code %d\n%s", r.ExitCode, r.Text())
			}
			jitCommand(t, w, binary, "approve", "--plan", "plan.json", "--key", "bob.key", "--approver", "bob", "--yes")
			if files, _ := filepath.Glob(w.Path("approvals/*.approval")); len(files) != 1 {
				t.Fatalf("jit approve wrote %v", files)
			}
			w.Apply()
			if lines(w) != 1 {
				t.Error("the approved grant is not on the target")
			}
			unchanged(t, w, "approved")
			jitCommand(t, w, binary, "audit", "verify")
		})
	}
}

// A live grant goes on until the one that replaces it may begin. Taking the block away ends it, and needs nobody.
func TestReplacedOnceApproved(t *testing.T) {
	attacks(t, func(s *siege) {
		s.ask()
		s.signs("lea")
		s.begins()
		s.ask("renewal = 2")
		s.refused("Error: The grant needs approval", needed, "goes on and ends at 2026-11-23T11:00:00Z")
		if got := fact(s.t, s.World, "jit_grant.a", "renewal"); got != "1" {
			s.t.Errorf("the state has renewal %s", got)
		}
		s.signs("leo")
		if s.Apply(); lines(s.World) != 1 || fact(s.t, s.World, "jit_grant.a", "renewal") != "2" {
			s.t.Errorf("not replaced:\n%s", s.Read("authorized_keys"))
		}
		unchanged(s.t, s.World, "replaced")

		s.ask("renewal = 3")
		s.signs("leo", func(st *approval.Statement) { st.Choice = jit.Deny })
		s.refused("leo denied it")
		configure(s.World, s.base...)
		if s.Apply(); lines(s.World) != 0 {
			s.t.Errorf("the access did not end:\n%s", s.Read("authorized_keys"))
		}

		// A saved plan whose approval comes before the apply.
		s.ask("renewal = 4")
		s.signs("lea")
		s.begins()
		s.ask("renewal = 5")
		s.signs("lea")
		s.Must("apply", "tf.plan")
		if lines(s.World) != 1 || fact(s.t, s.World, "jit_grant.a", "renewal") != "5" {
			s.t.Errorf("not replaced:\n%s", s.Read("authorized_keys"))
		}
	})
}

// jitCommand runs the program under its other name, jit, in the workspace.
func jitCommand(t *testing.T, w *acctest.World, binary string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Args = append([]string{"jit"}, args...)
	cmd.Dir = w.Dir
	cmd.Env = append(os.Environ(), "JIT_LEDGER=sqlite://"+w.Path(".jit/ledger.db"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("jit %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
