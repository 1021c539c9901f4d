package forge_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/forge"
	"github.com/jitaccess/terraform-provider-jit/internal/forge/forgetest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	token       = forgetest.Token
	head, older = forgetest.Head, forgetest.Older
)

var person = forgetest.Person

// review was given an hour after the push.
func review(id int, by forgetest.Object, state, commit string) any {
	return forgetest.Review(id, by, state, commit, forgetest.Pushed.Add(time.Hour))
}

func read(t *testing.T, s *forgetest.Site, tok string) (*forge.Reviews, error) {
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
		"by a bot":                    {[]any{review(1, forgetest.Object{"login": "ci[bot]", "type": "Bot"}, "APPROVED", head)}, []string{}, "a bot"},
		"by an account without type":  {[]any{review(1, forgetest.Object{"login": "bob"}, "APPROVED", head)}, []string{}, "a bot"},
		"by an account that was here": {[]any{review(1, nil, "APPROVED", head), review(2, bob, "APPROVED", head)}, []string{"bob"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, forgetest.NewGitHub(t, c.reviews...), token)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(logins(got), c.want) || !strings.Contains(strings.Join(got.Ignored, "\n"), c.ignored) {
				t.Errorf("approved by %q, ignored %q; want %q, %q", logins(got), got.Ignored, c.want, c.ignored)
			}
			if got.Head != head || got.Author != "alice" || got.Pusher != "carol" || !strings.HasPrefix(got.Host, "127.0.0.1:") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A closed pull request approves nothing, and a merged one what was approved before the merge.
func TestSettled(t *testing.T) {
	merged := forgetest.Pushed.Add(2 * time.Hour)
	for name, c := range map[string]struct {
		merged, reviewed time.Time
		want             int
		ignored          string
	}{
		"closed":                  {time.Time{}, merged, -1, ""},
		"merged after the review": {merged, merged.Add(-time.Second), 1, ""},
		"merged by the review":    {merged, merged, 1, ""},
		"merged before":           {merged, merged.Add(time.Second), 0, "given after the merge"},
	} {
		t.Run(name, func(t *testing.T) {
			gitHub := forgetest.NewGitHub(t, forgetest.Review(1, person("bob"), "APPROVED", head, c.reviewed))
			gitLab := forgetest.NewGitLab(t, forgetest.ApprovedBy(7, "bob", c.reviewed))
			for _, site := range []*forgetest.Site{gitHub, gitLab} {
				site.Settle(c.merged)
			}
			for _, read := range []func() (*forge.Reviews, error){
				func() (*forge.Reviews, error) { return read(t, gitHub, token) },
				func() (*forge.Reviews, error) { return readGitLab(t, gitLab) },
			} {
				got, err := read()
				if c.want < 0 {
					if !errors.Is(err, jit.ErrDenied) || !strings.Contains(err.Error(), "neither open nor merged") {
						t.Errorf("got %+v, %v", got, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Approved) != c.want || !strings.Contains(strings.Join(got.Ignored, ""), c.ignored) {
					t.Errorf("got %+v, want %d, %q", got, c.want, c.ignored)
				}
				if !got.Cover(head) || !got.Cover(forgetest.Merged) || got.Cover(older) || got.Cover("") {
					t.Errorf("%+v covers other commits", got)
				}
			}
		})
	}
}

// The merge that GitHub tries while a pull request is open is nothing that somebody reviewed.
func TestMergeOnTrial(t *testing.T) {
	s := forgetest.NewGitHub(t)
	trial := s.Objects[forgetest.GitHubPull].(forgetest.Object)["merge_commit_sha"].(string)
	if got, err := read(t, s, token); err != nil || !got.Cover(head) || got.Cover(trial) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A state that no page describes is not taken for open.
func TestUnknownState(t *testing.T) {
	for _, state := range []any{"locked", "", nil, "Open"} {
		gitHub, gitLab := forgetest.NewGitHub(t), forgetest.NewGitLab(t)
		gitHub.Objects[forgetest.GitHubPull].(forgetest.Object)["state"] = state
		gitLab.Objects[forgetest.GitLabMerge].(forgetest.Object)["state"] = state
		if got, err := read(t, gitHub, token); err == nil {
			t.Errorf("GitHub, %v: %+v", state, got)
		}
		if got, err := readGitLab(t, gitLab); err == nil {
			t.Errorf("GitLab, %v: %+v", state, got)
		}
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
			s := forgetest.NewGitHub(t, review(1, person("bob"), "APPROVED", head))
			s.Fail = c.fail
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
		"no such pull request":     {func(o map[string]any) { delete(o, forgetest.GitHubPull) }, token, "answered 404"},
		"no right to see activity": {func(o map[string]any) { delete(o, "/repos/acme/access/activity") }, token, "answered 404"},
		"a push that is not told yet": {func(o map[string]any) {
			o["/repos/acme/access/activity"] = []any{forgetest.Object{"after": older, "actor": person("bob")}}
		}, token, "does not say who pushed"},
		"a fork that is gone": {func(o map[string]any) {
			o[forgetest.GitHubPull].(forgetest.Object)["head"].(forgetest.Object)["repo"] = nil
		}, token, "is gone"},
		"something else": {func(o map[string]any) { o[forgetest.GitHubPull] = "hello" }, token, "not what it should be"},
	} {
		t.Run(name, func(t *testing.T) {
			s := forgetest.NewGitHub(t, review(1, person("bob"), "APPROVED", head))
			c.change(s.Objects)
			got, err := read(t, s, c.token)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "ghp_") {
				t.Errorf("got %+v, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestPagesOfAnotherHost does not carry the token to another host.
func TestPagesOfAnotherHost(t *testing.T) {
	s, other := forgetest.NewGitHub(t), forgetest.NewGitHub(t)
	send := func(body any, header string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", header)
			_ = json.NewEncoder(w).Encode(body) // the client notices
		}
	}
	s.Fail = []http.HandlerFunc{
		send(s.Objects[forgetest.GitHubPull], ""), send(s.Objects["/repos/acme/access/activity"], ""),
		send([]any{}, "<"+other.URL+`/x>; rel="next"`),
	}
	got, err := read(t, s, token)
	if err == nil || !strings.Contains(err.Error(), "next page is not on") || len(other.Paths) > 0 {
		t.Errorf("got %+v, %v, and %d calls to the other host", got, err, len(other.Paths))
	}
}

// answer returns a handler that refuses with these headers.
func answer(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
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
