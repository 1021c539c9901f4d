package awsconfig

import (
	"context"
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

	clock jit.ServerClock
}

// Attach makes the clients of the configuration tell the watch.
func (w *Watch) Attach(to *aws.Config) {
	follow := middleware.DeserializeMiddlewareFunc("jitWatch", func(ctx context.Context, in middleware.DeserializeInput,
		next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		if w.OnCall != nil {
			w.OnCall(awsmiddleware.GetOperationName(ctx))
		}
		out, metadata, err := next.HandleDeserialize(ctx, in)
		if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer.Response != nil {
			w.clock.Read(answer.Header, w.Now())
		}
		return out, metadata, err
	})
	to.APIOptions = append(to.APIOptions[:len(to.APIOptions):len(to.APIOptions)], func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(follow, middleware.After)
	})
}

// Clock is the time that the latest answer gave; zero before the first.
func (w *Watch) Clock() time.Time { return w.clock.Latest().Remote }

// Skew is [jit.CheckSkew] of the latest answer.
func (w *Watch) Skew() error { return w.clock.Latest().Skew() }
