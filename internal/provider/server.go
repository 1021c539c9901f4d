package provider

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// fullServer is a server with every power of the protocol that the plugin framework implements.
type fullServer interface {
	tfprotov6.ProviderServerWithListResource //nolint:staticcheck // the framework asks for these until they move
	tfprotov6.ProviderServerWithActions      //nolint:staticcheck // as above
	tfprotov6.ProviderServerWithStateStores  //nolint:staticcheck // as above
}

// server lets the contexts of finished calls go. The plugin framework keeps a derived context of each call until the
// provider stops (proto6server.registerContext). Every one holds loggers and fields of 10 kB, and a plan makes four
// calls per grant.
type server struct {
	fullServer
	// stop ends what the run has open when Terraform stops the provider; nil if nothing can be open.
	stop func(context.Context) error
}

// releasing returns s as a server that keeps no memory for finished calls, and calls stop when Terraform stops it.
func releasing(s tfprotov6.ProviderServer, stop func(context.Context) error) tfprotov6.ProviderServer {
	full, ok := s.(fullServer)
	if !ok {
		return s // the server works without it, with more memory
	}
	return &server{full, stop}
}

// StopProvider cancels the calls that are in progress, and then ends the ephemeral grants that are open. Terraform
// waits for it.
func (s *server) StopProvider(
	ctx context.Context, req *tfprotov6.StopProviderRequest,
) (*tfprotov6.StopProviderResponse, error) {
	resp, err := s.fullServer.StopProvider(ctx, req)
	if s.stop == nil || err != nil {
		return resp, err
	}
	if left := s.stop(context.WithoutCancel(ctx)); left != nil && resp.Error == "" {
		resp.Error = left.Error()
	}
	return resp, nil
}

// ValidateResourceConfig releases the call's context.
func (s *server) ValidateResourceConfig(
	ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest,
) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return call(ctx, req, s.fullServer.ValidateResourceConfig)
}

// UpgradeResourceState releases the call's context.
func (s *server) UpgradeResourceState(
	ctx context.Context, req *tfprotov6.UpgradeResourceStateRequest,
) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return call(ctx, req, s.fullServer.UpgradeResourceState)
}

// PlanResourceChange releases the call's context.
func (s *server) PlanResourceChange(
	ctx context.Context, req *tfprotov6.PlanResourceChangeRequest,
) (*tfprotov6.PlanResourceChangeResponse, error) {
	return call(ctx, req, s.fullServer.PlanResourceChange)
}

// ApplyResourceChange releases the call's context.
func (s *server) ApplyResourceChange(
	ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest,
) (*tfprotov6.ApplyResourceChangeResponse, error) {
	return call(ctx, req, s.fullServer.ApplyResourceChange)
}

// call handles a request with a context that holds nothing afterwards.
func call[Req, Resp any](
	ctx context.Context, req Req, handle func(context.Context, Req) (Resp, error),
) (Resp, error) {
	c := &callContext{}
	c.within.Store(&ctx)
	defer c.release()
	return handle(c, req)
}

// callContext is the context of a call until release; then it is a canceled context without values.
type callContext struct {
	within atomic.Pointer[context.Context]
}

func (c *callContext) release() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	c.within.Store(&over)
}

// Deadline is that of the call.
func (c *callContext) Deadline() (time.Time, bool) { return (*c.within.Load()).Deadline() }

// Done returns a channel that is closed when the call has ended.
func (c *callContext) Done() <-chan struct{} { return (*c.within.Load()).Done() }

// Err returns an error after the call has ended.
func (c *callContext) Err() error { return (*c.within.Load()).Err() }

// Value returns a value of the call.
func (c *callContext) Value(key any) any { return (*c.within.Load()).Value(key) }
