package provider

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

type keeps struct {
	fullServer
	kept context.Context
}

type key struct{}

func (k *keeps) ReadResource(
	ctx context.Context, _ *tfprotov6.ReadResourceRequest,
) (*tfprotov6.ReadResourceResponse, error) {
	kept, cancel := context.WithCancel(ctx)
	k.kept = kept
	_ = cancel // as the framework does
	if kept.Value(key{}) != "value" || kept.Err() != nil {
		return nil, errors.New("the context of the call does not reach the server")
	}
	return nil, nil
}

func TestServerReleasesTheContextsOfFinishedCalls(t *testing.T) {
	k := &keeps{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	if _, err := releasing(k, nil).ReadResource(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if got := k.kept.Value(key{}); got != nil {
		t.Errorf("a finished call keeps the value %v", got)
	}
	cancel()
	if k.kept.Err() == nil {
		t.Error("canceling the call does not cancel the contexts derived from it")
	}
}

func TestServerHasEveryPowerOfTheFramework(t *testing.T) {
	if _, ok := NewServer("", nil).(*server); !ok {
		t.Error("the framework's server lacks an interface, so contexts are not released")
	}
}
