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
	// answerTimeout bounds one request, and deliveryTimeout one delivery: a request and its quick retries.
	answerTimeout   = 15 * time.Second
	deliveryTimeout = time.Minute
	// quickRetries is how often a delivery repeats its request, and quickPause the longest pause before it does.
	quickRetries = 2
	quickPause   = 5 * time.Second
	// answerSize is how many bytes of an answer are read.
	answerSize = 64 << 10
)

// ErrNotAccepted is the kind of error of a delivery that the receiver did not accept.
var ErrNotAccepted = errors.New("the receiver did not accept the notice")

// failure is a delivery that the receiver did not accept. It contains neither the URL nor the answer.
type failure struct {
	// code is the status of the answer; 0 if there was none.
	code int
	// after is how long the receiver asked to wait before the next request; 0 if it did not.
	after time.Duration
	// why says why there was no answer.
	why string
}

// Error returns the status of the answer, or why there was none.
func (f *failure) Error() string {
	if f.code == 0 {
		return "no answer: " + f.why
	}
	return fmt.Sprintf("the receiver answered %d", f.code)
}

// Unwrap returns the kind.
func (f *failure) Unwrap() error { return ErrNotAccepted }

// refused reports whether the receiver answered with a status that a retry will not change.
func (f *failure) refused() bool { return f.code != 0 && !temporary(f.code) }

// temporary reports whether a status stands for an error that a retry may overcome.
func temporary(code int) bool {
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
		// A notice is for the receiver in the settings, not for one that the receiver names.
		c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c.RetryMax = quickRetries
		c.CheckRetry = func(ctx context.Context, answer *http.Response, err error) (bool, error) {
			soon := err != nil || temporary(answer.StatusCode) && askedPause(answer) <= quickPause
			return ctx.Err() == nil && soon, nil
		}
		c.Backoff = func(_, _ time.Duration, n int, answer *http.Response) time.Duration {
			return cmp.Or(askedPause(answer), backoff.Pause(n, quickPause/4, quickPause))
		}
		c.ErrorHandler = retryablehttp.PassthroughErrorHandler
		s.http = c
	})
	return s.http
}

// askedPause returns how long an answer asks to wait before the next request; 0 if it does not.
func askedPause(answer *http.Response) time.Duration {
	return max(0, retryablehttp.DefaultBackoff(0, 0, 0, answer))
}

// send makes one delivery, at now. If the receiver is at fault, the error is a *[failure].
func (s *Sender) send(ctx context.Context, r *Receiver, n notice, now time.Time) error {
	body, contentType, err := n.body(r.Format)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return &failure{why: "the URL is not valid"}
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

// why describes an error without the URL and without anything that the other side sent.
func why(err error) string {
	var name *net.DNSError
	var distrust *tls.CertificateVerificationError
	var network *net.OpError
	switch {
	case errors.As(err, &name):
		return "the name of its host cannot be resolved"
	case errors.As(err, &distrust):
		return "its certificate is not trusted: " + distrust.Err.Error()
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return fmt.Sprintf("it took more than %s", jit.FormatDuration(answerTimeout))
	case errors.As(err, &network):
		return network.Op + ": " + network.Err.Error()
	case errors.As(err, new(*url.Error)):
		return "the connection was closed, or the server does not speak HTTP"
	}
	return "the request could not be made"
}
