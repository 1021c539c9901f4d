package jit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Exchange is one request to the server of a target, and its outcome. Each attempt is an exchange of its own. It holds
// no header, no body and no query, so no secret.
type Exchange struct {
	// Host is the server, Request what was asked: a method and a path, or the name of an operation.
	Host, Request string
	// Outcome is the status of the answer, such as "429 Too Many Requests", or why there is none.
	Outcome string
	Took    time.Duration
	// Attempt counts the attempts at the same request from 1; 0 if it is not known. Then Key tells which are the same.
	Attempt int
	Key     string
}

type exchangesKey struct{}

// WithExchanges returns a context whose requests to targets are told. tell is safe for concurrent use.
func WithExchanges(ctx context.Context, tell func(Exchange)) context.Context {
	return context.WithValue(ctx, exchangesKey{}, tell)
}

// Exchanges returns who is told of the requests to targets; nil if nobody asked: see [WithExchanges].
func Exchanges(ctx context.Context) func(Exchange) {
	tell, _ := ctx.Value(exchangesKey{}).(func(Exchange))
	return tell
}

// ExchangeOf returns the exchange of an HTTP request that began at the time. err is why there is no answer.
func ExchangeOf(r *http.Request, answer *http.Response, err error, began time.Time) Exchange {
	e := Exchange{Host: r.URL.Host, Request: r.Method + " " + r.URL.Path, Took: time.Since(began)}
	switch {
	case err != nil:
		e.Outcome = "no answer: " + Said(err.Error())
	case answer != nil:
		e.Outcome = fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	return e
}

// keyOf identifies a request, so that its attempts can be counted.
func keyOf(r *http.Request) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %s\n", r.Method, r.URL)
	if r.GetBody != nil {
		if body, err := r.GetBody(); err == nil {
			_, _ = io.Copy(h, body) // a key of less is good enough
			_ = body.Close()
		}
	}
	return string(h.Sum(nil))
}
