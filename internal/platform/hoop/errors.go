package hoop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// statusError is an answer that is not 2xx.
type statusError struct {
	code    int
	message string // of the gateway, on one line; it may be empty
	// location is where a redirect leads, without user info and query.
	location string
}

// maxMessage bounds what is repeated of the gateway's words, in bytes.
const maxMessage = 300

func newStatusError(answer *http.Response, text []byte) *statusError {
	e := &statusError{code: answer.StatusCode}
	var told struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &told) == nil {
		e.message = strings.Join(strings.Fields(told.Message), " ")
		e.message = e.message[:min(len(e.message), maxMessage)]
	}
	if to, err := answer.Location(); err == nil {
		to.User, to.RawQuery, to.Fragment = nil, "", ""
		e.location = to.String()
	}
	return e
}

// Error tells the status and the gateway's words.
func (e *statusError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("the gateway answered %d", e.code)
	}
	return fmt.Sprintf("the gateway answered %d: %s", e.code, e.message)
}

// answered reports whether err is an answer with one of these statuses.
func answered(err error, codes ...int) bool {
	var status *statusError
	if !errors.As(err, &status) {
		return false
	}
	for _, code := range codes {
		if status.code == code {
			return true
		}
	}
	return false
}

// errSilent is the kind of error of a request that got no answer.
var errSilent = errors.New("no answer")

// unsure reports whether a request that ended with err was not judged by the gateway, as far as can be told: it may
// have been carried out all the same, and is worth another try where it was not.
func unsure(err error) bool {
	var status *statusError
	return errors.Is(err, errSilent) || errors.As(err, &status) && (passing(status.code) || status.code == http.StatusTooManyRequests)
}

// explain turns what became of a request into words.
func (c *client) explain(ctx context.Context, doing string, err error) error {
	var status *statusError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s on %s: %w", doing, c.base.Host, ctx.Err())
	case !errors.As(err, &status):
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err // its own text repeats the whole address
		}
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: no answer from the gateway at %s: %s", doing, c.base.Host, strings.Join(strings.Fields(err.Error()), " ")),
			Hint: "check url, the network between, and whether the gateway runs", Err: errors.Join(errSilent, err)}
	case status.code == http.StatusUnauthorized:
		return &jit.Error{Problem: fmt.Sprintf("the gateway at %s does not accept the API key for this: cannot %s", c.base.Host, doing),
			Hint: "make an API key with the group admin (Settings, API Keys); the token of a user is not one", Err: err}
	case status.code == http.StatusForbidden:
		return &jit.Error{Problem: fmt.Sprintf("the API key may not %s on the gateway at %s", doing, c.base.Host),
			Hint: "give the API key the group admin", Err: err}
	case status.code/100 == 3:
		return &jit.Error{Attribute: "target", Problem: fmt.Sprintf("the gateway at %s sends elsewhere: to %s", c.base.Host, status.location),
			Hint: "write the address that answers itself as url", Err: err}
	}
	return fmt.Errorf("%s on %s: %w", doing, c.base.Host, err)
}
