package jit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestUsersOfURLsAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://admin:hunter2@db/x":                    "postgres://…@db/x",
		"(https://token@host, a@b)":                        "(https://…@host, a@b)",
		"user:alice@example.com":                           "user:alice@example.com",
		"principal://iam/subject/a@b.io":                   "principal://iam/subject/a@b.io",
		"https://a@b@c/":                                   "https://…@c/",
		"s3://bucket/x a@b":                                "s3://bucket/x a@b",
		"<a>://<b>x@y":                                     "<a>://<b>x@y",
		"postgres://jit:Sup3r@Secret99@host/db":            "postgres://…@host/db",
		"postgres://jit:Sup3r/Secret99@host/db":            "postgres://…@host/db",
		"postgres://jit:Su@3r/Secret99@host/db is no good": "postgres://…@host/db is no good",
	} {
		if got := jit.WithoutUsers(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestSaidHidesSecrets(t *testing.T) {
	const secret = "hunter2.abcDEF123456"
	for _, text := range []string{
		"Authorization: Bearer " + secret,
		"map[Authorization:[Bearer " + secret + "] Accept:[*/*]]",
		`{"headers":{"authorization":"Basic ` + secret + `"}}`,
		`"{\"Authorization\":\"Bearer ` + secret + `\"}"`,
		"proxy-authorization: " + secret,
		"Api-Key: " + secret, "X-Amz-Security-Token: " + secret, "Set-Cookie: " + secret,
		"invalid bearer " + secret,
		"grant_type=x&client_secret=" + secret + "&a=b", `{"refresh_token": "` + secret + `"}`,
		"failed to connect to `user=jit password=" + secret + " host=db`",
		"eyJhbGciOiJub25lIn0." + strings.ReplaceAll(secret, ".", "-") + ".hunter2",
		"https://" + secret + "@host/", "dial postgres://jit:a/b@" + secret + "@host/db",
	} {
		if got := jit.Said(text); strings.Contains(got, "hunter2") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for _, text := range []string{
		"Bearer authentication is required", `write for example api_key = "…" or secret = env("OPS_SECRET")`,
		"the token: renew it", "wrong password: try again", "authorization failed: access denied",
		"bearerToken of the target's credentials",
	} {
		if got := jit.Said(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestSaidSteersNoTerminal(t *testing.T) {
	got := jit.Said("a\x1b]0;title\x07 b\x1b[2J\r\n\n c\u202ed\u200be \xff\u2028" + strings.Repeat("é", 5000))
	for _, r := range got {
		if jit.Hidden(r) {
			t.Errorf("%q has %U", got, r)
		}
	}
	if n := utf8.RuneCountInString(got); n > 2001 || !strings.HasPrefix(got, `a\u{1b}]0;title\u{7} b\u{1b}[2J c\u{202e}d`) {
		t.Errorf("%d characters: %.100q", n, got)
	}
}

func TestToldKeepsWhatAnErrorIs(t *testing.T) {
	plain := jit.Errorf(jit.ErrSkew, "role", "run\nagain", "all is well")
	if got, ok := jit.Told(plain).(*jit.Error); got != plain { //nolint:errorlint // the very same error
		t.Errorf("a harmless error becomes %#v, %t", got, ok)
	}
	if got := jit.Told(nil); got != nil {
		t.Errorf("nil becomes %v", got)
	}
	cause := errors.New("the server said\nAuthorization: Bearer hunter2 \x1b[2J")
	for _, err := range []error{
		fmt.Errorf("%w: %w", jit.ErrSkew, cause),
		fmt.Errorf("wrapped: %w", jit.Errorf(errors.Join(jit.ErrSkew, cause), "role", "", "%v", cause)),
		jit.Errorf(errors.Join(jit.ErrSkew, cause), "role", "look at https://u:hunter2@host", "%v", cause),
	} {
		got := jit.Told(err)
		if text := got.Error(); strings.Contains(text, "hunter2") || strings.ContainsAny(text, "\n\x1b") ||
			!errors.Is(got, jit.ErrSkew) || !errors.Is(got, cause) {
			t.Errorf("Told(%q) = %q", err, text)
		}
	}
}
