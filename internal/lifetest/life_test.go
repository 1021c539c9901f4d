package lifetest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// dependsOnSweeper is the warning of a plan whose grants need a sweeper to end, while none passes.
const dependsOnSweeper = "No sweeper is at work"

// A grant lives until its window has passed, and its access is tried. Then promises 3 to 5 are tested.
func TestLifeUntilItsTimeHasPassed(t *testing.T) {
	t.Parallel()
	eachPlace(t, func(t *testing.T, s *site, thorough bool) {
		l := begin(t, s, "1m", thorough)
		s.waitFor("a", "expires_at")
		s.may(!s.native(), "after the end, with nothing running")
		if !s.native() {
			says(t, s.mustJit("sweep"), "its window ended at")
			s.may(false, "after the sweep")
			s.gone(l.foreign, "after the sweep")
		}
		l.noWayBack(t, thorough)
		l.again(t)
	})
}

// The same for a grant that is revoked long before its end.
func TestLifeUntilRevoked(t *testing.T) {
	t.Parallel()
	eachPlace(t, func(t *testing.T, s *site, thorough bool) {
		l := begin(t, s, "1h", thorough)
		says(t,
			s.mustJit("revoke", s.fact("a", "id"), s.fact("n[0]", "id"), s.fact("n[1]", "id"), "--reason",
				"INC-1: done early"),
			"revoked",
		)
		s.may(false, "after the revocation")
		s.gone(l.foreign, "after the revocation")
		l.noWayBack(t, thorough)
		l.again(t)
	})
}

// eachPlace runs a test on every platform, in full with the first available command line and in part with the others.
// The newest one runs it on the first three platforms, unless the long tests are turned on: the platforms do not see
// which command line it is.
func eachPlace(t *testing.T, test func(t *testing.T, s *site, thorough bool)) {
	others := len(testenv.Terraforms(t))
	for i, cli := range testenv.AllTerraforms(t) {
		for j, p := range places {
			if i >= others && j >= 3 && !long() {
				continue
			}
			t.Run(cli.String()+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				test(t, newSite(t, cli, p.open(t), released), i == 0)
			})
		}
	}
}

// life is a configuration with one grant that has every lifecycle argument, and one grant for each of the people.
type life struct {
	*site
	ttl     string
	renewal int
	trigger int
	crew    []string
	// foreign is the foreign access before the test.
	foreign string
}

func (l *life) configure() {
	l.site.configure(
		fmt.Sprintf("resource \"terraform_data\" \"trigger\" {\n  input = %d\n}\n", l.trigger),
		l.grant("a", fmt.Sprintf("ttl = %q", l.ttl), fmt.Sprintf("renewal = %d", l.renewal),
			"lifecycle {\n    replace_triggered_by = [terraform_data.trigger]\n    create_before_destroy = true\n  }"),
		l.grant("n", fmt.Sprintf("count = %d", len(l.crew)), fmt.Sprintf("ttl = %q", l.ttl),
			`principal = ["`+strings.Join(l.crew, `", "`)+`"][count.index]`))
}

// begin makes the grants.
func begin(t *testing.T, s *site, ttl string, thorough bool) *life {
	t.Helper()
	l := &life{site: s, ttl: ttl, renewal: 1, trigger: 1, crew: s.people(t, 2)}
	l.foreign = s.foreign(t)
	before := s.dump(t)
	l.configure()
	s.may(false, "before everything")

	planned := s.Plan()
	if planned.ExitCode != 2 || strings.Contains(planned.Text(), dependsOnSweeper) == s.native() {
		t.Errorf("the plan ends with exit code %d:\n%s", planned.ExitCode, planned.Text())
	}
	says(t, planned, "INC-1: a", s.role(), "Plan: 4 to add")
	same(t, before, s.dump(t), "the plan wrote")
	if _, err := os.Stat(s.Path(".jit")); !os.IsNotExist(err) {
		t.Errorf("the plan created a ledger: %v", err)
	}

	s.Apply()
	s.may(true, "after the apply")
	may(t, s.place, l.crew[1], true, "after the apply")
	same(t, l.foreign, s.foreign(t), "after the apply, foreign access is")
	if n := s.marked(t); n != 3 {
		t.Errorf("%d bindings are ours, want 3", n)
	}
	if !thorough {
		return l
	}
	live, end := s.dump(t), s.fact("a", "expires_at")
	s.Apply("-replace=jit_grant.a")
	if got := s.fact("a", "expires_at"); got != end {
		t.Errorf("create_before_destroy moved the end from %s to %s", end, got)
	}
	same(t, live, s.dump(t), "create_before_destroy wrote")
	s.may(true, "after create_before_destroy")
	return l
}

// noWayBack tries everything that could bring an ended grant back. Nothing may be written, and nobody may have access.
func (l *life) noWayBack(t *testing.T, thorough bool) {
	t.Helper()
	l.unchanged("after the end")
	before, end, id := l.dump(t), l.fact("a", "expires_at"), l.fact("a", "id")
	ways := []struct {
		name string
		core bool // also in the part
		try  func()
	}{
		{"apply", true, func() { l.Apply() }},
		{"-replace", true,
			func() { says(t, l.Apply("-replace=jit_grant.a"), "nothing will be granted. Set renewal = 2") }},
		{"taint", false, func() { l.Must("taint", "jit_grant.a"); l.Apply() }},
		{"replace_triggered_by", false, func() { l.trigger = 2; l.configure(); l.Apply() }},
		{"count shift", false, func() { l.crew = l.crew[1:]; l.configure(); l.Apply() }},
		{"state rm", false, func() { l.Must("state", "rm", "jit_grant.a"); says(t, l.Apply(), "The grant is over") }},
		{"import", false, func() {
			l.Must("state", "rm", "jit_grant.a")
			l.Must("import", "jit_grant.a", id)
			l.Apply()
		}},
		{"the state deleted", true, func() {
			if err := os.Remove(l.Path("terraform.tfstate")); err != nil {
				t.Fatal(err)
			}
			l.Apply()
		}},
	}
	for _, way := range ways {
		if !thorough && !way.core {
			continue
		}
		way.try()
		same(t, before, l.dump(t), way.name+" wrote")
		l.may(false, "after "+way.name)
		if got := l.fact("a", "expires_at"); got != end {
			t.Errorf("%s: expires_at is %s, want %s", way.name, got, end)
		}
	}
	may(t, l.place, l.crew[0], false, "after all ways")
	l.unchanged("after all ways")
}

// again renews the grant, the only way to grant it again, and destroys it.
func (l *life) again(t *testing.T) {
	t.Helper()
	l.site.configure(l.grant("a", "renewal = 2"))
	l.Apply()
	l.may(true, "after renewal = 2")
	l.unchanged("after renewal = 2")
	l.Must("destroy", "-auto-approve")
	l.may(false, "after destroy")
	l.mustJit("sweep")
	l.gone(l.foreign, "at last")
	says(t, l.mustJit("audit", "verify"), "intact")
}
