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

// Watch follows the requests that are made with a configuration. It is safe for concurrent use.
type Watch struct {
	// Now is our own clock.
	Now func() time.Time
	// OnCall is called before each request, repeated ones too, with the name of the
	// operation, such as "PutUserPolicy". It may be nil.
	OnCall func(operation string)

	clock atomic.Pointer[clock]
}

// clock is what the Date of an answer said, and our own time then.
type clock struct{ remote, local time.Time }

// Attach makes the clients of the configuration tell the watch.
func (w *Watch) Attach(to *aws.Config) {
	follow := middleware.DeserializeMiddlewareFunc("jitWatch", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
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

// Clock is what the latest answer said of the time; zero before the first.
func (w *Watch) Clock() time.Time {
	if c := w.clock.Load(); c != nil {
		return c.remote
	}
	return time.Time{}
}

// Skew is [jit.CheckSkew] of the latest answer.
func (w *Watch) Skew() error {
	if c := w.clock.Load(); c != nil {
		return jit.CheckSkew(c.local, c.remote)
	}
	return nil
}
