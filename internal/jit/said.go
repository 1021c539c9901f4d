package jit

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxSaid is how many characters of a text from outside are repeated.
const maxSaid = 2000

var (
	// userInfo matches the user and password in a URL, also a password with an @ or a / that nobody escaped.
	userInfo = regexp.MustCompile(`://(?:[^/\s<>"'@:]*:[^\s<>"']*|[^/\s<>"']*)@`)
	// credentials match the values of headers, fields and tokens that are secrets.
	credentials = []*regexp.Regexp{
		regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|[a-z-]*api-key|[a-z-]+-token)` +
			`([\\"']{0,2}: ?[\\"'\[]{0,2})(?:(?:basic|bearer|token) +)?[^\s\\"'<>,;\]]+`),
		regexp.MustCompile(`(?i)\b(password|client_secret|client_assertion|(?:access|refresh|id)_token|api_key)` +
			`(=|[\\"']{1,2}: ?[\\"']{1,2})[^\s\\"'<>,;&]+`),
		regexp.MustCompile(`(?i)\b(basic|bearer)( +)[A-Za-z0-9._~+/=-]{16,}`),
		regexp.MustCompile(`\b()()eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), // RFC 7519
	}
)

// WithoutUsers takes users and passwords out of the URLs in a text.
func WithoutUsers(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	return userInfo.ReplaceAllString(text, "://…@")
}

// WithoutSecrets takes what looks like a credential out of a text: users of URLs, values of headers, tokens.
func WithoutSecrets(text string) string {
	text = WithoutUsers(text)
	for _, form := range credentials {
		text = form.ReplaceAllString(text, "${1}${2}…")
	}
	return text
}

// Said makes a text that a server, a file or a program wrote safe for errors, the record, notices and pages: on one
// line, without secrets and hidden characters, and not too long.
func Said(text string) string {
	text = Visible(WithoutSecrets(strings.Join(strings.Fields(text), " ")))
	if utf8.RuneCountInString(text) > maxSaid {
		text = string([]rune(text)[:maxSaid]) + "…"
	}
	return text
}

// Told returns an error of a target with a text that is safe to show: see [Said]. [errors.Is] and [errors.As] find what
// they found before.
func Told(err error) error {
	if err == nil {
		return nil
	}
	if user, ok := err.(*Error); ok { //nolint:errorlint // what it wraps keeps its text, which nobody shows
		safe := *user
		safe.Problem, safe.Hint = Said(user.Problem), Visible(WithoutSecrets(user.Hint))
		if safe == *user {
			return err
		}
		return &safe
	}
	before := err.Error()
	if text := Said(strings.ReplaceAll(before, "\n", "; ")); text != before {
		return &toldError{text, err}
	}
	return err
}

// toldError is an error with another text.
type toldError struct {
	text string
	err  error
}

// Error returns the safe text.
func (t *toldError) Error() string { return t.text }

// Unwrap returns the error as it was.
func (t *toldError) Unwrap() error { return t.err }
