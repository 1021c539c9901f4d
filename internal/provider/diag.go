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

// addError makes the diagnostic of an error: at the attribute to blame, if one is,
// with what is wrong and what to do instead. doing says what was being done.
func addError(diags *diag.Diagnostics, doing string, err error) {
	at, summary, detail := explain(doing, err)
	if at == nil {
		diags.AddError(summary, detail)
		return
	}
	diags.AddAttributeError(*at, summary, detail)
}

// addWarning is [addError] for what does not stop the run.
func addWarning(diags *diag.Diagnostics, doing string, err error) {
	at, summary, detail := explain(doing, err)
	if at == nil {
		diags.AddWarning(summary, detail)
		return
	}
	diags.AddAttributeWarning(*at, summary, detail)
}

// addWarnings makes the diagnostics of the broker's warnings.
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

// kind is the short and general part of a diagnostic.
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

// sentence writes s with a capital and a full stop, unless it begins with a name or ends in a quoted value. What a server or somebody
// else hid in it is made visible: Terraform prints it as it is.
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

// attributePath returns the path of the top attribute in what an error blames, such as
// match.roles; nil for none. The summary names the whole: Terraform points to the head of the
// block when a path leads into an object. It prints the line that it points to, so nothing points to
// those that may have a secret written in them.
func attributePath(blamed string) *path.Path {
	name := firstName.FindString(blamed)
	if name == "" || name == "ledger" || name == "targets" {
		return nil
	}
	at := path.Root(name)
	return &at
}
