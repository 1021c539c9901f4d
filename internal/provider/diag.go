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
	at, summary, detail := explain(doing, err)
	if at == nil {
		diags.AddError(summary, detail)
		return
	}
	diags.AddAttributeError(*at, summary, detail)
}

// addWarning is [addError] as a warning.
func addWarning(diags *diag.Diagnostics, doing string, err error) {
	at, summary, detail := explain(doing, err)
	if at == nil {
		diags.AddWarning(summary, detail)
		return
	}
	diags.AddAttributeWarning(*at, summary, detail)
}

// addWarnings adds the warnings of the broker.
func addWarnings(diags *diag.Diagnostics, all []broker.Warning) {
	for _, w := range all {
		if at := attributePath(w.Attribute); at != nil {
			diags.AddAttributeWarning(*at, w.Summary, jit.Visible(w.Detail))
		} else {
			diags.AddWarning(w.Summary, jit.Visible(w.Detail))
		}
	}
}

func explain(doing string, err error) (at *path.Path, summary, detail string) {
	var user *jit.Error
	if !errors.As(err, &user) {
		return nil, doing, sentence(err.Error())
	}
	detail = sentence(err.Error())
	if direct, ok := err.(*jit.Error); ok { //nolint:errorlint // only an error that nothing wraps is told in its parts
		detail = sentence(direct.Problem)
		if direct.Hint != "" {
			detail += "\n\n" + sentence(direct.Hint)
		}
	}
	return attributePath(user.Attribute), kind(doing, user), detail
}

// kind returns the summary of a diagnostic: short and general.
func kind(doing string, err *jit.Error) string {
	switch {
	case errors.Is(err, jit.ErrOver):
		return "The grant is over"
	case errors.Is(err, jit.ErrDenied):
		return "Not permitted by policy"
	case errors.Is(err, jit.ErrNewerLedger):
		return "The ledger is newer than this provider"
	case errors.Is(err, jit.ErrSkew):
		return "The clocks disagree"
	case errors.Is(err, jit.ErrUnknown) && err.Attribute != "":
		return "Unknown " + err.Attribute
	case errors.Is(err, jit.ErrInvalid) && err.Attribute != "":
		return "Invalid " + err.Attribute
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
	if word, _, _ := strings.Cut(s, " "); !strings.ContainsAny(word, `_:=`) {
		s = string(unicode.ToUpper(first)) + s[size:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

var firstName = regexp.MustCompile(`^[a-z_][a-z0-9_]*`)

// attributePath returns the path of the top attribute of a blamed name, such as match for match.roles; nil for none. A
// path into an object would point to the head of the block. Terraform prints the line of the path, so attributes that
// can hold a secret have none.
func attributePath(blamed string) *path.Path {
	name := firstName.FindString(blamed)
	if name == "" || name == "ledger" || name == "targets" {
		return nil
	}
	at := path.Root(name)
	return &at
}
