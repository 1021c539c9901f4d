// Package forge reads from GitHub and GitLab who approved a pull request, so that a review can be evidence of an
// approval. The pull request must be open or merged. Only reviews of its head commit count, given before the merge, and
// none by its author, by the last pusher, or by a bot.
package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Ref names a pull request, or a merge request of GitLab.
type Ref struct {
	// Repository is OWNER/REPO; on GitLab the path of the project, which may have more parts.
	Repository string
	Number     int
}

var refForm = regexp.MustCompile(`^([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+)[#!]([1-9][0-9]{0,9})$`)

// ParseRef reads OWNER/REPO#N; GitLab's GROUP/PROJECT!N too.
func ParseRef(s string) (Ref, error) {
	m := refForm.FindStringSubmatch(s)
	if m == nil || strings.Contains("/"+m[1]+"/", "/../") || strings.Contains("/"+m[1]+"/", "/./") {
		return Ref{}, jit.Invalid(
			"",
			"write OWNER/REPO#N, for example acme/access#12",
			"%q does not name a pull request",
			s,
		)
	}
	n, err := strconv.Atoi(m[2])
	return Ref{m[1], n}, err
}

// String writes the reference as [ParseRef] reads it.
func (r Ref) String() string { return fmt.Sprintf("%s#%d", r.Repository, r.Number) }

// Review is an approval that counts.
type Review struct {
	// Login is the reviewer's login name, ID the review's identifier.
	Login, ID string
	// Commit is the head commit of the pull request, which the review is of.
	Commit string
	At     time.Time
}

// Reviews is what a forge says about a pull request.
type Reviews struct {
	// Host is the forge, such as github.com.
	Host string
	// Head is the head commit; Author opened the pull request and Pusher pushed that commit.
	Head, Author, Pusher string
	// MergedAt is zero while the pull request is open. Merged are the commits that the merge made of Head.
	MergedAt time.Time
	Merged   []string
	Approved []Review
	// Ignored says which approvals do not count, and why.
	Ignored []string
}

// Cover reports whether the reviews are about a commit: the head, or what the merge made of it.
func (r *Reviews) Cover(commit string) bool {
	return commit != "" && (commit == r.Head || slices.Contains(r.Merged, commit))
}

// settle takes in whether the pull request is open or merged. It refuses any other.
func (r *Reviews) settle(ref Ref, open, merged bool, at *time.Time, commits ...string) error {
	switch {
	case open:
		return nil
	case merged && at != nil:
		r.MergedAt, r.Merged = *at, commits
		return nil
	}
	return jit.Errorf(jit.ErrDenied, "", "reopen it and have it reviewed, or approve by a signature",
		"%s is neither open nor merged, so its reviews approve nothing", ref)
}

func (r *Reviews) ignore(login, why string) {
	r.Ignored = append(r.Ignored, fmt.Sprintf("the approval of %s does not count: %s", login, why))
}

// count adds an approval unless the reviewer is one whose approval never counts.
func (r *Reviews) count(review Review, bot bool) {
	switch {
	case bot:
		r.ignore(review.Login, "it is a bot")
	case strings.EqualFold(review.Login, r.Author):
		r.ignore(review.Login, "it is by the author of the pull request")
	case strings.EqualFold(review.Login, r.Pusher):
		r.ignore(review.Login, "its author pushed last")
	case review.Commit != r.Head:
		r.ignore(review.Login, "it is of an older commit, "+jit.Printable(review.Commit))
	case !r.MergedAt.IsZero() && review.At.After(r.MergedAt):
		r.ignore(review.Login, "it was given after the merge")
	default:
		r.Approved = append(r.Approved, review)
	}
}

// client calls one forge. It follows no redirect, so that the token reaches no other host.
type client struct {
	base   *url.URL
	header http.Header
	http   *retryablehttp.Client
	// reset is the header with the second at which a spent limit is renewed.
	reset string
}

const (
	// attempts is how often a call is made before its error counts; maxWait is the longest wait between two of them.
	attempts, maxWait = 4, time.Minute
	// maxAnswer bounds an answer, in bytes, and maxPages the length of a list.
	maxAnswer, maxPages = 16 << 20, 100
)

func newClient(base, reset string, header http.Header) (*client, error) {
	u, err := jit.CheckURL("url", "write for example https://github.example.com/api/v3", base)
	if err != nil {
		return nil, err
	}
	header.Set("User-Agent", "terraform-provider-jit")
	c := &client{base: u, header: header, reset: reset}
	r := retryablehttp.NewClient()
	r.HTTPClient = cleanhttp.DefaultPooledClient()
	r.HTTPClient.Transport = jit.GuardAnswers(r.HTTPClient.Transport)
	r.HTTPClient.Timeout = 30 * time.Second
	r.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.Logger, r.RetryMax, r.ErrorHandler = nil, attempts-1, retryablehttp.PassthroughErrorHandler
	r.CheckRetry, r.Backoff = c.again, c.wait
	c.http = r
	return c, nil
}

// limited reports whether an answer says that there were too many calls. GitHub says so with 403 too.
func (c *client) limited(answer *http.Response) bool {
	return answer.StatusCode == http.StatusTooManyRequests ||
		answer.StatusCode == http.StatusForbidden &&
			(answer.Header.Get("Retry-After") != "" || answer.Header.Get("X-Ratelimit-Remaining") == "0")
}

func (c *client) again(ctx context.Context, answer *http.Response, err error) (bool, error) {
	if ctx.Err() == nil && err == nil && c.limited(answer) {
		return c.wait(0, 0, 0, answer) <= maxWait, nil
	}
	return retryablehttp.DefaultRetryPolicy(ctx, answer, err)
}

func (c *client) wait(_, _ time.Duration, n int, answer *http.Response) time.Duration {
	if answer != nil && c.limited(answer) {
		if s, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
			return time.Duration(s) * time.Second
		}
		if at, err := strconv.ParseInt(answer.Header.Get(c.reset), 10, 64); err == nil {
			return max(time.Second, time.Until(time.Unix(at, 0)))
		}
	}
	return retryablehttp.DefaultBackoff(500*time.Millisecond, 10*time.Second, n, answer)
}

// get reads one object.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	_, err := c.page(ctx, c.base.JoinPath(path), query, into)
	return err
}

// list reads all pages of a list. each gets a page and says whether it needs more.
func (c *client) list(ctx context.Context, path string, query url.Values, page func() (any, func() bool)) error {
	u := c.base.JoinPath(path)
	for range maxPages {
		into, more := page()
		next, err := c.page(ctx, u, query, into)
		if err != nil || !more() || next == nil {
			return err
		}
		u, query = next, nil
	}
	return fmt.Errorf("%s has more than %d pages", path, maxPages)
}

// page reads a page into a value, and returns the address of the next one; nil after the last.
func (c *client) page(ctx context.Context, u *url.URL, query url.Values, into any) (*url.URL, error) {
	if query != nil {
		u.RawQuery = query.Encode()
	}
	r, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header = c.header.Clone()
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Path, withoutURL(err))
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", u.Path, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%s: the answer is longer than %d bytes", u.Path, maxAnswer)
	case answer.StatusCode != http.StatusOK:
		return nil, c.refusal(u, answer, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("%s: the answer is not what it should be: %w", u.Path, err)
	}
	return c.next(answer)
}

// withoutURL removes the method and the address from an error of net/http.
func withoutURL(err error) error {
	if inner := (&url.Error{}); errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// refusal explains an answer that is no result.
func (c *client) refusal(u *url.URL, answer *http.Response, body []byte) error {
	var said struct{ Message, Error string }
	_ = json.Unmarshal(body, &said) // an answer without a message has none
	hint := ""
	switch {
	case c.limited(answer):
		hint = "too many calls; try again later"
	case answer.StatusCode == http.StatusUnauthorized:
		hint = "set a token that is valid"
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusNotFound:
		hint = "check the name, and that the token may read pull requests and the repository"
	}
	return &jit.Error{
		Problem: fmt.Sprintf("%s answered %d to %s: %s", u.Host, answer.StatusCode, u.Path, jit.Said(said.Message+said.Error)),
		Hint:    hint,
	}
}

var nextLink = regexp.MustCompile(`<([^>]*)>;\s*rel="next"`)

// next returns the address of the next page (RFC 8288), which must be on the same host.
func (c *client) next(answer *http.Response) (*url.URL, error) {
	m := nextLink.FindStringSubmatch(strings.Join(answer.Header.Values("Link"), ","))
	if m == nil {
		return nil, nil
	}
	u, err := url.Parse(m[1])
	if err != nil || u.Scheme != c.base.Scheme || u.Host != c.base.Host {
		return nil, fmt.Errorf("the next page is not on %s", c.base.Host)
	}
	return u, nil
}
