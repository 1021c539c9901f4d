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

// Configuration that Terraform generates for an import plans empty, for grants that live, are to begin, or have ended, and can be
// edited; so does configuration written by hand, with ttl.
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
			imports = append(imports, fmt.Sprintf("import {\n  to = jit_grant.%s\n  id = %q\n}\n", name, fact(t, w, "jit_grant."+name, "id")))
			w.Must("state", "rm", "jit_grant."+name)
		}
		w.Calls.Reset()
		configure(w, append(imports, policy("any"))...)
		r := w.Plan("-generate-config-out=generated.tf", "-out=plan")
		if want := fmt.Sprintf("%d to import, 0 to add, 0 to change, 0 to destroy", len(blocks)); !strings.Contains(r.Text(), want) {
			t.Fatalf("the plan is not empty:\n%s", r.Text())
		}
		w.Must("apply", "plan")
		unchanged(t, w, "with what was generated")
		generated := w.Read("generated.tf")
		if n := strings.Count(generated, "expires_at"); n != len(blocks) || strings.Contains(generated, `ttl                = "`) {
			t.Errorf("generated was\n%s", generated)
		}

		w.Must("apply", "-auto-approve", "-replace=jit_grant.plain") // it stands on its own
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("importing wrote to the target: %+v", got)
		}
		// Edited: an end of its own instead, as it was written at first.
		if err := os.Remove(w.Path("generated.tf")); err != nil {
			t.Fatal(err)
		}
		configure(w, append(resources, policy("any"))...)
		r = w.Plan()
		if !strings.Contains(r.Text(), " 0 to destroy") || strings.Contains(r.Text(), "known after apply") {
			t.Errorf("ttl in the place of expires_at plans\n%s", r.Text())
		}
		w.Apply()
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("writing ttl in the place of expires_at wrote to the target: %+v", got)
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
