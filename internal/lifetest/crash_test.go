package lifetest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The failpoints that each command passes, in order. Those that begin with a platform's name are within its write.
var (
	granting = []string{"grant.before-intent", "grant.after-intent", "ensure.before-platform", "ensure.after-platform",
		"ensure.after-outcome"}
	changing = []string{"change.before-intent", "change.after-intent", "ensure.before-platform",
		"ensure.after-platform", "ensure.after-outcome"}
	revoking = []string{"revoke.before-intent", "revoke.after-intent", "revoke.after-platform", "revoke.after-outcome"}
	writing  = map[string][]string{
		"ssh":        {"ssh.before-rename", "ssh.after-rename"},
		"postgresql": {"postgresql.before-commit", "postgresql.commit-sent"},

		"aws_identity_center": {"aws_identity_center.after-claim", "aws_identity_center.after-write"},
	}
)

// eachCrash runs a test on every platform with the first available command line.
func eachCrash(t *testing.T, test func(t *testing.T, s *site, foreign string, writing []string)) {
	cli := testenv.Terraforms(t)[0]
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, cli, p.open(t), killable)
			test(t, s, s.foreign(t), writing[p.name])
		})
	}
}

func at(failpoint string) []string { return []string{"JIT_FAILPOINT=" + failpoint} }

// killed runs Terraform with a provider that dies at the failpoint.
func (s *site) killed(failpoint string, args ...string) {
	s.t.Helper()
	r := s.RunWith(at(failpoint), append(args, "-auto-approve")...)
	if died := strings.Contains(r.Text(), "Plugin did not respond") ||
		strings.Contains(r.Text(), "Request cancelled"); !died ||
		r.ExitCode != 1 {
		s.t.Fatalf("%s: the provider was not killed: exit code %d\n%s", failpoint, r.ExitCode, r.Text())
	}
}

// killedJit runs the command, which dies at the failpoint.
func (s *site) killedJit(failpoint string, args ...string) {
	s.t.Helper()
	if r := s.jit(at(failpoint), args...); r.ExitCode != -1 {
		s.t.Fatalf("%s: jit was not killed: exit code %d\n%s", failpoint, r.ExitCode, r.Text())
	}
}

// recovered fails the test unless the next apply repairs everything.
func (s *site) recovered(foreign, failpoint string) {
	s.t.Helper()
	same(s.t, foreign, s.foreign(s.t), failpoint+": after the crash, foreign access is")
	s.Apply()
	s.may(true, failpoint+": after the next apply")
	if n := s.marked(s.t); n != 1 {
		s.t.Errorf("%s: %d bindings are ours, want 1\n%s", failpoint, n, s.dump(s.t))
	}
	if r := s.Plan(); r.ExitCode != 0 {
		s.t.Errorf("%s: after the next apply the plan ends with exit code %d\n%s", failpoint, r.ExitCode, r.Text())
	}
	same(s.t, foreign, s.foreign(s.t), failpoint+": after the next apply, foreign access is")
}

// Promise 7: wherever the provider dies, the next run completes the work.
func TestProviderKilled(t *testing.T) {
	t.Parallel()
	eachCrash(t, func(t *testing.T, s *site, foreign string, writing []string) {
		create, change, revoke := append(granting,
			writing...), append(
			changing,
			writing...), append(
			revoking,
			writing...)
		for i := range max(len(create), len(change), len(revoke)) {
			name := fmt.Sprintf("round%d", i)
			c := create[i%len(create)]
			s.configure(s.grant(name))
			s.killed(c, "apply")
			s.recovered(foreign, "create, "+c)
			before := s.fact(name, "expires_at")

			c = change[i%len(change)]
			s.configure(s.grant(name, `ttl = "2h"`))
			s.killed(c, "apply")
			s.recovered(foreign, "update, "+c)
			begin, end := instant(t, before).Add(-time.Hour), instant(t, s.fact(name, "expires_at"))
			if !end.Equal(begin.Add(2 * time.Hour)) {
				t.Errorf("update, %s: the grant ends at %s, want two hours after %s", c, end, begin)
			}

			c = revoke[i%len(revoke)]
			s.killed(c, "destroy")
			same(t, foreign, s.foreign(t), "delete, "+c+": after the crash, foreign access is")
			s.Must("destroy", "-auto-approve")
			s.may(false, "delete, "+c+": after the next destroy")
			s.gone(foreign, "delete, "+c)
		}
		says(t, s.mustJit("sweep"), "Nothing to do")
		says(t, s.mustJit("audit", "verify"), "intact")
	})
}

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// A provider dies while it grants, and nobody applies again. The access ends with its window, by itself or by the
// sweeper.
func TestProviderKilledAndForgotten(t *testing.T) {
	t.Parallel()
	eachCrash(t, func(t *testing.T, s *site, foreign string, writing []string) {
		var last time.Time
		for i, c := range append(granting, writing...) {
			last = time.Now().Add(30 * time.Second)
			s.configure(
				s.grant(fmt.Sprintf("n%d", i), "ttl =",
					fmt.Sprintf("expires_at = %q", last.UTC().Format(time.RFC3339))),
			)
			s.killed(c, "apply")
		}
		same(t, foreign, s.foreign(t), "after the crashes, foreign access is")
		s.may(true, "after crashes past the platform's write")
		time.Sleep(time.Until(last.Add(1100 * time.Millisecond)))
		s.may(!s.native(), "after the window, with nothing running")
		s.mustJit("sweep")
		s.may(false, "after the sweep")
		s.gone(foreign, "after the sweep")
		says(t, s.mustJit("audit", "verify"), "intact")
	})
}

// The sweeper dies at each of its steps, and the next sweep completes the work.
func TestSweepKilled(t *testing.T) {
	t.Parallel()
	eachCrash(t, func(t *testing.T, s *site, foreign string, writing []string) {
		swept := func(failpoint string, want bool) {
			t.Helper()
			s.killedJit(failpoint, "sweep")
			same(t, foreign, s.foreign(t), failpoint+": after the crash, foreign access is")
			s.mustJit("sweep")
			s.may(want, failpoint+": after the next sweep")
			says(t, s.mustJit("sweep"), "Nothing to do")
		}
		for i, point := range append([]string{".after-platform", ".after-outcome"}, writing...) {
			on := func(verb string) string {
				if strings.HasPrefix(point, ".") {
					return verb + point
				}
				return point
			}
			name := fmt.Sprintf("round%d", i)
			s.configure(
				s.grant(name, fmt.Sprintf("starts_at = %q", time.Now().Add(20*time.Second).UTC().Format(time.RFC3339))))
			s.Apply()
			s.may(false, "before the beginning")
			s.waitFor(name, "starts_at")
			if s.begins() {
				s.may(true, "after the beginning, with nothing running")
			} else {
				swept(on("start"), true)
			}

			s.tamper(t)
			s.may(false, "after an outsider altered the binding")
			if _, removed := s.place.(unmarked); removed { // a repair passes fewer failpoints
				says(t, s.mustJit("sweep"), "missing")
				s.may(true, "after the sweep")
			} else {
				swept(on("repair"), true)
			}

			// The sweeper completes a revocation whose process died after recording its intent.
			s.killedJit("revoke.after-intent", "revoke", "--all", "--yes", "--reason", "INC-1: done")
			s.may(true, "after a revocation whose process died")
			swept(on("revoke"), false)
			s.gone(foreign, on("revoke"))
		}
		says(t, s.mustJit("audit", "verify"), "intact")
	})
}

// The ledger is lost, only the markers are left, and a sweeper that uses them dies.
func TestSweepByMarkersKilled(t *testing.T) {
	t.Parallel()
	eachCrash(t, func(t *testing.T, s *site, foreign string, writing []string) {
		end := time.Now().Add(30 * time.Second)
		s.configure(s.grant("a", "ttl =", fmt.Sprintf("expires_at = %q", end.UTC().Format(time.RFC3339))))
		s.Apply()
		s.may(true, "after the apply")
		s.loseLedger()
		time.Sleep(time.Until(end.Add(1100 * time.Millisecond)))
		if _, ok := s.place.(unmarked); ok {
			// Claims are lost with the ledger: no binding is recognised as ours.
			s.mustJit("sweep")
			same(t, foreign, s.foreign(t), "after the sweep, foreign access is")
			s.may(true, "after a sweep without claims")
			return
		}
		s.killedJit("remove.after-platform", "sweep")
		s.mustJit("sweep")
		s.may(false, "after the next sweep")
		s.gone(foreign, "after the next sweep")
		if r := s.Plan(); r.ExitCode != 0 {
			t.Errorf("after the sweep the plan ends with exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}
