package awsidentitycenter

import (
	"context"
	"slices"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/claims"
)

// assignments are the account assignments of one account during one Apply.
type assignments struct {
	client  *client
	account string
	ready   func() error // whether the account accepts assignments; asked once

	// provisioning is held while a permission set's role is made in the account or removed. The service does one at a
	// time.
	provisioning chan struct{}

	mu   sync.Mutex
	sets map[string]*assignedSet // by ARN
}

var _ claims.Objects = (*assignments)(nil)

// assignedSet is one permission set on the account. The service accepts one write of it at a time.
type assignedSet struct {
	writing chan struct{}
	there   map[object]bool // under the lock of [assignments]
}

func newAssignments(ctx context.Context, c *client, account string) *assignments {
	return &assignments{
		client: c, account: account, sets: map[string]*assignedSet{}, provisioning: make(chan struct{}, 1),
		ready: sync.OnceValue(func() error { return c.ready(ctx, account) }),
	}
}

// set returns a permission set by its ARN. The caller holds the lock.
func (s *assignments) set(arn string) *assignedSet {
	if s.sets[arn] == nil {
		s.sets[arn] = &assignedSet{writing: make(chan struct{}, 1), there: map[object]bool{}}
	}
	return s.sets[arn]
}

// Name resolves the names of a grant. The user or group of a grant that has an assignment stays the same, whoever has
// the name now.
func (s *assignments) Name(ctx context.Context, a jit.Access, held string) (string, error) {
	b := a.Binding
	if err := checkRole(b.Role); err != nil {
		return "", err
	}
	if held != "" {
		was, err := parseObject(held)
		if err == nil {
			err = s.client.isThere(ctx, was, b.Principal)
		}
		if err != nil {
			return "", err
		}
		b.Principal = principal{was.kind, was.id}.String()
	}
	o, err := s.client.object(ctx, b)
	if err == nil {
		err = s.ready()
	}
	return o.String(), err
}

// List lists all assignments of the permission sets concerned.
func (s *assignments) List(ctx context.Context, names []string) (map[string]bool, error) {
	var sets []string
	for _, name := range names {
		o, err := parseObject(name)
		if err != nil {
			return nil, err
		}
		sets = append(sets, o.set)
	}
	slices.Sort(sets)
	sets = slices.Compact(sets)
	found, err := s.client.list(ctx, s.account, sets)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, arn := range sets {
		s.set(arn).there = map[object]bool{}
	}
	there := map[string]bool{}
	for o := range found {
		there[o.String()], s.set(o.set).there[o] = true, true
	}
	return there, nil
}

// Skew compares our clock with the service's.
func (s *assignments) Skew() error { return s.client.platform.watch.Skew() }

// Add makes an assignment.
func (s *assignments) Add(ctx context.Context, name string) error {
	return s.write(ctx, jit.Ensure, name)
}

// Remove removes an assignment.
func (s *assignments) Remove(ctx context.Context, name string) error {
	return s.write(ctx, jit.Remove, name)
}

func (s *assignments) write(ctx context.Context, op jit.Op, name string) error {
	o, err := parseObject(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	set := s.set(o.set)
	s.mu.Unlock()
	if err := take(ctx, set.writing); err != nil {
		return err
	}
	defer func() { <-set.writing }()
	if s.provisions(set, op) {
		if err := take(ctx, s.provisioning); err != nil {
			return err
		}
		defer func() { <-s.provisioning }()
	}
	err = s.client.write(ctx, s.account, op, o)
	if at := (place{s.account, o}); op == jit.Ensure || err == nil { // a removal that failed settles nothing
		s.client.platform.doubt(at, err != nil && !answered(err))
	}
	if err == nil {
		s.written(set, op, o)
		return nil
	}
	explained := explain(ctx, s.account, op, o, err)
	if answered(err) {
		return claims.Refused(explained)
	}
	return explained
}

// provisions reports whether a write makes the role of a permission set in the account, as its first assignment does,
// or removes it with the last one.
func (s *assignments) provisions(set *assignedSet, op jit.Op) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return op == jit.Ensure && len(set.there) == 0 || op == jit.Remove && len(set.there) <= 1
}

func (s *assignments) written(set *assignedSet, op jit.Op, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set.there[o] = true; op == jit.Remove {
		delete(set.there, o)
	}
}
