package awsconfig

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
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
	// Agent stands before the SDK's own user agent.
	Agent string

	clock jit.ServerClock
}

// Attach makes the clients of the configuration tell the watch.
func (w *Watch) Attach(to *aws.Config) {
	follow := middleware.DeserializeMiddlewareFunc("jitWatch", func(ctx context.Context, in middleware.DeserializeInput,
		next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		if w.OnCall != nil {
			w.OnCall(awsmiddleware.GetOperationName(ctx))
		}
		w.sign(in.Request)
		out, metadata, err := next.HandleDeserialize(ctx, in)
		answer, _ := out.RawResponse.(*smithyhttp.Response)
		if answer != nil && answer.Response != nil {
			w.clock.Read(answer.Header, w.Now())
		}
		if unsure, asked := ctx.Value(doubtKey{}).(*atomic.Bool); asked && err != nil {
			unsure.CompareAndSwap(false, writes(awsmiddleware.GetOperationName(ctx)) && mayHaveActed(answer, err))
		}
		return out, metadata, err
	})
	to.APIOptions = append(to.APIOptions[:len(to.APIOptions):len(to.APIOptions)], func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(follow, middleware.Before) // it sees the errors of answers that cannot be read
	})
}

// sign puts our user agent before that of the SDK. Signatures leave this header out. A retry may have it already.
func (w *Watch) sign(request any) {
	const name = "User-Agent"
	sent, ok := request.(*smithyhttp.Request)
	if ok && w.Agent != "" && !strings.HasPrefix(sent.Header.Get(name), w.Agent) {
		sent.Header.Set(name, w.Agent+" "+sent.Header.Get(name))
	}
}

// Clock is the time that the latest answer gave; zero before the first.
func (w *Watch) Clock() time.Time { return w.clock.Latest().Remote }

// Skew is [jit.CheckSkew] of the latest answer.
func (w *Watch) Skew() error { return w.clock.Latest().Skew() }

type doubtKey struct{}

// Doubt returns a context for the requests of one write. unsure reports whether AWS may have carried the write out
// without a confirmation: one of its requests, retries included, got no answer or one of a fault of the service (5xx).
func Doubt(ctx context.Context) (write context.Context, unsure func() bool) {
	doubt := &atomic.Bool{}
	return context.WithValue(ctx, doubtKey{}, doubt), doubt.Load
}

// writes reports whether an operation changes anything.
func writes(operation string) bool {
	for _, verb := range []string{"Get", "List", "Describe"} {
		if strings.HasPrefix(operation, verb) {
			return false
		}
	}
	return true
}

// mayHaveActed reports whether the service may have carried out a request that ended with err.
func mayHaveActed(answer *smithyhttp.Response, err error) bool {
	if answer != nil && answer.Response != nil {
		return answer.StatusCode/100 != http.StatusBadRequest/100
	}
	var connection *net.OpError
	return !errors.As(err, &connection) || connection.Op != "dial"
}
