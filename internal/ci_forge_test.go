package internal_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

type object = map[string]any

// ciForge is the REST API of GitHub, and of GitLab, for one repository. It refuses what they refuse: unknown tokens,
// calls that a token's permissions do not allow, other content types, and comments over 65,536 characters. It pages
// its lists by two.
type ciForge struct {
	*httptest.Server
	t testing.TB

	mu sync.Mutex
	// tokens holds the permissions of each token, such as "pull-requests": "write".
	tokens map[string]map[string]string
	// login is who comments with a token.
	login string
	// comments are those of all pull requests, in the order of their creation.
	comments []object
	pulls    []object
	reviews  []any
	runs     []object
	// ref returns the commit of a branch.
	ref func(branch string) string
	// artifacts are the folders of artifacts by run.
	artifacts map[int]string
	refused   []string
}

func newCIForge(t testing.TB) *ciForge {
	f := &ciForge{t: t, tokens: map[string]map[string]string{}, login: "github-actions[bot]", artifacts: map[int]string{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// call is one request to the API.
type call struct {
	f       *ciForge
	w       http.ResponseWriter
	r       *http.Request
	path    string
	matched []string
	body    string
}

// ServeHTTP answers a call.
func (f *ciForge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &call{f: f, w: w, r: r, path: r.URL.EscapedPath()}
	routes := gitHubRoutes
	if r.Header.Get("Private-Token") != "" {
		routes = gitLabRoutes
	}
	for _, route := range routes {
		method, form, _ := strings.Cut(route.at, " ")
		c.matched = regexp.MustCompile("^" + form + "$").FindStringSubmatch(c.path)
		if c.matched == nil || method != r.Method {
			continue
		}
		if status, why := c.allowed(route.needs); status != 0 {
			c.refuse(status, why)
			return
		}
		route.answer(c)
		return
	}
	c.refuse(http.StatusNotFound, "Not Found")
}

// refuse answers with an error, which the test reads too.
func (c *call) refuse(status int, why string) {
	c.f.refused = append(c.f.refused, fmt.Sprintf("%s %s: %d %s", c.r.Method, c.path, status, why))
	c.answer(status, object{"message": why})
}

func (c *call) answer(status int, value any) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(value) // the client notices
}

// allowed checks the headers, the token's permission and the body.
func (c *call) allowed(needs string) (status int, why string) {
	h, form := c.r.Header, "application/x-www-form-urlencoded"
	token := h.Get("Private-Token")
	if token == "" {
		token, form = strings.TrimPrefix(h.Get("Authorization"), "Bearer "), "application/json"
		if h.Get("Accept") != "application/vnd.github+json" || h.Get("X-Github-Api-Version") != "2022-11-28" {
			return http.StatusUnsupportedMediaType, "Unsupported Media Type"
		}
	}
	permissions, known := c.f.tokens[token]
	if !known {
		return http.StatusUnauthorized, "Bad credentials"
	}
	resource, level, _ := strings.Cut(needs, ":")
	if have := permissions[resource]; resource != "" && have != level && have != "write" {
		return http.StatusForbidden, "Resource not accessible by integration"
	}
	if c.r.Method == http.MethodGet {
		return 0, ""
	}
	if h.Get("Content-Type") != form {
		return http.StatusUnsupportedMediaType, "content type " + h.Get("Content-Type")
	}
	text, err := io.ReadAll(c.r.Body)
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	c.body = string(text)
	return 0, ""
}

// fields reads the body.
func (c *call) fields() object {
	fields := object{}
	if c.r.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal([]byte(c.body), &fields); err != nil {
			c.f.t.Errorf("%s: %v", c.path, err)
		}
		return fields
	}
	values, err := url.ParseQuery(c.body)
	if err != nil {
		c.f.t.Errorf("%s: %v", c.path, err)
	}
	for name := range values {
		fields[name] = values.Get(name)
	}
	return fields
}

// page answers with two elements of a list, whatever per_page asks for.
func page[T any](c *call, list []T) {
	const size = 2
	n, _ := strconv.Atoi(c.r.URL.Query().Get("page"))
	n = max(n, 1)
	from, to := min((n-1)*size, len(list)), min(n*size, len(list))
	if to < len(list) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(n+1))
		c.w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, c.f.URL, c.path, q.Encode()))
	}
	c.answer(http.StatusOK, append([]T{}, list[from:to]...))
}

// comment adds a comment, or changes one.
func (c *call) comment(old object) {
	body, _ := c.fields()["body"].(string)
	if n := utf8.RuneCountInString(body); n == 0 || n > 65536 {
		c.refuse(http.StatusUnprocessableEntity, fmt.Sprintf("body has %d characters", n))
		return
	}
	if old != nil {
		old["body"] = body
		c.answer(http.StatusOK, old)
		return
	}
	c.answer(http.StatusCreated, c.f.addComment(c.f.login, c.matched[1], body))
}

func (f *ciForge) addComment(login, pull, body string) object {
	n := object{"id": 1000 + len(f.comments), "body": body, "pull": pull, "user": object{"login": login},
		"author": object{"id": len(login), "username": login}}
	f.comments = append(f.comments, n)
	return n
}

// find returns the object of a list whose field has the text.
func find(list []object, field, text string) object {
	for _, o := range list {
		if fmt.Sprint(o[field]) == text {
			return o
		}
	}
	return nil
}

func (c *call) ofPull() []object {
	var list []object
	for _, o := range c.f.comments {
		if o["pull"] == c.matched[1] {
			list = append(list, o)
		}
	}
	return list
}

// open adds a pull request to the jit/prune branch.
func (c *call) open(branch string) {
	fields := c.fields()
	if c.f.ref(fmt.Sprint(fields[branch])) == "" || fields["title"] == "" {
		c.refuse(http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	fields["state"] = "open"
	c.f.pulls = append(c.f.pulls, fields)
	c.answer(http.StatusCreated, fields)
}

// ofBranch are the open pull requests of a branch.
func (c *call) ofBranch(field, branch string) []object {
	return slices.DeleteFunc(slices.Clone(c.f.pulls), func(o object) bool {
		return o[field] != branch || o["state"] != "open"
	})
}

// mergedAs are the pull requests whose merge is a commit.
func (c *call) mergedAs(commit string) []object {
	return slices.DeleteFunc(slices.Clone(c.f.pulls), func(o object) bool { return o["merge_commit_sha"] != commit })
}

// route is an endpoint: method and path, the permission that it needs, and its answer.
type route struct {
	at, needs string
	answer    func(c *call)
}

const gitHubRepository, gitLabProject = "/repos/acme/access", "/projects/(?:7|acme%2Faccess)"

// gitHubRoutes are those of docs.github.com/rest; the permissions are those that each page names.
var gitHubRoutes = []route{
	{"GET " + gitHubRepository + "/issues/(\\d+)/comments", "pull-requests:read", func(c *call) { page(c, c.ofPull()) }},
	{"POST " + gitHubRepository + "/issues/(\\d+)/comments", "pull-requests:write", func(c *call) { c.comment(nil) }},
	{"PATCH " + gitHubRepository + "/issues/comments/(\\d+)", "pull-requests:write", func(c *call) {
		c.comment(find(c.f.comments, "id", c.matched[1]))
	}},
	{"GET " + gitHubRepository + "/git/ref/heads/(.*)", "contents:read", func(c *call) {
		c.answer(http.StatusOK, object{"object": object{"sha": c.f.ref(c.matched[1])}})
	}},
	{"GET " + gitHubRepository + "/commits/(\\w+)/pulls", "pull-requests:read", func(c *call) {
		page(c, c.mergedAs(c.matched[1]))
	}},
	{"GET " + gitHubRepository + "/actions/workflows/access.yml/runs", "actions:read", func(c *call) {
		q := c.r.URL.Query()
		c.answer(http.StatusOK, object{"workflow_runs": slices.DeleteFunc(slices.Clone(c.f.runs), func(o object) bool {
			return o["head_sha"] != q.Get("head_sha") || o["event"] != q.Get("event") || o["status"] != q.Get("status")
		})})
	}},
	{"GET " + gitHubRepository + "/pulls", "pull-requests:read", func(c *call) {
		page(c, c.ofBranch("head", strings.TrimPrefix(c.r.URL.Query().Get("head"), "acme:")))
	}},
	{"POST " + gitHubRepository + "/pulls", "pull-requests:write", func(c *call) { c.open("head") }},
	// What jit approve --github reads.
	{"GET " + gitHubRepository + "/pulls/(\\d+)", "pull-requests:read", func(c *call) {
		c.answer(http.StatusOK, find(c.f.pulls, "number", c.matched[1]))
	}},
	{"GET " + gitHubRepository + "/pulls/(\\d+)/reviews", "pull-requests:read", func(c *call) { page(c, c.f.reviews) }},
	{"GET " + gitHubRepository + "/activity", "contents:read", func(c *call) {
		var list []object
		for _, p := range c.f.pulls {
			if head, ok := p["head"].(object); ok {
				list = append(list, object{"after": head["sha"], "actor": object{"login": "alice-gh", "type": "User"}})
			}
		}
		page(c, list)
	}},
}

// gitLabRoutes are those of docs.gitlab.com/api/rest.
var gitLabRoutes = []route{
	{"GET /user", "", func(c *call) { c.answer(http.StatusOK, object{"id": len(c.f.login), "username": c.f.login}) }},
	{"GET " + gitLabProject + "/merge_requests/(\\d+)/notes", "notes:read", func(c *call) { page(c, c.ofPull()) }},
	{"POST " + gitLabProject + "/merge_requests/(\\d+)/notes", "notes:write", func(c *call) { c.comment(nil) }},
	{"PUT " + gitLabProject + "/merge_requests/\\d+/notes/(\\d+)", "notes:write", func(c *call) {
		c.comment(find(c.f.comments, "id", c.matched[1]))
	}},
	{"GET " + gitLabProject + "/repository/branches/(.*)", "read_api:read", func(c *call) {
		c.answer(http.StatusOK, object{"commit": object{"id": c.f.ref(c.matched[1])}})
	}},
	{"GET " + gitLabProject + "/repository/commits/(\\w+)/merge_requests", "read_api:read", func(c *call) {
		page(c, c.mergedAs(c.matched[1]))
	}},
	{"GET " + gitLabProject + "/merge_requests/(\\d+)", "read_api:read", func(c *call) {
		c.answer(http.StatusOK, find(c.f.pulls, "iid", c.matched[1]))
	}},
	{"GET " + gitLabProject + "/pipelines/(\\d+)/jobs", "read_api:read", func(c *call) {
		n, _ := strconv.Atoi(c.matched[1])
		c.answer(http.StatusOK, []object{{"id": n + 1, "name": "comment"}, {"id": n, "name": "plan"}})
	}},
	{"GET " + gitLabProject + "/jobs/(\\d+)/artifacts/(.*)", "read_api:read", func(c *call) {
		n, _ := strconv.Atoi(c.matched[1])
		text, err := os.ReadFile(filepath.Join(c.f.artifacts[n], filepath.FromSlash(c.matched[2])))
		if err != nil {
			c.refuse(http.StatusNotFound, "404 Not Found")
			return
		}
		_, _ = c.w.Write(text) // the client notices
	}},
	{"GET " + gitLabProject + "/merge_requests", "api:read", func(c *call) {
		page(c, c.ofBranch("source_branch", c.r.URL.Query().Get("source_branch")))
	}},
	{"POST " + gitLabProject + "/merge_requests", "api:write", func(c *call) { c.open("source_branch") }},
	// What jit approve --gitlab reads.
	{"GET " + gitLabProject + "/merge_requests/(\\d+)/versions", "read_api:read", func(c *call) {
		page(c, []object{{"head_commit_sha": find(c.f.pulls, "iid", c.matched[1])["sha"],
			"created_at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}})
	}},
	{"GET " + gitLabProject + "/merge_requests/(\\d+)/approvals", "read_api:read", func(c *call) {
		c.answer(http.StatusOK, object{"approved_by": c.f.reviews})
	}},
	{"GET " + gitLabProject + "/events", "read_api:read", func(c *call) {
		p := c.f.pulls[0]
		page(c, []object{{"author_username": "alice-gl",
			"push_data": object{"commit_to": p["sha"], "ref": p["source_branch"]}}})
	}},
	{"GET /users/(\\d+)", "read_api:read", func(c *call) { c.answer(http.StatusOK, object{"bot": false}) }},
}

// ours returns the comments of the pipeline.
func (f *ciForge) ours() (bodies []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.comments {
		if user, _ := c["user"].(object); user["login"] == f.login {
			bodies = append(bodies, c["body"].(string))
		}
	}
	return bodies
}

// approve is bob's approval of a commit on GitHub, a minute ago.
func (f *ciForge) approve(commit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reviews = []any{object{"id": 1, "user": object{"login": "bob-gh", "type": "User"}, "state": "APPROVED",
		"commit_id": commit, "submitted_at": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)}}
}

// merged closes a pull request by a merge.
func (f *ciForge) merged(number int, commit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pull := find(f.pulls, "number", strconv.Itoa(number))
	pull["state"], pull["merged_at"], pull["merge_commit_sha"] = "closed", time.Now().UTC().Format(time.RFC3339), commit
	if pull["iid"] != nil {
		pull["state"] = "merged"
	}
}
