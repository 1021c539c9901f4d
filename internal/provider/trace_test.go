package provider_test

import (
	"context"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/provider"
)

// The requests of advice are logged too: it is asked for after the read has ended.
func TestTraceAdvice(t *testing.T) {
	t.Parallel()
	told := false
	p := provider.Trace("prod", &jittest.Platform{Now: time.Now,
		Advise: func(ctx context.Context, _ jit.Binding) []jit.Advice {
			told = jit.Exchanges(ctx) != nil
			return []jit.Advice{{Text: "no such role"}}
		}})
	snapshot, err := p.Read(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	advice := snapshot.Advise(t.Context(), jit.Binding{})
	if len(advice) != 1 || advice[0].Text != "no such role" || !told {
		t.Errorf("advice: %v; its requests are told: %t", advice, told)
	}
}
