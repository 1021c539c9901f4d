package forge_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/forge"
)

const token = "ghp_onlyForThisTest"

// gitHub requires what docs.github.com/rest/using-the-rest-api/getting-started-with-the-rest-api requires: a user agent
// (403), and a token that may see the repository (401, 404).
func gitHub(h http.Header) (int, string) {
	switch {
	case h.Get("User-Agent") == "" || strings.HasPrefix(h.Get("User-Agent"), "Go-http-client"):
		return http.StatusForbidden, "Request forbidden by administrative rules"
	case h.Get("Authorization") == "":
		return http.StatusNotFound, "Not Found"
	case h.Get("Authorization") != "Bearer "+token:
		return http.StatusUnauthorized, "Bad credentials"
	case h.Get("Accept") != "application/vnd.github+json" || h.Get("X-Github-Api-Version") != "2022-11-28":
		return http.StatusUnsupportedMediaType, "Unsupported Media Type"
	}
	return 0, ""
}

const head, older = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"

func person(login string) object { return object{"login": login, "type": "User"} }

func review(id int, by object, state, commit string) any {
	return object{"id": id, "user": by, "state": state, "commit_id": commit, "submitted_at": "2026-11-23T12:00:00Z"}
}

// pull is a pull request of alice, last pushed by carol, with these reviews.
func pull(reviews ...any) map[string]any {
	return map[string]any{
		"/repos/acme/access/pulls/12": object{
			"state": "open", "user": person("alice"),
			"head": object{"sha": head, "ref": "jit/x", "repo": object{"full_name": "acme/access"}},
		},
		"/repos/acme/access/pulls/12/reviews": reviews,
		"/repos/acme/access/activity": []any{
			object{"after": "3333", "actor": person("later"), "activity_type": "push"},
			object{"after": older, "actor": person("bob"), "activity_type": "push"},
			object{"after": head, "actor": person("carol"), "activity_type": "force_push"},
		},
	}
}

func read(t *testing.T, s *site, tok string) (*forge.Reviews, error) {
	t.Helper()
	g, err := forge.NewGitHub(s.URL, tok)
	if err != nil {
		t.Fatal(err)
	}
	return g.Reviews(t.Context(), forge.Ref{Repository: "acme/access", Number: 12})
}

func logins(r *forge.Reviews) []string {
	names := make([]string, 0, len(r.Approved))
	for _, a := range r.Approved {
		names = append(names, a.Login)
	}
	slices.Sort(names)
	return names
}

func TestGitHubReviews(t *testing.T) {
	bob, dave := person("bob"), person("dave")
	for name, c := range map[string]struct {
		reviews []any
		want    []string
		ignored string
	}{
		"none":                        {nil, []string{}, ""},
		"approved":                    {[]any{review(1, bob, "APPROVED", head)}, []string{"bob"}, ""},
		"two, over pages":             {[]any{review(1, dave, "COMMENTED", head), review(2, dave, "COMMENTED", head), review(3, dave, "APPROVED", head), review(4, bob, "APPROVED", head)}, []string{"bob", "dave"}, ""},
		"only a comment":              {[]any{review(1, bob, "COMMENTED", head)}, []string{}, ""},
		"pending":                     {[]any{review(1, bob, "PENDING", head)}, []string{}, ""},
		"approved, then a comment":    {[]any{review(1, bob, "APPROVED", head), review(2, bob, "COMMENTED", head)}, []string{"bob"}, ""},
		"approved, then changes":      {[]any{review(1, bob, "APPROVED", head), review(2, bob, "CHANGES_REQUESTED", head)}, []string{}, ""},
		"changes, then approved":      {[]any{review(1, bob, "CHANGES_REQUESTED", head), review(2, bob, "APPROVED", head)}, []string{"bob"}, ""},
		"dismissed":                   {[]any{review(1, bob, "DISMISSED", head)}, []string{}, "bob does not count: it was dismissed"},
		"on an older commit":          {[]any{review(1, bob, "APPROVED", older)}, []string{}, "older commit"},
		"by the author":               {[]any{review(1, person("Alice"), "APPROVED", head)}, []string{}, "by the author"},
		"by the last pusher":          {[]any{review(1, person("carol"), "APPROVED", head)}, []string{}, "pushed last"},
		"by a bot":                    {[]any{review(1, object{"login": "ci[bot]", "type": "Bot"}, "APPROVED", head)}, []string{}, "a bot"},
		"by an account without type":  {[]any{review(1, object{"login": "bob"}, "APPROVED", head)}, []string{}, "a bot"},
		"by an account that was here": {[]any{review(1, nil, "APPROVED", head), review(2, bob, "APPROVED", head)}, []string{"bob"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, newSite(t, gitHub, pull(c.reviews...)), token)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(logins(got), c.want) || !strings.Contains(strings.Join(got.Ignored, "\n"), c.ignored) {
				t.Errorf("approved by %q, ignored %q; want %q, %q", logins(got), got.Ignored, c.want, c.ignored)
			}
			if got.Head != head || got.Author != "alice" || got.Pusher != "carol" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestGitHubTriesAgain(t *testing.T) {
	for name, c := range map[string]struct {
		fail []http.HandlerFunc
		want string // of the error; empty for success
	}{
		"a gateway that is down for a moment": {[]http.HandlerFunc{answer(502), answer(503)}, ""},
		"a limit that ends soon":              {[]http.HandlerFunc{answer(429, "Retry-After: 1")}, ""},
		"a limit by GitHub's other status":    {[]http.HandlerFunc{answer(403, "Retry-After: 1")}, ""},
		"a limit that ends in an hour": {[]http.HandlerFunc{answer(403, "X-RateLimit-Remaining: 0",
			"X-RateLimit-Reset: "+strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))}, "too many calls"},
		"a server that stays down": {[]http.HandlerFunc{answer(500), answer(500), answer(500), answer(500)}, "answered 500"},
		"another host":             {[]http.HandlerFunc{answer(302, "Location: http://127.0.0.1:1/")}, "answered 302"},
		"no permission":            {[]http.HandlerFunc{answer(403)}, "may read pull requests"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, gitHub, pull(review(1, person("bob"), "APPROVED", head)))
			s.fail = c.fail
			got, err := read(t, s, token)
			switch {
			case c.want == "" && (err != nil || len(got.Approved) != 1):
				t.Errorf("got %+v, %v", got, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestGitHubRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(map[string]any)
		token  string
		want   string
	}{
		"a wrong token":            {func(map[string]any) {}, "ghp_wrong", "set a token"},
		"no such pull request":     {func(o map[string]any) { delete(o, "/repos/acme/access/pulls/12") }, token, "answered 404"},
		"no right to see activity": {func(o map[string]any) { delete(o, "/repos/acme/access/activity") }, token, "answered 404"},
		"a push that is not told yet": {func(o map[string]any) {
			o["/repos/acme/access/activity"] = []any{object{"after": older, "actor": person("bob")}}
		}, token, "does not say who pushed"},
		"a fork that is gone": {func(o map[string]any) {
			o["/repos/acme/access/pulls/12"].(object)["head"].(object)["repo"] = nil
		}, token, "is gone"},
		"something else": {func(o map[string]any) { o["/repos/acme/access/pulls/12"] = "hello" }, token, "not what it should be"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := pull(review(1, person("bob"), "APPROVED", head))
			c.change(objects)
			got, err := read(t, newSite(t, gitHub, objects), c.token)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "ghp_") {
				t.Errorf("got %+v, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestPagesOfAnotherHost does not carry the token to another host.
func TestPagesOfAnotherHost(t *testing.T) {
	s, other := newSite(t, gitHub, pull()), newSite(t, gitHub, nil)
	send := func(body any, header string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", header)
			_ = json.NewEncoder(w).Encode(body) // the client notices
		}
	}
	s.fail = []http.HandlerFunc{
		send(s.objects["/repos/acme/access/pulls/12"], ""), send(s.objects["/repos/acme/access/activity"], ""),
		send([]any{}, "<"+other.URL+`/x>; rel="next"`),
	}
	got, err := read(t, s, token)
	if err == nil || !strings.Contains(err.Error(), "next page is not on") || len(other.paths) > 0 {
		t.Errorf("got %+v, %v, and %d calls to the other host", got, err, len(other.paths))
	}
}

func TestNewGitHubNeedsEncryption(t *testing.T) {
	for _, url := range []string{"http://github.example.com/api/v3", "github.example.com", "ftp://x"} {
		if _, err := forge.NewGitHub(url, token); err == nil {
			t.Errorf("%q is accepted", url)
		}
	}
}

func TestParseRef(t *testing.T) {
	for _, s := range []string{"acme/access#12", "group/sub/project!7"} {
		if ref, err := forge.ParseRef(s); err != nil || strings.ReplaceAll(s, "!", "#") != ref.String() {
			t.Errorf("%q: %v, %v", s, ref, err)
		}
	}
	for _, s := range []string{"", "acme#1", "acme/access", "acme/access#0", "acme/../x#1", "acme/./x#1", "a/b#1 ", "a/b?c#1", "https://github.com/a/b/pull/1"} {
		if ref, err := forge.ParseRef(s); err == nil {
			t.Errorf("%q is accepted: %v", s, ref)
		}
	}
}
