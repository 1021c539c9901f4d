// Package bucket stores a log of commits in an object store: Amazon S3 and what speaks its protocol, Google Cloud
// Storage, Azure Blob Storage. Each commit is one object that is created only if it is absent, which is the whole
// concurrency control. Nothing is ever overwritten or deleted.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// objects is one object store below a prefix. Each method makes one attempt. Errors are of the kinds below, or explain
// themselves to the user as a [jit.Error]. It is safe for concurrent use.
type objects interface {
	// create creates an object. It never replaces one: the error is errExists if there is one.
	create(ctx context.Context, key string, body []byte) error
	// get returns an object of at most limit bytes. The error is errAbsent if there is none.
	get(ctx context.Context, key string, limit int64) ([]byte, error)
	// list returns, in order, some keys that begin with prefix and come after a key; more: others may follow. A store
	// may leave out keys that were created a moment ago.
	list(ctx context.Context, prefix, after string) (keys []string, more bool, err error)
}

// Kinds of errors of objects.
var (
	// errExists: an object of that name exists (412).
	errExists = errors.New("the object exists")
	// errRacing: another request for the same name is in progress, and nothing was done (409).
	errRacing = errors.New("another request creates the same object")
	// errAbsent: there is no object of that name.
	errAbsent = errors.New("there is no such object")
	// errBusy: the store asks to try again later (429, 5xx).
	errBusy = errors.New("the store is busy")
	// errUnsure: the store gave no answer. What was asked may have happened.
	errUnsure = errors.New("the store did not answer")
	// errTooLarge: an object is larger than the limit.
	errTooLarge = errors.New("the object is too large")
)

// errDenied: these credentials may not do that. A store says so too where they may create and not replace, and the object
// exists.
var errDenied = errors.New("access is denied")

// ErrReadOnly says that these credentials may not create objects there.
var ErrReadOnly = fmt.Errorf("%w to create", errDenied)

// callTimeout limits one attempt of one request.
const callTimeout = 30 * time.Second

// kindOf returns the kind of error for the status of a refusal; nil if the refusal has to be explained to the user.
func kindOf(status int) error {
	switch status {
	case http.StatusPreconditionFailed:
		return errExists
	case http.StatusConflict:
		return errRacing
	case http.StatusNotFound:
		return errAbsent
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return errBusy
	}
	return nil
}

// watched is a transport that reads the clock of each answer, and counts the requests.
type watched struct {
	next  http.RoundTripper
	clock *jit.ServerClock
	now   func() time.Time
}

// RoundTrip makes the request.
func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := w.next.RoundTrip(r)
	if err == nil {
		w.clock.Read(answer.Header, w.now())
	}
	return answer, err
}

// transport returns the transport for requests to a store.
func transport(clock *jit.ServerClock) http.RoundTripper {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = parallel
	return watched{jit.GuardAnswers(base), clock, time.Now}
}

const (
	// contentType is the type of commits, which may be compressed.
	contentType = "application/octet-stream"
	// parallel is the number of objects that are read at a time.
	parallel = 16
	// maxObject and maxCommit limit the size of a commit as it is stored and as it is read, in bytes.
	maxObject = 32 << 20
	maxCommit = 256 << 20
	// maxList limits one page of a list, in bytes.
	maxList = 16 << 20
)

// patience is the longest time to retry one request while the store is busy or does not answer.
const patience = 30 * time.Second

// retried repeats a request while the store is busy or does not answer.
func retried(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 0; ; n++ {
		err := request(ctx)
		if !errors.Is(err, errBusy) && !errors.Is(err, errUnsure) {
			return err
		}
		if backoff.Wait(ctx, n, 50*time.Millisecond, 3*time.Second) != nil {
			return err
		}
	}
}
