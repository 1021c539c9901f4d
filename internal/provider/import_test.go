package provider_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Configuration that Terraform generates for an import plans empty and can be edited, for live, scheduled and ended
// grants. Configuration written by hand, with ttl, plans empty too.
func TestGeneratedConfiguration(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		at := func(name string, d time.Duration) string {
			return fmt.Sprintf("%s = %q", name, jit.FormatTime(w.Clock.Now().Add(d)))
		}
		blocks := map[string][]string{
			"plain":    {`reason = "INC-1: plain"`},
			"until":    {`reason = "INC-1: until"`, "ttl =", at("expires_at", 3*time.Hour)},
			"later":    {`reason = "INC-1: later"`, at("starts_at", time.Hour), at("start_by", 2*time.Hour)},
			"renewed":  {`reason = "INC-1: renewed"`, "renewal = 3"},
			"governed": {`reason = "INC-1: governed"`, "policy = jit_policy.any.name"},
			"over":     {`reason = "INC-1: over"`, `ttl = "1m"`},
			"revoked":  {`reason = "INC-1: revoked"`},
		}
		var resources []string
		for name, lines := range blocks {
			resources = append(resources, grant(name, lines...))
		}
		configure(w, append(resources, policy("any"))...)
		w.Apply()
		revoke(t, w, "jit_grant.revoked")
		w.Clock.Advance(2 * time.Minute)
		var imports []string
		for name := range blocks {
			imports = append(imports, fmt.Sprintf("import {\n  to = jit_grant.%s\n  id = %q\n}\n", name,
				fact(t, w, "jit_grant."+name, "id")))
			w.Must("state", "rm", "jit_grant."+name)
		}
		w.Calls.Reset()
		configure(w, append(imports, policy("any"))...)
		r := w.Plan("-generate-config-out=generated.tf", "-out=plan")
		if want := fmt.Sprintf("%d to import, 0 to add, 0 to change, 0 to destroy",
			len(blocks)); !strings.Contains(r.Text(), want) {
			t.Fatalf("the plan is not empty:\n%s", r.Text())
		}
		w.Must("apply", "plan")
		unchanged(t, w, "with the generated configuration")
		generated := w.Read("generated.tf")
		both, withTTL := strings.Count(generated, "expires_at"), strings.Count(generated, `ttl                = "`)
		if both != len(blocks) || withTTL != len(blocks)-1 {
			t.Errorf("the generated configuration is\n%s", generated)
		}

		w.Must("apply", "-auto-approve", "-replace=jit_grant.plain") // the generated block is complete
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("importing wrote to the target: %+v", got)
		}
		// Edited: one of the two ends remains, or they differ.
		edit := func(edited string) {
			t.Helper()
			if edited == generated {
				t.Fatalf("no line to edit in\n%s", generated)
			}
			w.Write("generated.tf", edited)
		}
		const ttl, expires = "\n  ttl                = ", "\n  expires_at         = "
		edit(strings.ReplaceAll(generated, ttl, "\n  # ttl = "))
		unchanged(t, w, "with expires_at")
		resourcesOf := strings.SplitAfter(generated, "\n}\n")
		for i, r := range resourcesOf {
			if strings.Contains(r, ttl+`"`) {
				resourcesOf[i] = strings.Replace(r, expires, "\n  # expires_at = ", 1)
			}
		}
		edit(strings.Join(resourcesOf, ""))
		unchanged(t, w, "with ttl")
		edit(strings.ReplaceAll(generated, ttl+`"2h"`, ttl+`"3h"`))
		says(t, w.Plan(), "Invalid expires_at", `With ttl = "3h" the grant ends at`,
			"Remove expires_at to let ttl decide")
		// Written by hand: the end is as in the original block.
		if err := os.Remove(w.Path("generated.tf")); err != nil {
			t.Fatal(err)
		}
		for i, r := range resources {
			// The replacement named the deciding policy, if any, as the generated block does.
			if strings.Contains(r, "INC-1: plain") && fact(t, w, "jit_grant.plain", "policy") == "any" {
				resources[i] = strings.Replace(r, "reason =", "policy = jit_policy.any.name\n  reason =", 1)
			}
		}
		configure(w, append(resources, policy("any"))...)
		if r := w.Plan(); r.ExitCode != 0 {
			t.Errorf("with the blocks written by hand: exit code %d\n%s", r.ExitCode, r.Text())
		}
		w.Apply()
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("writing ttl instead of expires_at wrote to the target: %+v", got)
		}
		unchanged(t, w, "with ttl")
		end := fact(t, w, "jit_grant.plain", "expires_at")
		configure(w, grant("plain", `reason = "INC-1: plain"`, `ttl = "3h"`))
		w.Apply("-target=jit_grant.plain")
		if got := fact(t, w, "jit_grant.plain", "expires_at"); got <= end {
			t.Errorf("the edit did not move the end: %s", got)
		}
	})
}
