package provider

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// addError adds the diagnostic of an error, at the attribute to blame if there is one. doing is the summary of errors
// that are not of a known kind.
func addError(diags *diag.Diagnostics, doing string, err error) {
	blamed, summary, detail := explain(doing, err)
	diags.Append(at(blamed, diag.NewErrorDiagnostic(summary, detail)))
}

// addWarning is [addError] as a warning.
func addWarning(diags *diag.Diagnostics, doing string, err error) {
	blamed, summary, detail := explain(doing, err)
	diags.Append(at(blamed, diag.NewWarningDiagnostic(summary, detail)))
}

// addWarnings adds the warnings of the broker.
func addWarnings(diags *diag.Diagnostics, all []broker.Warning) {
	for _, w := range all {
		diags.Append(at(w.Attribute, diag.NewWarningDiagnostic(w.Summary, jit.Visible(w.Detail))))
	}
}

// explain returns the attribute to blame for an error, and the texts of its diagnostic.
func explain(doing string, err error) (blamed, summary, detail string) {
	var user *jit.Error
	if !errors.As(err, &user) {
		return "", doing, sentence(err.Error())
	}
	detail = sentence(err.Error())
	if direct, ok := err.(*jit.Error); ok { //nolint:errorlint // only an error that nothing wraps is shown in its parts
		detail = sentence(direct.Problem)
		if direct.Hint != "" {
			detail += "\n\n" + sentence(direct.Hint)
		}
	}
	return user.Attribute, kind(doing, user), detail
}

// kinds are the summaries of errors of a kind. With names set, the attribute to blame completes the summary.
var kinds = []struct {
	kind    error
	summary string
	names   bool
}{
	{kind: jit.ErrOver, summary: "The grant is over"},
	{kind: jit.ErrUnapproved, summary: "The grant needs approval"},
	{kind: jit.ErrDenied, summary: "Not permitted by policy"},
	{kind: jit.ErrNewerLedger, summary: "The ledger is newer than this provider"},
	{kind: jit.ErrSkew, summary: "The clocks disagree"},
	{jit.ErrUnknown, "Unknown ", true}, {jit.ErrInvalid, "Invalid ", true},
}

// kind returns the summary of a diagnostic: short and general.
func kind(doing string, err *jit.Error) string {
	for _, k := range kinds {
		switch {
		case !errors.Is(err, k.kind):
		case !k.names:
			return k.summary
		case err.Attribute != "":
			return k.summary + err.Attribute
		}
	}
	return doing
}

// sentence writes s with a capital, unless it begins with a name, and a full stop. It makes hidden characters visible,
// because Terraform prints them as they are.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = jit.Visible(s)
	first, size := utf8.DecodeRuneInString(s)
	word, _, _ := strings.Cut(s, " ")
	if word = strings.TrimRight(word, ".,;"); !strings.ContainsAny(word, `_:=/@[.`) {
		s = string(unicode.ToUpper(first)) + s[size:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

var firstName = regexp.MustCompile(`^[a-z_][a-z0-9_]*`)

// at adds the path of the top attribute of a blamed name, such as match for match.roles, to a diagnostic. A path into
// an object would point to the head of the block. Terraform prints the line of the path, so attributes that can hold a
// secret have none.
func at(blamed string, d diag.Diagnostic) diag.Diagnostic {
	name := firstName.FindString(blamed)
	if name == "" || name == "ledger" || name == "targets" {
		return d
	}
	return diag.WithPath(path.Root(name), d)
}
