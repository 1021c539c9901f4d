package broker

import (
	"context"
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// unaskable fails the test if the target is asked.
type unaskable struct {
	jit.Platform
	t *testing.T
}

func (a unaskable) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	if ask {
		a.t.Error("the target was asked")
	}
	return a.Platform.Given(ctx, b, ask)
}

// A question that only the target answers is noted, or fails.
func TestSilence(t *testing.T) {
	var s Silence
	p := s.Wrap("db", unaskable{&jittest.Platform{}, t})
	if _, err := p.Given(t.Context(), jit.Binding{}, true); err != nil || !s.LeftOut("db") {
		t.Errorf("left out: %t, %v", s.LeftOut("db"), err)
	}
	s.Doubt(true)
	if _, err := p.Given(t.Context(), jit.Binding{}, true); !errors.Is(err, errSilent) {
		t.Errorf("in doubt: %v", err)
	}
	if _, err := p.Given(t.Context(), jit.Binding{}, false); err != nil {
		t.Errorf("what is known without a call: %v", err)
	}
}
