package provider_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// people returns a grant for each name, by for_each.
func people(names ...string) string {
	keys := map[string]string{"alice": alice, "bob": bob, "alina": alice}
	var each []string
	for _, name := range names {
		each = append(each, fmt.Sprintf("%s = %q", name, keys[name]))
	}
	return fmt.Sprintf("resource \"jit_grant\" \"p\" {\n  for_each = { %s }\n  target = \"host\"\n  role = \"login\"\n  reason = \"INC-2: look\"\n  ttl = \"2h\"\n  principal = each.value\n}\n",
		strings.Join(each, ", "))
}

// numbered returns grants by count.
func numbered(keys ...string) string {
	return fmt.Sprintf("resource \"jit_grant\" \"p\" {\n  count = %d\n  target = \"host\"\n  role = \"login\"\n  reason = \"INC-2: look\"\n  ttl = \"2h\"\n  principal = [%s][count.index]\n}\n",
		len(keys), `"`+strings.Join(keys, `", "`)+`"`)
}

// A grant that one apply destroys and creates continues with its old end. Nobody gains access. Ended grants stay ended,
// and no such apply fails.
func TestDestroyedAndCreatedInOneApply(t *testing.T) {
	trigger := func(n int) string { return fmt.Sprintf("resource \"terraform_data\" \"n\" {\n  input = %d\n}\n", n) }
	triggered := grant("a", "lifecycle {\n    replace_triggered_by = [terraform_data.n]\n  }")
	first := grant("a", "lifecycle {\n    create_before_destroy = true\n  }")
	apply := func(_ *testing.T, w *acctest.World) { w.Apply() }
	saved := func(_ *testing.T, w *acctest.World) {
		w.Must("plan", "-out=plan")
		w.Must("apply", "plan")
	}
	for name, tt := range map[string]struct {
		before, after string
		do            func(*testing.T, *acctest.World)
		loses         string // who must have no access afterwards
		still         bool   // a replacement, whose halves run in order, so the target is not written to
	}{
		"-replace": {grant("a"), grant("a"),
			func(_ *testing.T, w *acctest.World) { w.Apply("-replace=jit_grant.a") }, "", true},
		"-replace, first": {first, first, func(_ *testing.T, w *acctest.World) { w.Apply("-replace=jit_grant.a") }, "",
			true},
		"-replace, saved": {grant("a"), grant("a"), func(_ *testing.T, w *acctest.World) {
			w.Must("plan", "-replace=jit_grant.a", "-out=plan")
			w.Must("apply", "plan")
		}, "", true},
		"taint": {grant("a"), grant("a"),
			func(_ *testing.T, w *acctest.World) { w.Must("taint", "jit_grant.a"); w.Apply() }, "", true},
		"taint, first": {first, first,
			func(_ *testing.T, w *acctest.World) { w.Must("taint", "jit_grant.a"); w.Apply() }, "", true},
		"replace_triggered_by": {trigger(1) + triggered, trigger(2) + triggered, apply, "", true},
		"another name":         {grant("a"), grant("b"), apply, "", false},
		"another name, saved":  {grant("a"), grant("b"), saved, "", false},
		"moved": {grant("a"), grant("b") + "moved {\n  from = jit_grant.a\n  to = jit_grant.b\n}\n",
			apply, "", true},
		"another key": {people("alice", "bob"), people("alina", "bob"), apply, "", false},
		"another key, targeted": {people("alice", "bob"), people("alina", "bob"),
			func(_ *testing.T, w *acctest.World) { w.Apply("-target=jit_grant.p") }, "", false},
		"count shifted":        {numbered(alice, bob), numbered(bob), apply, alice, false},
		"count shifted, saved": {numbered(alice, bob), numbered(bob), saved, alice, false},
		"count swapped":        {numbered(alice, bob), numbered(bob, alice), apply, "", false},
		"count to for_each":    {numbered(alice, bob), people("alice", "bob"), apply, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				configure(w, tt.before)
				w.Apply()
				end := jit.FormatTime(w.Clock.Now().Add(2 * time.Hour))
				had := lines(w)
				w.Clock.Advance(30 * time.Minute)
				w.Calls.Reset()
				configure(w, tt.after)
				tt.do(t, w)
				want := had
				if tt.loses != "" {
					want--
					if strings.Contains(w.Read("authorized_keys"), tt.loses) {
						t.Errorf("%s still has access", tt.loses)
					}
				}
				if got := lines(w); got != want {
					t.Errorf("%d grants are on the host, want %d:\n%s", got, want, w.Read("authorized_keys"))
				}
				if got := w.Calls.Count(); tt.still && got.Writes != 0 || got.Removes-got.Ensures != had-want {
					t.Errorf("the target was written to: %+v", got)
				}
				for address, values := range w.State() {
					if strings.HasPrefix(address, "jit_grant") && values["expires_at"] != end {
						t.Errorf("%s ends at %v, want %s", address, values["expires_at"], end)
					}
				}
				unchanged(t, w, "after it")

				// The change back, after all ends: nobody gets access, and no apply fails.
				w.Clock.Advance(3 * time.Hour)
				w.Calls.Reset()
				if tt.loses == "" {
					configure(w, tt.before)
					tt.do(t, w)
					unchanged(t, w, "after the end")
				}
				if got := w.Calls.Count(); got.Writes != 0 {
					t.Errorf("the target was written to after the end: %+v", got)
				}
				w.Must("destroy", "-auto-approve")
			})
		})
	}
}

// A renamed module keeps its grants, with and without a moved block.
func TestRenamedModule(t *testing.T) {
	for name, moved := range map[string]string{"moved": "moved {\n  from = module.one\n  to = module.two\n}\n",
		"not moved": ""} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				module(t, w, "grants", people("alice", "bob"))
				call := func(name string) string {
					return fmt.Sprintf("module %q {\n  source = \"./grants\"\n}\n", name)
				}
				configure(w, call("one"))
				w.Must("get")
				w.Apply()
				before := w.Read("authorized_keys")
				w.Clock.Advance(30 * time.Minute)
				configure(w, call("two"), moved)
				w.Must("get")
				w.Apply()
				if got := sortedLines(w.Read("authorized_keys")); got != sortedLines(before) {
					t.Errorf("authorized_keys is\n%swant\n%s", got, before)
				}
				unchanged(t, w, "after it")
				w.Must("destroy", "-auto-approve")
				if got := w.Read("authorized_keys"); got != foreign {
					t.Errorf("after destroy, authorized_keys is\n%s", got)
				}
			})
		})
	}
}

// sortedLines returns the sorted lines of a text.
func sortedLines(s string) string {
	return strings.Join(slices.Sorted(strings.Lines(s)), "")
}

// A replacement of a live grant repairs drift on the target.
func TestReplacementRepairs(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		right := w.Read("authorized_keys")
		w.Write("authorized_keys", foreign)
		w.Clock.Advance(2 * time.Minute)
		w.Apply("-replace=jit_grant.a")
		if got := w.Read("authorized_keys"); got != right {
			t.Errorf("authorized_keys is\n%swant\n%s", got, right)
		}
		unchanged(t, w, "after the replacement")
	})
}

// A destroy is planned and applied before the provider knows of the create. The destroy ends the access, and the create
// restores it.
func TestDestroyedBeforeItsCreateIsKnown(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		id, end := fact(t, w, "jit_grant.a", "id"), fact(t, w, "jit_grant.a", "expires_at")
		before := w.Read("authorized_keys")
		w.Clock.Advance(30 * time.Minute)
		w.Calls.Reset()
		w.Calls.Slow(time.Second) // the data source takes so long at plan, terraform_data at apply
		configure(w, grant("b", "depends_on = [data.jit_standing_access.slow, terraform_data.slow]"),
			"data \"jit_standing_access\" \"slow\" {}\n",
			"resource \"terraform_data\" \"slow\" {\n  provisioner \"local-exec\" {\n    command = \"sleep 2\"\n  }\n}\n")
		w.Must("plan", "-refresh=false", "-out=plan")
		w.Must("apply", "plan")
		w.Calls.Slow(0)
		if got := w.Calls.Count(); got.Removes != 1 || got.Ensures != 1 {
			t.Errorf("the test is wrong: %+v", got)
		}
		if got := w.Read("authorized_keys"); got != before {
			t.Errorf("authorized_keys is\n%swant\n%s", got, before)
		}
		if g := record(t, w, id); g.Over(w.Clock.Now()) || g.Destroyed() || jit.FormatTime(g.End) != end {
			t.Errorf("the record is %+v", g)
		}
		configure(w, grant("b"))
		w.Apply()
		unchanged(t, w, "after it")
		w.Must("destroy", "-auto-approve")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("after destroy, authorized_keys is\n%s", got)
		}
	})
}

// A destroy ends access whatever the present configuration says, also if another block there asks for the same grant.
func TestDestroyAfterARename(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		configure(w, grant("b"))
		w.Must("destroy", "-auto-approve")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("after destroy, authorized_keys is\n%s", got)
		}
	})
}

// A block that comes back after Terraform destroyed it is a new request, and is refused at plan. A rotation alice, bob,
// alice must not succeed without access.
func TestABlockThatComesBack(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		refused := func(when string) {
			t.Helper()
			r := w.Plan()
			if r.ExitCode != 1 {
				t.Errorf("%s: plan: exit code %d\n%s", when, r.ExitCode, r.Text())
			}
			says(t, r, "Error: The grant is over", "This grant was given before", "its resource was destroyed",
				"Set renewal = 2 to grant again")
		}
		second := fmt.Sprintf("principal = %q", bob)
		configure(w, grant("a"))
		w.Apply()
		configure(w, grant("a", second))
		w.Apply()
		configure(w, grant("a"))
		refused("alice again")
		configure(w, grant("a", "renewal = 2"))
		w.Apply()
		if got := w.Read("authorized_keys"); lines(w) != 1 || !strings.Contains(got, alice) {
			t.Errorf("authorized_keys is\n%s", got)
		}

		configure(w)
		w.Apply()
		configure(w, grant("a", second))
		refused("bob again")

		// The grant had ended before it was destroyed.
		configure(w, grant("a", `reason = "INC-3: look"`))
		w.Apply()
		w.Clock.Advance(3 * time.Hour)
		configure(w)
		w.Apply()
		configure(w, grant("a", `reason = "INC-3: look"`))
		refused("over and destroyed")

		// A grant that Terraform did not destroy is born ended.
		configure(w, grant("a", `reason = "INC-4: look"`))
		w.Apply()
		w.Clock.Advance(3 * time.Hour)
		w.Must("state", "rm", "jit_grant.a")
		w.Calls.Reset()
		says(t, w.Apply(), "Warning: The grant is over", "nothing will be granted. Set renewal = 2")
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("%+v", got)
		}
		unchanged(t, w, "born ended")
	})
}

// Today's policies must permit a replacement. If they do not, nothing happens.
func TestReplacementThatIsNotPermittedAnyMore(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, policy("any"), grant("a", "depends_on = [jit_policy.any]"))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		before := w.Read("authorized_keys")
		w.Must("plan", "-replace=jit_grant.a", "-out=plan")
		forbid := jit.Policy{Name: "stop", Effect: jit.Forbid}
		if err := w.Runtime().Broker.PutPolicy(t.Context(), forbid); err != nil {
			t.Fatal(err)
		}
		r := w.Plan("-replace=jit_grant.a")
		if r.ExitCode != 1 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Not permitted by policy", "The grant is live and ends at "+fact(t, w, "jit_grant.a", "expires_at"),
			"`jit revoke "+id+"` ends it now")
		unchanged(t, w, "refused")
		if got := w.Read("authorized_keys"); got != before {
			t.Errorf("authorized_keys is\n%swant\n%s", got, before)
		}

		// An older plan destroys the resource. Its create is refused, so the access ends.
		if r = w.Run("apply", "plan"); r.ExitCode != 1 {
			t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
		}
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("authorized_keys is\n%s", got)
		}
		if g := record(t, w, id); g.RevokedAt.IsZero() || !g.Destroyed() {
			t.Errorf("the record is %+v", g)
		}
	})
}

// A replacement gives every warning of a create.
func TestReplacementWarnsAsACreate(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		warnings := []string{"Warning: No policy governs the grant", "Warning: Sessions can outlive the grant",
			"No sweeper is at work"}
		later := fmt.Sprintf("starts_at = %q", jit.FormatTime(w.Clock.Now().Add(time.Hour)))
		configure(w, grant("a", later))
		says(t, w.Plan(), warnings...)
		w.Apply()
		for _, change := range []string{"renewal = 2", `reason = "INC-9: another"`,
			fmt.Sprintf("principal = %q", bob)} {
			configure(w, grant("a", later, change))
			r := w.Plan()
			says(t, r, append(warnings, "must be replaced")...)
		}
		configure(w, grant("a", later, "renewal = 2", `ttl = "2d"`))
		if r := w.Plan(); r.ExitCode != 1 || strings.Count(r.Text(), "Error: ") != 1 {
			t.Errorf("a replacement that is too long: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}

// module writes a module with that name and the resources.
func module(t *testing.T, w *acctest.World, name string, resources ...string) {
	t.Helper()
	if err := os.MkdirAll(w.Path(name), 0o700); err != nil {
		t.Fatal(err)
	}
	w.Write(name+"/main.tf", "terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n  }\n}\n"+strings.Join(resources, "\n"))
}
