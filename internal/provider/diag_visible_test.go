package provider

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Terraform prints diagnostics unchanged. Control characters from servers and people must not reach the terminal.
func TestDiagnosticsHideNothing(t *testing.T) {
	const hostile = "forbidden \x1b]0;title\x07\x1b[2J \u202etxt\u200b"
	var diags diag.Diagnostics
	addError(&diags, "Cannot grant", errors.New(hostile))
	addError(&diags, "Cannot grant", jit.Invalid("role", hostile, "%s", hostile))
	addWarning(&diags, "Cannot read", errors.New(hostile))
	addWarnings(&diags, []broker.Warning{{Attribute: "principal", Summary: "Standing access", Detail: hostile},
		{Summary: "x", Detail: hostile}})
	for _, d := range diags {
		if text := strings.ReplaceAll(d.Detail(), "\n", ""); strings.ContainsFunc(text, jit.Hidden) ||
			!strings.Contains(text, `\u{202e}txt`) {
			t.Errorf("%q", d.Detail())
		}
	}
}

// TestSentenceKeepsNames: a sentence that begins with a name, an address or a path keeps its first letter.
func TestSentenceKeepsNames(t *testing.T) {
	for text, want := range map[string]string{
		"roles/viewer for user:a": "roles/viewer for user:a.", "match[0].roles of": "match[0].roles of.",
		"a@example.com asks": "a@example.com asks.", "the grant is over": "The grant is over.", "done.": "Done.",
	} {
		if got := sentence(text); got != want {
			t.Errorf("sentence(%q) = %q, want %q", text, got, want)
		}
	}
}
