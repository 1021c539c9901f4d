package hoop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// callTimeout limits one attempt of a request.
	callTimeout = 30 * time.Second
	// retries is how often a request is repeated if it got no answer or that of a proxy. The pauses lie between the
	// bounds.
	retries = 3
	minWait = 100 * time.Millisecond
	maxWait = 2 * time.Second
	// parallel is how many requests one Apply makes at a time.
	parallel = 8
	// maxAnswer limits how much of an answer is read, in bytes.
	maxAnswer = 64 << 20
)

// client calls the gateway's API. It is safe for concurrent use.
type client struct {
	base *url.URL
	key  string
	now  func() time.Time
	// agent is the user agent.
	agent string
	// onCall is called before each attempt of a request, with "read" or "write".
	onCall func(op string)
	// safe repeats requests that got no answer. once does not; it is for requests that are not idempotent.
	safe, once *retryablehttp.Client

	mu    sync.Mutex
	clock clock
}

// clock is what is known of the gateway's time.
type clock struct {
	// Clock is that of the latest answer with a Date.
	jit.Clock
	// ahead estimates how far the gateway's clock is ahead of ours; zero if its answers allow that.
	ahead time.Duration
	// transit is how long the last review took from here to where its time began.
	transit time.Duration
}

func newClient(base *url.URL, key string, s jit.Services) *client {
	c := &client{base: base, key: key, now: s.Now, agent: s.Agent(), onCall: func(string) {}}
	transport := cleanhttp.DefaultPooledTransport()
	transport.MaxIdleConnsPerHost = parallel
	plain := &http.Client{
		Transport: jit.GuardAnswers(transport), Timeout: callTimeout,
		// Following a redirect would send the key to wherever it leads.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client := func(retries int) *retryablehttp.Client {
		return &retryablehttp.Client{
			HTTPClient: plain, RetryMax: retries, RetryWaitMin: minWait, RetryWaitMax: maxWait,
			Backoff: retryablehttp.DefaultBackoff, CheckRetry: retry,
			ErrorHandler: retryablehttp.PassthroughErrorHandler,
			RequestLogHook: func(_ retryablehttp.Logger, r *http.Request, _ int) {
				op := "write"
				if r.Method == http.MethodGet {
					op = "read"
				}
				c.onCall(op)
			},
		}
	}
	c.safe, c.once = client(retries), client(0)
	return c
}

// fromProxies are the statuses of a proxy between us and the gateway; those from 520 are Cloudflare's. The request may
// have passed it.
var fromProxies = []int{
	http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	520, 521, 522, 523, 524,
}

// retry reports whether to repeat a request. The gateway's own 500 is final: it means that something exists, or does
// not.
func retry(ctx context.Context, answer *http.Response, err error) (bool, error) {
	if ctx.Err() != nil || err != nil {
		return retryablehttp.DefaultRetryPolicy(ctx, answer, err)
	}
	return answer.StatusCode == http.StatusTooManyRequests || slices.Contains(fromProxies, answer.StatusCode), nil
}

// call makes one request and reads the JSON of the answer into out, unless out is nil. The elements of path are
// appended to /api, escaped. A status other than 2xx is a *statusError. doing names the request in errors.
func (c *client) call(ctx context.Context, doing, method string, path []string, query url.Values, in, out any) error {
	r, err := c.request(ctx, method, path, query, in)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	text, err := c.send(r)
	if err != nil {
		return c.explain(ctx, doing, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		told := problem("check url: it is the address that `hoop login` uses, without a path of the web application",
			"cannot %s: the answer of %s is not that of a hoop gateway", doing, c.base.Host)
		told.Err = err
		return told
	}
	return nil
}

// find makes one GET request. It returns nil if there is no such thing.
func find[T any](ctx context.Context, c *client, doing string, path ...string) (*T, error) {
	found := new(T)
	err := c.call(ctx, doing, http.MethodGet, path, nil, nil, found)
	if answered(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// request builds a request, with in as JSON unless it is nil.
func (c *client) request(
	ctx context.Context, method string, path []string, query url.Values, in any,
) (*retryablehttp.Request, error) {
	escaped := make([]string, len(path))
	for i, element := range path {
		escaped[i] = url.PathEscape(element)
	}
	address := c.base.JoinPath(escaped...)
	address.RawQuery = query.Encode()
	if in == nil {
		return retryablehttp.NewRequestWithContext(ctx, method, address.String(), nil)
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	r, err := retryablehttp.NewRequestWithContext(ctx, method, address.String(), text)
	if err == nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, err
}

// send signs and sends a request, and returns the body of the answer.
func (c *client) send(r *retryablehttp.Request) ([]byte, error) {
	c.sign(r.Header)
	doer := c.safe
	if r.Method == http.MethodPost {
		doer = c.once
	}
	sent := c.now()
	answer, err := doer.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	c.tick(answer.Header, sent)
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode/100 != 2 {
		err = newStatusError(answer, text)
	}
	return text, err
}

// disconnect closes the connections that are not in use.
func (c *client) disconnect() { c.safe.HTTPClient.CloseIdleConnections() }

// sign adds the key. A current key is a bearer token; an older one has a header of its own.
func (c *client) sign(h http.Header) {
	h.Set("User-Agent", c.agent)
	if strings.HasPrefix(c.key, "xapi-") || strings.Contains(c.key, "|") {
		h.Set("Api-Key", c.key)
		return
	}
	h.Set("Authorization", "Bearer "+c.key)
}

// tick notes the time, in whole seconds, in the answer to a request sent at a time.
func (c *client) tick(answer http.Header, sent time.Time) {
	read := jit.ReadClock(answer, c.now())
	if read.Remote.IsZero() {
		return
	}
	c.mu.Lock()
	c.clock.Clock = read
	c.mu.Unlock()
	c.narrow(read.Remote.Sub(read.Local), read.Remote.Add(time.Second).Sub(sent))
}

// narrow brings the estimate of how far the gateway's clock is ahead between two bounds.
func (c *client) narrow(least, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.ahead = min(max(c.clock.ahead, least), most)
}

// lastClock returns what the answers so far say of the gateway's time.
func (c *client) lastClock() clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

// gatewayNow estimates the gateway's time.
func (c *client) gatewayNow() time.Time { return c.now().Add(c.lastClock().ahead) }

// arrival estimates the gateway's time when a request that is sent now arrives.
func (c *client) arrival() time.Time { return c.gatewayNow().Add(c.lastClock().transit) }

// arrived notes when, in the gateway's time, a request sent at a time was carried out.
func (c *client) arrived(sent, created time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.transit = max(0, created.Sub(sent)-c.clock.ahead)
}

// skew returns an error if the gateway's clock is known to disagree with ours.
func (c *client) skew() error { return c.lastClock().Skew() }

// each calls do for 0 to n-1, at most [parallel] at a time, and returns when all calls have.
func each(n int, do func(i int)) {
	var calls errgroup.Group
	calls.SetLimit(parallel)
	for i := range n {
		calls.Go(func() error { do(i); return nil })
	}
	_ = calls.Wait() // do keeps its own error
}
