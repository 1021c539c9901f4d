package hoop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// statusError is an answer whose status is not 2xx.
type statusError struct {
	code     int    // 0: nothing was sent
	message  string // the gateway's words on one line; may be empty
	location string // the target of a redirect, without user info and query
}

func newStatusError(answer *http.Response, text []byte) *statusError {
	e := &statusError{code: answer.StatusCode}
	var body struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &body) == nil {
		e.message = jit.Said(body.Message)
	}
	if to, err := answer.Location(); err == nil {
		to.User, to.RawQuery, to.Fragment = nil, "", ""
		e.location = to.String()
	}
	return e
}

// Error returns the status and the gateway's words.
func (e *statusError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("the gateway answered %d", e.code)
	}
	return fmt.Sprintf("the gateway answered %d: %s", e.code, e.message)
}

// answered reports whether err is an answer with one of these statuses.
func answered(err error, codes ...int) bool {
	var status *statusError
	return errors.As(err, &status) && slices.Contains(codes, status.code)
}

// unlessGone returns err, or nil if there is no such thing on the gateway.
func unlessGone(err error) error {
	if answered(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// errSilent is the kind of error of a request without an answer.
var errSilent = errors.New("no answer")

// unsure reports whether err leaves open what became of a request: the gateway may not have judged it. Such a request
// is worth another try.
func unsure(err error) bool {
	return errors.Is(err, errSilent) || answered(err, http.StatusTooManyRequests) || answered(err, fromProxies...)
}

// ruledOut reports whether err proves that a creation takes no effect: it was not sent, or the gateway has refused it.
// A 500 proves nothing: it can leave a session behind.
func ruledOut(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.code == 0 || status.code/100 == 4 && !unsure(err)
	}
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial"
}

// problem is an error without an attribute to blame.
func problem(hint, format string, args ...any) *jit.Error {
	return &jit.Error{Problem: fmt.Sprintf(format, args...), Hint: hint}
}

// explain turns the failure of a request into words.
func (c *client) explain(ctx context.Context, doing string, err error) error {
	var status *statusError
	var told *jit.Error
	switch errors.As(err, &status); {
	case ctx.Err() != nil:
		return fmt.Errorf("%s on %s: %w", doing, c.base.Host, ctx.Err())
	case status == nil:
		return c.explainSilence(doing, err)
	case status.code == http.StatusUnauthorized:
		told = problem("make an API key with the group admin (Settings, API Keys); the token of a user is not one",
			"the gateway at %s does not accept the API key for this: cannot %s", c.base.Host, doing)
	case status.code == http.StatusForbidden:
		told = problem("give the API key the group admin", "the API key may not %s on the gateway at %s", doing,
			c.base.Host)
	case status.code/100 == 3:
		told = problem("write the address that answers itself as url", "the gateway at %s redirects to %s",
			c.base.Host, status.location)
		told.Attribute = "target"
	default:
		return fmt.Errorf("%s on %s: %w", doing, c.base.Host, err)
	}
	told.Err = err
	return told
}

// explainSilence explains a request without an answer.
func (c *client) explainSilence(doing string, err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // its own text repeats the whole address
	}
	told := problem("check url, the network between, and whether the gateway runs",
		"cannot %s: no answer from the gateway at %s: %s", doing, c.base.Host, jit.Said(err.Error()))
	told.Err = errors.Join(errSilent, err)
	return told
}
