package notice

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// answerTimeout bounds one request, deliveryTimeout one delivery: a request and its quick repeats.
	answerTimeout   = 15 * time.Second
	deliveryTimeout = time.Minute
	// quickRepeats is how often a request is repeated before the turn waits, quickPause the longest pause before one.
	quickRepeats = 2
	quickPause   = 5 * time.Second
	// answerSize is what is read of an answer.
	answerSize = 64 << 10
)

// ErrNotTaken is the kind of the error when a receiver did not take a notice.
var ErrNotTaken = errors.New("the receiver did not take the notice")

// failure is a delivery that the receiver did not take. It never tells the URL, nor what was answered.
type failure struct {
	// code is the status that was answered; 0 when nothing was.
	code int
	// after is the time that the receiver asked to be left alone for; 0 when it did not.
	after time.Duration
	// why says why there is no answer.
	why string
}

// Error says what went wrong.
func (f *failure) Error() string {
	if f.code == 0 {
		return "no answer: " + f.why
	}
	return fmt.Sprintf("the receiver answered %d", f.code)
}

// Unwrap returns the kind.
func (f *failure) Unwrap() error { return ErrNotTaken }

// refused reports whether the receiver answered and will not take the notice later either, as far as the status tells.
func (f *failure) refused() bool { return f.code != 0 && !passing(f.code) }

// passing reports whether a status tells of trouble that passes.
func passing(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return code >= 500
}

func (s *Sender) client() *retryablehttp.Client {
	s.once.Do(func() {
		c := retryablehttp.NewClient()
		c.Logger = nil
		c.HTTPClient = &http.Client{Transport: s.transport, Timeout: answerTimeout}
		if s.transport == nil {
			c.HTTPClient.Transport = cleanhttp.DefaultPooledTransport()
		}
		// A notice is for whom the settings name, and for nobody that one names.
		c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c.RetryMax = quickRepeats
		c.CheckRetry = func(ctx context.Context, answer *http.Response, err error) (bool, error) {
			return ctx.Err() == nil && (err != nil || passing(answer.StatusCode) && askedPause(answer) <= quickPause), nil
		}
		c.Backoff = func(_, _ time.Duration, n int, answer *http.Response) time.Duration {
			return cmp.Or(askedPause(answer), backoff.Pause(n, quickPause/4, quickPause))
		}
		c.ErrorHandler = retryablehttp.PassthroughErrorHandler
		s.http = c
	})
	return s.http
}

// askedPause is for how long an answer asks to be left alone; 0 when there is none, or it does not.
func askedPause(answer *http.Response) time.Duration {
	return max(0, retryablehttp.DefaultBackoff(0, 0, 0, answer))
}

// send makes one delivery, at now. What the receiver is to blame for is a *[failure].
func (s *Sender) send(ctx context.Context, r *Receiver, n notice, now time.Time) error {
	body, contentType, err := n.body(r.Format, now)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return &failure{why: "the URL cannot be asked"}
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("User-Agent", "terraform-provider-jit")
	if r.key != nil {
		request.Header.Set("webhook-id", n.id)
		request.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
		request.Header.Set("webhook-signature", sign(r.key, n.id, now, body))
	}
	answer, err := s.client().Do(request)
	if err != nil {
		return &failure{why: why(err)}
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerSize)) // so that the connection can be used again
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return nil
	}
	return &failure{code: answer.StatusCode, after: askedPause(answer)}
}

// why puts what went wrong into words of our own where a message could hold the URL or what the other side sent.
func why(err error) string {
	var name *net.DNSError
	var distrust *tls.CertificateVerificationError
	var network *net.OpError
	switch {
	case errors.As(err, &name):
		return "the name of its host cannot be resolved"
	case errors.As(err, &distrust):
		return "its certificate is not to be trusted: " + distrust.Err.Error()
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return fmt.Sprintf("it took more than %s", jit.FormatDuration(answerTimeout))
	case errors.As(err, &network):
		return network.Op + ": " + network.Err.Error()
	case errors.As(err, new(*url.Error)):
		return "the connection broke off, or it does not speak HTTP"
	}
	return "the request could not be made"
}
