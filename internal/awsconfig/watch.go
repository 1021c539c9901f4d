package awsconfig

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Watch observes the requests of a configuration. It is safe for concurrent use.
type Watch struct {
	// Now is our own clock.
	Now func() time.Time
	// OnCall, if not nil, is called before each request, including retries, with the name of the operation, such as
	// "PutUserPolicy".
	OnCall func(operation string)

	clock atomic.Pointer[clock]
}

// clock is the Date of an answer, and our own time when it came.
type clock struct{ remote, local time.Time }

// Attach makes the clients of the configuration report to the watch.
func (w *Watch) Attach(to *aws.Config) {
	follow := middleware.DeserializeMiddlewareFunc("jitWatch", func(ctx context.Context, in middleware.DeserializeInput,
		next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		if w.OnCall != nil {
			w.OnCall(awsmiddleware.GetOperationName(ctx))
		}
		out, metadata, err := next.HandleDeserialize(ctx, in)
		if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer.Response != nil {
			if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
				w.clock.Store(&clock{date.UTC(), w.Now()})
			}
		}
		return out, metadata, err
	})
	to.APIOptions = append(to.APIOptions[:len(to.APIOptions):len(to.APIOptions)], func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(follow, middleware.After)
	})
}

// Clock is the time in the latest answer; zero before the first.
func (w *Watch) Clock() time.Time {
	if c := w.clock.Load(); c != nil {
		return c.remote
	}
	return time.Time{}
}

// Skew is [jit.CheckSkew] for the latest answer.
func (w *Watch) Skew() error {
	if c := w.clock.Load(); c != nil {
		return jit.CheckSkew(c.local, c.remote)
	}
	return nil
}
