package azure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// prompt is how long ago a window may have begun for its assignment to be asked for from its beginning on.
const prompt = time.Minute

// settled are the states of a request that was carried out.
var settled = map[armauthorization.Status]bool{
	armauthorization.StatusProvisioned: true, armauthorization.StatusRevoked: true, armauthorization.StatusScheduleCreated: true, armauthorization.StatusGranted: true,
}

// ask is one request to be made.
type ask struct {
	kind       armauthorization.RequestType
	words      []string
	start, end time.Time // start is zero for now, end for none
}

func (m pim) write(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error) {
	asks, err := m.asks(s, want)
	if err != nil {
		return false, err
	}
	for _, a := range asks {
		err = m.submit(ctx, scope, s, a)
		if a.kind == armauthorization.RequestTypeAdminUpdate && codeOf(err) == assignmentAbsent {
			gone := *s // it was ended by other means than a request
			gone.there, gone.claims = false, nil
			return m.write(ctx, scope, &gone, want)
		}
		if err != nil {
			return false, err
		}
	}
	return len(asks) == 1 && asks[0].kind == armauthorization.RequestTypeAdminAssign, nil
}

// asks are the requests that leave the claims wanted on the slot.
func (m pim) asks(s *slot, want []claim) ([]ask, error) {
	var given []claim
	if s.there {
		given = s.claims
	}
	ended := slices.DeleteFunc(slices.Clone(given), func(c claim) bool { return slices.ContainsFunc(want, func(w claim) bool { return w.is(c.marker) }) })
	if len(want) == 0 {
		chunks := slices.Collect(slices.Chunk(words(nil, ended), together))
		var asks []ask
		for i, text := range chunks {
			a := ask{kind: armauthorization.RequestTypeAdminUpdate, words: text, end: s.end}
			if i == len(chunks)-1 {
				a = ask{kind: armauthorization.RequestTypeAdminRemove, words: text}
			}
			asks = append(asks, a)
		}
		return asks, nil
	}
	text := words(without(want, given), ended)
	if len(text) == 0 {
		text = words(want[:1], nil)
	}
	now := jit.Second(m.platform.serviceNow())
	start, end := firstStart(want), lastEnd(want)
	next := ask{kind: armauthorization.RequestTypeAdminUpdate, end: end}
	switch {
	case start.After(now):
		next.start = start
	case !s.start.IsZero():
		next.start = now // without a beginning it would keep the one that lies ahead
	}
	if !s.there {
		if now.Sub(start) > prompt {
			start = now
		}
		if length := end.Sub(start); length < shortest {
			return nil, &jit.Error{Attribute: "expires_at", Problem: fmt.Sprintf("the grant would end %s from now, and PIM gives no access for less than %s", jit.FormatDuration(length), jit.FormatDuration(shortest)),
				Hint: "grant again with a later end and another renewal, if the access is still wanted"}
		}
		next.kind, next.start = armauthorization.RequestTypeAdminAssign, start
	}
	var asks []ask
	for chunk := range slices.Chunk(text, together) {
		next.words = chunk
		asks = append(asks, next)
		next.kind = armauthorization.RequestTypeAdminUpdate
		if !start.After(now) {
			next.start = time.Time{}
		}
	}
	return asks, nil
}

// submit makes a request and returns when it has been carried out. An assignment cannot be taken back in its first
// minutes: then it waits and asks again.
func (m pim) submit(ctx context.Context, scope string, s *slot, a ask) error {
	body := armauthorization.RoleAssignmentScheduleRequest{Properties: &armauthorization.RoleAssignmentScheduleRequestProperties{
		PrincipalID: &s.principal, RoleDefinitionID: definitionID(scope, s.role), RequestType: &a.kind, Justification: new(strings.Join(a.words, " ")), ScheduleInfo: a.schedule(),
	}}
	young := false // PIM has refused to take it back yet
	for {
		name := uuid.NewString()
		made, err := patiently(ctx, m.platform, func() (*armauthorization.RoleAssignmentScheduleRequest, error) {
			made, err := m.requests.Create(ctx, scope, name, body, nil)
			return &made.RoleAssignmentScheduleRequest, err
		})
		if err == nil {
			return m.follow(ctx, scope, s, made)
		}
		age := m.platform.serviceNow().Sub(s.since)
		code := codeOf(err)
		if young = young || code == durationTooShort; young && ctx.Err() != nil {
			return tooYoung(ctx.Err())
		}
		switch {
		case code == durationTooShort, code == assignmentAbsent && a.kind == armauthorization.RequestTypeAdminRemove && age < shortest:
			// In its first minutes it may also not be found yet.
			if err := backoff.Sleep(ctx, min(max(shortest-age, m.platform.pace.tick/10), m.platform.pace.tick)); err != nil {
				return tooYoung(err)
			}
		case code == assignmentAbsent && a.kind == armauthorization.RequestTypeAdminRemove:
			return nil
		case code == assignmentExists && a.kind == armauthorization.RequestTypeAdminAssign, code == requestPending, code == requestExists:
			return race(err)
		default:
			return err
		}
	}
}

func tooYoung(err error) error {
	return fmt.Errorf("wait for the first %s of the assignment to pass, in which PIM does not take it back: %w", jit.FormatDuration(shortest), err)
}

// schedule writes when the access is to begin and to end.
func (a ask) schedule() *armauthorization.RoleAssignmentScheduleRequestPropertiesScheduleInfo {
	if a.kind == armauthorization.RequestTypeAdminRemove {
		return nil
	}
	info := &armauthorization.RoleAssignmentScheduleRequestPropertiesScheduleInfo{
		Expiration: &armauthorization.RoleAssignmentScheduleRequestPropertiesScheduleInfoExpiration{Type: new(armauthorization.TypeNoExpiration)},
	}
	if !a.start.IsZero() {
		info.StartDateTime = &a.start
	}
	if !a.end.IsZero() {
		info.Expiration.Type, info.Expiration.EndDateTime = new(armauthorization.TypeAfterDateTime), &a.end
	}
	return info
}

// follow waits for the end of a request.
func (m pim) follow(ctx context.Context, scope string, s *slot, r *armauthorization.RoleAssignmentScheduleRequest) error {
	for r.Properties != nil && !settled[value(r.Properties.Status)] {
		if status := value(r.Properties.Status); refused[status] {
			return &jit.Error{Problem: fmt.Sprintf("PIM took the request %s and did not carry it out: its state is %s", value(r.Name), status), Hint: "the portal tells more under Privileged Identity Management, Azure resources, Resource audit"}
		}
		if err := backoff.Sleep(ctx, m.platform.pace.tick/5); err != nil {
			return fmt.Errorf("wait for the request %s: %w", value(r.Name), err)
		}
		looked, err := m.requests.Get(ctx, scope, value(r.Name), nil)
		if err != nil {
			return err
		}
		r = &looked.RoleAssignmentScheduleRequest
	}
	m.platform.keepSent(scope, r)
	if who := principalOf(&s.principal, r.Properties.PrincipalType); r.Properties.PrincipalType != nil && who.kind != s.who.kind {
		return otherKind(s.who, who)
	}
	return nil
}

// keepSent remembers a request for as long as lists may not have it.
func (p *Platform) keepSent(scope string, r *armauthorization.RoleAssignmentScheduleRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[strings.ToLower(scope)] = append(p.sent[strings.ToLower(scope)], r)
}

// withSent adds our own requests that a list does not have yet to those that it has, and leaves out what says nothing.
func (p *Platform) withSent(scope string, listed []*armauthorization.RoleAssignmentScheduleRequest, now time.Time) []*armauthorization.RoleAssignmentScheduleRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[string]bool{}
	for _, r := range listed {
		known[strings.ToLower(value(r.Name))] = true
	}
	sent := slices.DeleteFunc(p.sent[strings.ToLower(scope)], func(r *armauthorization.RoleAssignmentScheduleRequest) bool {
		return now.Sub(value(r.Properties.CreatedOn)) > lag
	})
	p.sent[strings.ToLower(scope)] = sent
	all := slices.Clone(listed)
	for _, r := range sent {
		if !known[strings.ToLower(value(r.Name))] {
			all = append(all, r)
		}
	}
	return slices.DeleteFunc(all, func(r *armauthorization.RoleAssignmentScheduleRequest) bool { return r.Properties == nil })
}

// patiently repeats what fails because the service does not know a principal yet, who may have been made just now.
func patiently[T any](ctx context.Context, p *Platform, do func() (T, error)) (T, error) {
	for end := time.Now().Add(p.pace.replication); ; {
		done, err := do()
		if code := codeOf(err); code != principalMissing && code != subjectMissing || time.Now().After(end) {
			return done, err
		}
		if e := backoff.Sleep(ctx, min(p.pace.tick, p.pace.replication/4)); e != nil {
			return done, errors.Join(e, err)
		}
	}
}
