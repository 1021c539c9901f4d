package broker

import (
	"context"
	"errors"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Silence keeps targets from being called while somebody reviews or asks. The zero value is ready; it is safe for
// concurrent use.
type Silence struct {
	mu sync.Mutex
	// unasked are the targets that a plan would have asked.
	unasked map[string]bool
	// doubt: a question fails. Otherwise its answer is the best that is possible.
	doubt bool
}

var errSilent = errors.New("no target is called")

// Wrap returns a platform that makes no call.
func (s *Silence) Wrap(name string, p jit.Platform) jit.Platform {
	silent := &silent{p, name, s}
	if _, asks := jit.Find[jit.Describer](p); asks {
		return &silentDescriber{silent}
	}
	return silent
}

// asks notes that a plan asks the target.
func (s *Silence) asks(target string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unasked == nil {
		s.unasked = map[string]bool{}
	}
	s.unasked[target] = true
	if s.doubt {
		return errSilent
	}
	return nil
}

// Doubt chooses what becomes of a question: with doubt it fails, else its answer is the best that is possible.
func (s *Silence) Doubt(doubt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubt = doubt
}

// LeftOut reports whether a plan asks the target what only it knows.
func (s *Silence) LeftOut(target string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unasked[target]
}

// silent is a platform that makes no call.
type silent struct {
	jit.Platform
	name    string
	silence *Silence
}

var _ jit.Platform = (*silent)(nil)

func (s *silent) Unwrap() jit.Platform { return s.Platform }

// Given returns what is known without a call. It takes that for all that there is.
func (s *silent) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g, err := s.Platform.Given(ctx, b, false)
	if ask && err == nil {
		err = s.silence.asks(s.name)
		g.Principal.Unresolved, g.Role.Unresolved, g.Scope.Unresolved = false, false, false
	}
	return g, err
}

func (s *silent) Scopes(context.Context) ([]string, error) { return nil, errSilent }

func (s *silent) Read(context.Context, string) (jit.Snapshot, error) {
	return jit.Snapshot{}, errSilent
}

func (s *silent) Apply(_ context.Context, _ string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	for i := range errs {
		errs[i] = errSilent
	}
	return errs
}

// silentDescriber is a [silent] platform whose Check returns bounds only.
type silentDescriber struct{ *silent }

var _ jit.Describer = (*silentDescriber)(nil)

// Describe returns the best that the platform may answer.
func (s *silentDescriber) Describe(_ context.Context, b jit.Binding) (jit.Traits, error) {
	_, traits, err := s.Check(b)
	if err == nil {
		err = s.silence.asks(s.name)
	}
	traits.Enforcement, traits.SessionTail = jit.Native, 0
	return traits, err
}
