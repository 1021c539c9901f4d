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

// request is a request of PIM, and schedule what it leads to.
type (
	request  = armauthorization.RoleAssignmentScheduleRequest
	schedule = armauthorization.RoleAssignmentSchedule
)

// prompt is how long ago a window may have begun for PIM to assign it from its beginning.
const prompt = time.Minute

// carriedOut holds the states of a request that has taken effect.
var carriedOut = map[armauthorization.Status]bool{
	armauthorization.StatusProvisioned: true, armauthorization.StatusRevoked: true,
	armauthorization.StatusScheduleCreated: true, armauthorization.StatusGranted: true,
}

// ask is one request to make.
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
			gone := *s // it ended without a request
			gone.there, gone.claims = false, nil
			return m.write(ctx, scope, &gone, want)
		}
		if err != nil {
			return false, err
		}
	}
	return len(asks) == 1 && asks[0].kind == armauthorization.RequestTypeAdminAssign, nil
}

// asks returns the requests that leave the claims wanted on the slot.
func (m pim) asks(s *slot, want []claim) ([]ask, error) {
	var given []claim
	if s.there {
		given = s.claims
	}
	ended := slices.DeleteFunc(slices.Clone(given), func(c claim) bool { return holds(want, c.marker) })
	now := jit.Second(m.platform.serviceNow())
	next := ask{kind: armauthorization.RequestTypeAdminUpdate, end: s.end}
	if len(want) == 0 {
		asks := next.split(words(nil, ended), now)
		if n := len(asks); n > 0 {
			asks[n-1].kind = armauthorization.RequestTypeAdminRemove
		}
		return asks, nil
	}
	text := words(without(want, given), ended)
	if len(text) == 0 {
		text = words(want[:1], nil)
	}
	start := firstStart(want)
	next.end = lastEnd(want)
	switch {
	case start.After(now):
		next.start = start
	case !s.start.IsZero():
		next.start = now // otherwise it would keep the start in the future
	}
	if s.there {
		return next.split(text, now), nil
	}
	if now.Sub(start) > prompt {
		start = now
	}
	if length := next.end.Sub(start); length < shortest {
		return nil, &jit.Error{Attribute: "expires_at",
			Problem: fmt.Sprintf("the grant would end %s from now, and PIM gives no access for less than %s",
				jit.FormatDuration(length), jit.FormatDuration(shortest)),
			Hint: "grant again with a later end and another renewal, if the access is still wanted"}
	}
	asks := next.split(text, now)
	asks[0].kind, asks[0].start = armauthorization.RequestTypeAdminAssign, start
	return asks, nil
}

// split makes as many requests as the words need. Only the first one moves the start to now.
func (a ask) split(text []string, now time.Time) []ask {
	var asks []ask
	for chunk := range slices.Chunk(text, together) {
		a.words = chunk
		asks = append(asks, a)
		if !a.start.After(now) {
			a.start = time.Time{}
		}
	}
	return asks
}

// submit makes a request and returns once it was carried out. PIM refuses to take an assignment back in its first
// minutes; submit then waits and tries again.
func (m pim) submit(ctx context.Context, scope string, s *slot, a ask) error {
	body := request{Properties: &armauthorization.RoleAssignmentScheduleRequestProperties{
		PrincipalID: &s.principal, RoleDefinitionID: definitionID(scope, s.role), RequestType: &a.kind,
		Justification: new(strings.Join(a.words, " ")), ScheduleInfo: a.schedule(),
	}}
	young := false // PIM has refused to take it back yet
	for {
		name := uuid.NewString()
		made, err := patiently(ctx, m.platform, func() (*request, error) {
			made, err := m.requests.Create(ctx, scope, name, body, nil)
			return &made.RoleAssignmentScheduleRequest, err
		})
		if err == nil {
			return m.await(ctx, scope, s, made)
		}
		age := m.platform.serviceNow().Sub(s.since)
		code := codeOf(err)
		young = young || code == durationTooShort
		switch {
		case young && ctx.Err() != nil:
			return tooYoung(ctx.Err())
		case code == durationTooShort, a.missed(err) && age < shortest: // PIM may not even find it yet
			pause := min(max(shortest-age, m.platform.pace.tick/10), m.platform.pace.tick)
			if err := backoff.Sleep(ctx, pause); err != nil {
				return tooYoung(err)
			}
		case a.missed(err):
			return nil
		case code == requestPending, code == requestExists,
			code == assignmentExists && a.kind == armauthorization.RequestTypeAdminAssign:
			return race(err)
		default:
			return err
		}
	}
}

// missed reports whether the assignment to remove does not exist.
func (a ask) missed(err error) bool {
	return a.kind == armauthorization.RequestTypeAdminRemove && codeOf(err) == assignmentAbsent
}

func tooYoung(err error) error {
	return fmt.Errorf("wait for the first %s of the assignment to pass, in which PIM does not take it back: %w",
		jit.FormatDuration(shortest), err)
}

// schedule returns when the access begins and ends; nil for a removal.
func (a ask) schedule() *armauthorization.RoleAssignmentScheduleRequestPropertiesScheduleInfo {
	if a.kind == armauthorization.RequestTypeAdminRemove {
		return nil
	}
	info := &armauthorization.RoleAssignmentScheduleRequestPropertiesScheduleInfo{
		Expiration: &armauthorization.RoleAssignmentScheduleRequestPropertiesScheduleInfoExpiration{
			Type: new(armauthorization.TypeNoExpiration),
		},
	}
	if !a.start.IsZero() {
		info.StartDateTime = &a.start
	}
	if !a.end.IsZero() {
		info.Expiration.Type, info.Expiration.EndDateTime = new(armauthorization.TypeAfterDateTime), &a.end
	}
	return info
}

// await waits until a request was carried out.
func (m pim) await(ctx context.Context, scope string, s *slot, r *request) error {
	for r.Properties == nil || !carriedOut[value(r.Properties.Status)] {
		if r.Properties != nil && refused[value(r.Properties.Status)] {
			return &jit.Error{
				Problem: fmt.Sprintf("PIM accepted the request %s but did not carry it out: its state is %s",
					value(r.Name), value(r.Properties.Status)),
				Hint: "the portal shows why under Privileged Identity Management, Azure resources, Resource audit",
			}
		}
		if err := backoff.Sleep(ctx, m.platform.pace.tick/5); err != nil {
			return fmt.Errorf("wait for the request %s: %w", value(r.Name), err)
		}
		polled, err := m.requests.Get(ctx, scope, value(r.Name), nil)
		if err != nil {
			return err
		}
		r = &polled.RoleAssignmentScheduleRequest
	}
	m.platform.keepSent(scope, r)
	who := principalOf(&s.principal, r.Properties.PrincipalType)
	if r.Properties.PrincipalType != nil && who.kind != s.who.kind {
		return otherKind(s.who, who)
	}
	return nil
}

// keepSent remembers a request for as long as lists may lack it.
func (p *Platform) keepSent(scope string, r *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[scope] = append(p.sent[scope], r)
}

// withSent adds our own requests that a list still lacks.
func (p *Platform) withSent(scope string, listed []*request, now time.Time) []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[scope] = slices.DeleteFunc(p.sent[scope], func(r *request) bool {
		return now.Sub(value(r.Properties.CreatedOn)) > lag
	})
	known := map[string]bool{}
	for _, r := range listed {
		known[strings.ToLower(value(r.Name))] = true
	}
	for _, r := range p.sent[scope] {
		if !known[strings.ToLower(value(r.Name))] {
			listed = append(listed, r)
		}
	}
	return listed
}

// patiently repeats a call that fails because Azure does not know a new principal yet.
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
