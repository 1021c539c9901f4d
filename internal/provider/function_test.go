package provider_test

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// The validation of a variable bounds a ttl. A text that no grant could have is an error that names the rule.
func TestFunctionTTLSeconds(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, `
variable "ttl" {
  type = string
  validation {
    condition     = provider::jit::ttl_seconds(var.ttl) <= 12 * 60 * 60
    error_message = "Too long for this module."
  }
}

output "seconds" {
  value = provider::jit::ttl_seconds(var.ttl)
}
`)
		for _, c := range []struct {
			ttl  string
			exit int
			says []string
		}{
			{"8h", 2, []string{"seconds = 28800"}},
			{"12h1m", 1, []string{"Too long for this module."}},
			{"banana", 1, []string{`"banana" is not a duration`, `"1d12h"`}},
			{"30s", 1, []string{"a grant lasts at least 1m"}},
		} {
			r := w.Plan("-var=ttl=" + c.ttl)
			if r.ExitCode != c.exit {
				t.Errorf("%s: exit code %d, want %d", c.ttl, r.ExitCode, c.exit)
			}
			says(t, r, c.says...)
			if strings.Contains(r.Text(), `"..`) {
				t.Errorf("%s: two periods in a row:\n%s", c.ttl, r.Text())
			}
		}
	})
}
