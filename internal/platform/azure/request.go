package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	if s.waits == "" {
		sure, err = m.change(ctx, scope, s, want)
		if code := codeOf(err); s.gone && len(want) == 0 && (code == principalMissing || code == subjectMissing) {
			return true, nil // nobody has the access any more
		}
		return sure, err
	}
	begun, err := m.cancel(ctx, scope, s.waits)
	now := *s
	now.start, now.waits = time.Time{}, ""
	switch {
	case err != nil:
		return false, err
	case begun:
		return m.change(ctx, scope, &now, want)
	case len(want) == 0:
		return false, nil
	}
	now.there, now.claims = false, nil
	now.orphans = slices.DeleteFunc(slices.Clone(s.claims), func(c claim) bool { return !holds(want, c.marker) })
	m.owed.Store(s.key, &now)
	if _, err = m.change(ctx, scope, &now, want); errors.Is(err, errRace) {
		return false, err
	}
	m.owed.Delete(s.key)
	if err == nil || len(now.orphans) == 0 {
		return false, err
	}
	back, stop := context.WithTimeout(context.WithoutCancel(ctx), m.platform.pace.patience)
	defer stop()
	_, lost := m.change(back, scope, &now, now.orphans) // what was there before
	return false, errors.Join(err, lost)
}

// change makes the requests that leave the claims wanted on a slot whose access has begun, or that is empty.
func (m pim) change(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error) {
	asks, err := m.asks(s, want)
	if err != nil {
		return false, err
	}
	for _, a := range asks {
		err = m.submit(ctx, scope, s, a)
		if a.kind == armauthorization.RequestTypeAdminUpdate && codeOf(err) == assignmentAbsent {
			// Somebody ended it, and with it the claims that were on it.
			gone, left := *s, without(want, s.claims)
			if gone.there, gone.claims = false, nil; len(left) == 0 {
				return false, race(err)
			}
			return m.change(ctx, scope, &gone, left)
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
	now, start := jit.Second(m.platform.serviceNow()), firstStart(want)
	next := ask{kind: armauthorization.RequestTypeAdminUpdate, end: s.end}
	if left := without(given, want); len(want) == 0 || len(left) > 0 && start.Sub(now) > moved {
		// PIM cannot move the beginning of access that has begun. The claims that stay are orphans until the next
		// round.
		asks := next.split(words(nil, left))
		if n := len(asks); n > 0 {
			asks[n-1].kind = armauthorization.RequestTypeAdminRemove
		}
		return asks, nil
	}
	ended := slices.DeleteFunc(slices.Clone(given), func(c claim) bool { return holds(want, c.marker) })
	text := words(without(want, given), ended)
	if len(text) == 0 {
		text = words(want[:1], nil)
	}
	if next.end = lastEnd(want); s.there {
		return next.split(text), nil
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
	asks := next.split(text)
	asks[0].kind, asks[0].start = armauthorization.RequestTypeAdminAssign, start
	return asks, nil
}

// split makes as many requests as the words need.
func (a ask) split(text []string) []ask {
	var asks []ask
	for chunk := range slices.Chunk(text, together) {
		a.words = chunk
		asks = append(asks, a)
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
		if err != nil && m.took(ctx, scope, name, err) {
			made, err = &request{Name: &name}, nil
		}
		if err == nil {
			return m.await(ctx, scope, s, made)
		}
		age := m.platform.serviceNow().Sub(s.since)
		code := codeOf(err)
		switch tooSoon := a.tooSoon(code, age); {
		case (young || tooSoon) && ctx.Err() != nil:
			return tooYoung(ctx.Err())
		case tooSoon:
			young = young || code == durationTooShort
			tick := m.platform.pace.tick
			if err := backoff.Sleep(ctx, min(max(shortest-age, tick/2), tick)); err != nil {
				return tooYoung(err)
			}
		case a.outrun(code):
			return race(err)
		default:
			return err
		}
	}
}

// tooSoon reports whether PIM does not take an assignment back yet; it may not even find it in its first minutes.
func (a ask) tooSoon(code string, age time.Duration) bool {
	return a.kind == armauthorization.RequestTypeAdminRemove &&
		(code == durationTooShort || code == assignmentAbsent && age >= 0 && age < shortest)
}

// outrun reports whether the assignment has changed since it was read, or a read does not show its state.
func (a ask) outrun(code string) bool {
	switch code {
	case assignmentAbsent:
		return a.kind == armauthorization.RequestTypeAdminRemove
	case assignmentExists:
		return a.kind == armauthorization.RequestTypeAdminAssign
	}
	return code == requestPending
}

// took reports whether PIM took a request although the last answer does not say so: an earlier answer was lost.
func (m pim) took(ctx context.Context, scope, name string, err error) bool {
	if codeOf(err) == requestExists {
		return true // nobody else knows the name
	}
	if status := answerOf(err).StatusCode; ctx.Err() != nil || status != 0 && status < http.StatusInternalServerError {
		return false
	}
	_, err = m.requests.Get(ctx, scope, name, nil)
	return err == nil
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
	r, err := m.follow(ctx, scope, r, carriedOut)
	if err != nil {
		return err
	}
	if refused[value(r.Properties.Status)] {
		return &jit.Error{
			Problem: fmt.Sprintf("PIM accepted the request %s but did not carry it out: its state is %s",
				value(r.Name), value(r.Properties.Status)),
			Hint: "the portal shows why under Privileged Identity Management, Azure resources, Resource audit",
		}
	}
	who := principalOf(&s.principal, r.Properties.PrincipalType)
	_, known := principalTypes[who.kind]
	if !known || who.kind == s.who.kind || value(r.Properties.RequestType) != armauthorization.RequestTypeAdminAssign {
		return nil
	}
	other := otherKind(s.who, who)
	if err := m.takeBack(ctx, scope, s, r); err != nil {
		// Without an attribute and a kind, so that nobody takes the grant for refused.
		return &jit.Error{Hint: "the next sweep tries again", Problem: fmt.Sprintf(
			"PIM has given access to %s, which is still there: %v", who, explain(ctx, "take it back", err))}
	}
	return other
}

// takeBack takes back the access of a request that PIM has carried out.
func (m pim) takeBack(ctx context.Context, scope string, s *slot, r *request) error {
	given := *s
	given.there, given.since = true, m.platform.serviceNow()
	given.claims = parseText(value(r.Properties.Justification)).claims
	if info := r.Properties.ScheduleInfo; info != nil && value(info.StartDateTime).After(given.since) {
		given.waits = value(r.Name)
	}
	_, err := m.write(ctx, scope, &given, nil)
	return err
}

// cancel takes back a request that PIM has not begun to carry out. begun is true if it has begun meanwhile. The error
// wraps errRace if somebody else cancelled it.
func (m pim) cancel(ctx context.Context, scope, name string) (begun bool, err error) {
	_, err = m.requests.Cancel(ctx, scope, name, nil)
	switch {
	case err == nil:
		_, err = m.follow(ctx, scope, &request{Name: &name},
			map[armauthorization.Status]bool{armauthorization.StatusCanceled: true})
		return false, err
	case isGone(err):
		return false, race(&jit.Error{Problem: fmt.Sprintf("PIM does not find the request %s to cancel it", name),
			Hint: "apply again in some minutes"})
	case codeOf(err) != notCancellable:
		return false, err
	}
	found, gone := m.requests.Get(ctx, scope, name, nil)
	if gone != nil || found.Properties == nil || value(found.Properties.Status) != armauthorization.StatusProvisioned {
		return false, race(err)
	}
	return true, nil
}

// follow reads a request until its state is among those or is a refusal, for as long as patience allows. The service
// may not find a request that was made just now.
func (m pim) follow(
	ctx context.Context, scope string, r *request, until map[armauthorization.Status]bool,
) (*request, error) {
	for end, known := time.Now().Add(m.platform.pace.patience), r.Properties != nil; ; known = true {
		if r.Properties != nil {
			m.platform.keepSent(scope, r)
			status := value(r.Properties.Status)
			if until[status] || refused[status] {
				return r, nil
			}
			if time.Now().After(end) {
				return nil, undecided(value(r.Name), "its status is still "+jit.Said(string(status)))
			}
		}
		if known {
			if err := backoff.Sleep(ctx, m.platform.pace.tick/5); err != nil {
				return nil, fmt.Errorf("wait for the request %s: %w", value(r.Name), err)
			}
		}
		polled, err := m.requests.Get(ctx, scope, value(r.Name), nil)
		switch {
		case isGone(err) && time.Now().Before(end):
		case isGone(err):
			return nil, undecided(value(r.Name), "PIM does not find it")
		case err != nil:
			return nil, err
		default:
			r = &polled.RoleAssignmentScheduleRequest
		}
	}
}

// undecided says that PIM has neither carried out nor refused a request.
func undecided(name, why string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("PIM accepted the request %s, and %s; it may still be carried out", name, why),
		Hint: "apply again in some minutes; the portal shows the request under Privileged Identity Management, " +
			"Azure resources, Resource audit",
	}
}

// sentRequest is a request as we saw it at a time.
type sentRequest struct {
	*request
	at time.Time
}

// keepSent remembers a request for as long as lists may lack it, or its cancellation.
func (p *Platform) keepSent(scope string, r *request) {
	at := p.serviceNow()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[scope] = append(slices.DeleteFunc(p.sent[scope], func(s sentRequest) bool {
		return baseName(s.Name) == baseName(r.Name)
	}), sentRequest{r, at})
}

// withSent adds our own requests, and the cancellations, that a list still lacks.
func (p *Platform) withSent(scope string, listed []*request, now time.Time) []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[scope] = slices.DeleteFunc(p.sent[scope], func(s sentRequest) bool { return now.Sub(s.at) > lag })
	known := map[string]int{}
	for i, r := range listed {
		known[baseName(r.Name)] = i
	}
	for _, s := range p.sent[scope] {
		i, ok := known[baseName(s.Name)]
		switch {
		case !ok:
			listed = append(listed, s.request)
		case value(s.Properties.Status) == armauthorization.StatusCanceled:
			listed[i] = s.request
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
