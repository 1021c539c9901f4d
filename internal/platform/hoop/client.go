package hoop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// callTimeout bounds one attempt of a request.
	callTimeout = 30 * time.Second
	// retries is how often a request is repeated that got no answer, or that of a proxy; waits lie between the bounds.
	retries = 3
	minWait = 100 * time.Millisecond
	maxWait = 2 * time.Second
	// parallel is how many requests one Apply makes at a time.
	parallel = 8
	// maxAnswer bounds what is read of one answer, in bytes.
	maxAnswer = 64 << 20
)

// client calls the gateway's API. It is safe for concurrent use.
type client struct {
	base *url.URL
	key  string
	now  func() time.Time
	// onCall is told of each attempt: "read" or "write".
	onCall func(op string)
	// safe repeats requests that got no answer; once does not, for what is not idempotent.
	safe, once *retryablehttp.Client

	mu    sync.Mutex
	clock clock
}

// clock is what is known of the gateway's time.
type clock struct {
	// Clock is that of the latest answer with a Date.
	jit.Clock
	// ahead estimates how far the gateway's clock is ahead of ours: nothing, as far as its answers allow that.
	ahead time.Duration
	// transit is how long the last review took from here to where its time began.
	transit time.Duration
}

func newClient(base *url.URL, key string, now func() time.Time) *client {
	c := &client{base: base, key: key, now: now, onCall: func(string) {}}
	transport := cleanhttp.DefaultPooledTransport()
	transport.MaxIdleConnsPerHost = parallel
	plain := &http.Client{
		Transport: transport, Timeout: callTimeout,
		// A redirect would carry the key to wherever it leads.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client := func(again int) *retryablehttp.Client {
		r := retryablehttp.NewClient()
		r.HTTPClient, r.Logger = plain, nil
		r.RetryMax, r.RetryWaitMin, r.RetryWaitMax = again, minWait, maxWait
		r.CheckRetry, r.ErrorHandler = retry, retryablehttp.PassthroughErrorHandler
		r.RequestLogHook = func(_ retryablehttp.Logger, r *http.Request, _ int) {
			op := "write"
			if r.Method == http.MethodGet {
				op = "read"
			}
			c.onCall(op)
		}
		return r
	}
	c.safe, c.once = client(retries), client(0)
	return c
}

// retry repeats what got no answer or one that is not the gateway's. Its own 500 is final: it is how it says that
// something exists, or does not.
func retry(ctx context.Context, answer *http.Response, err error) (bool, error) {
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return retryablehttp.DefaultRetryPolicy(ctx, answer, err)
	}
	return answer.StatusCode == http.StatusTooManyRequests || passing(answer.StatusCode), nil
}

// passing reports whether a status is one of something between us and the gateway.
func passing(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// call makes one request and reads the JSON of its answer into out, unless that is nil. path are the elements below
// /api; each is escaped. A status that is not 2xx is a *statusError. Whatever goes wrong is told as an error of doing.
func (c *client) call(ctx context.Context, doing, method string, path []string, query url.Values, in, out any) error {
	escaped := make([]string, len(path))
	for i, element := range path {
		escaped[i] = url.PathEscape(element)
	}
	address := c.base.JoinPath(escaped...)
	address.RawQuery = query.Encode()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		body = bytes.NewReader(text)
	}
	r, err := retryablehttp.NewRequestWithContext(ctx, method, address.String(), body)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	c.sign(r.Header)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	doer := c.safe
	if method == http.MethodPost {
		doer = c.once
	}
	sent := c.now()
	answer, err := doer.Do(r)
	if err != nil {
		return c.explain(ctx, doing, err)
	}
	defer func() { _ = answer.Body.Close() }() // what was read is what counts
	c.tick(answer.Header, sent)
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return c.explain(ctx, doing, err)
	}
	if answer.StatusCode/100 != 2 {
		return c.explain(ctx, doing, newStatusError(answer, text))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: the answer of %s is not that of a hoop gateway", doing, c.base.Host),
			Hint: "check url: it is where `hoop login` leads, without a path of the web application", Err: err}
	}
	return nil
}

// disconnect drops the connections that are not in use.
func (c *client) disconnect() { c.safe.HTTPClient.CloseIdleConnections() }

// sign adds the key: a key of today is a bearer token, one of before has a header of its own.
func (c *client) sign(h http.Header) {
	h.Set("User-Agent", "terraform-provider-jit")
	if strings.HasPrefix(c.key, "xapi-") || strings.Contains(c.key, "|") {
		h.Set("Api-Key", c.key)
		return
	}
	h.Set("Authorization", "Bearer "+c.key)
}

// tick keeps the time, in whole seconds, that the answer to a request of sent gives.
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

// narrow brings the estimate of the clock between two bounds.
func (c *client) narrow(least, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.ahead = min(max(c.clock.ahead, least), most)
}

// lastClock returns what the answers so far tell of the gateway's time.
func (c *client) lastClock() clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

// gatewayNow is the gateway's time, as far as it is known.
func (c *client) gatewayNow() time.Time { return c.now().Add(c.lastClock().ahead) }

// arrival is the gateway's time when a request gets there that is sent now.
func (c *client) arrival() time.Time { return c.gatewayNow().Add(c.lastClock().transit) }

// arrived notes when a request of sent was carried out, in the gateway's time.
func (c *client) arrived(sent, created time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.transit = max(0, created.Sub(sent)-c.clock.ahead)
}

// skew is an error if the gateway's clock is known to disagree with ours.
func (c *client) skew() error { return c.lastClock().Skew() }
