package awsidentitycenter

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/time/rate"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

const (
	aliceID, bobID, oncallID = "906700aaaa-11111111-2222-3333-4444-555555555555",
		"906700aaaa-bbbbbbbb-2222-3333-4444-555555555555", "0b1c2d3e-cccc-3333-4444-555555555555"
	readOnly, admin = "arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-1111111111111111",
		"arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-2222222222222222"
	production, suspended = "123456789012", "210987654321"
)

// site is a model with claims.
type site struct {
	*model
	// marks are the claims of every process; nil means those of the ledger.
	marks         jit.Claims
	ledger        string
	reads, writes atomic.Int64
	// hurry removes the spacing of calls and shortens ticks and pauses.
	hurry bool
}

func newSite(t testing.TB) *site {
	t.Helper()
	m := newModel(operator(t))
	m.users[aliceID], m.users[bobID], m.groups[oncallID] = "alice@example.com", "bob@example.com", "On call"
	m.sets[readOnly], m.sets[admin] = set{"ReadOnly", "PT1H"}, set{"Admin", "PT8H"}
	m.sets["arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-3333333333333333"] = set{"Billing", "PT12H"}
	m.accounts[production], m.accounts[suspended] = "ACTIVE", "SUSPENDED"
	return &site{model: m, marks: &jittest.Claims{}, ledger: "sqlite://" + filepath.Join(t.TempDir(), "ledger.db"),
		hurry: true}
}

// operator returns the actions of the guide's policy.
func operator(t testing.TB) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("operator.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	permitted := map[string]bool{}
	for _, s := range policy.Statement {
		for _, action := range s.Action {
			permitted[action] = true
		}
	}
	return permitted
}

// open opens the platform as a new process does.
func (s *site) open(t testing.TB) *Platform { return s.openAt(t, time.Now) }

func (s *site) openAt(t testing.TB, now func() time.Time) *Platform {
	t.Helper()
	p, err := New(Config{}, jit.Services{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	p.load = func(context.Context) (aws.Config, error) {
		return aws.Config{
			Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
			HTTPClient: s.model,
			Retryer: func() aws.Retryer {
				return retry.NewStandard(func(o *retry.StandardOptions) {
					o.MaxAttempts = 4
					if s.hurry {
						o.MaxBackoff = 5 * time.Millisecond
					}
				})
			},
		}, nil
	}
	if s.hurry {
		p.pace = pace{limit: rate.NewLimiter(rate.Inf, 1), tick: 2 * time.Millisecond, patience: 20 * time.Second,
			lag: max(200*time.Millisecond, 2*s.lag)}
	}
	p.watch.OnCall = func(operation string) {
		if operation == "CreateAccountAssignment" || operation == "DeleteAccountAssignment" {
			s.writes.Add(1)
		} else {
			s.reads.Add(1)
		}
	}
	if s.marks != nil {
		p.ledger = s.marks
		return p
	}
	l, err := ledger.Open(t.Context(), ledger.Config{URL: s.ledger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	p.ledger = l.Claims()
	return p
}

// with locks the model.
func (s *site) with(do func(m *model)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(time.Now())
	do(s.model)
}

// resolve returns the assignment of a binding, with the ids of the directory.
func (s *site) resolve(t testing.TB, b jit.Binding) assignment {
	t.Helper()
	a := assignment{account: b.Scope, kind: "USER"}
	for arn, set := range s.sets {
		if b.Role == arn || b.Role == set.name {
			a.set = arn
		}
	}
	name, isUser := strings.CutPrefix(b.Principal, "user:")
	all := s.users
	if !isUser {
		a.kind, all = "GROUP", s.groups
		name = strings.TrimPrefix(b.Principal, "group:")
	}
	for id, is := range all {
		if name == id || name == is {
			a.id = id
		}
	}
	if a.set == "" || a.id == "" {
		t.Fatalf("the site has no %+v", b)
	}
	return a
}

// allowed decides whether the principal gets into the account with the permission set now.
func (s *site) allowed(t testing.TB, b jit.Binding) (yes bool) {
	t.Helper()
	a := s.resolve(t, b)
	s.with(func(m *model) { yes = m.assignments[a] != nil })
	return yes
}

// wants fails the test unless the binding's access is as wanted.
func (s *site) wants(t testing.TB, b jit.Binding, want bool, when string) {
	t.Helper()
	if got := s.allowed(t, b); got != want {
		t.Errorf("%s: %s has access to %s with %s: %t, want %t", when, b.Principal, b.Scope, b.Role, got, want)
	}
}

// foreign gives access as somebody else would; take removes it.
func (s *site) foreign(t testing.TB, b jit.Binding) {
	t.Helper()
	a := s.resolve(t, b)
	s.with(func(m *model) {
		m.serial++
		m.put(a, &origin{m.serial, true})
	})
}

func (s *site) take(t testing.TB, b jit.Binding) {
	t.Helper()
	a := s.resolve(t, b)
	s.with(func(m *model) { m.removed(a) })
}

// removed removes an assignment as somebody else would, by a request.
func (m *model) removed(a assignment) {
	m.requests = append(m.requests, &asked{id: fmt.Sprintf("request-%d", len(m.requests)+1), remove: true, what: a,
		since: time.Now(), status: "SUCCEEDED"})
	m.put(a, nil)
}

// dump lists every assignment of others; one that was made again has a new number.
func (s *site) dump() string {
	var all []string
	s.with(func(m *model) {
		for a, o := range m.assignments {
			if o.foreign {
				all = append(all, fmt.Sprintf("%d %+v", o.serial, a))
			}
		}
	})
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// access is a grant that has begun.
func access(b jit.Binding, why string) jit.Access {
	start := jit.Second(time.Now()).Add(-time.Minute)
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "team", ID: jit.NewID("team", b, why, 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
}

// alice is a binding of the user alice.
func alice() jit.Binding {
	return jit.Binding{Target: "directory", Principal: "user:alice@example.com", Role: "ReadOnly", Scope: production}
}

func ensure(all ...jit.Access) []jit.Change { return changes(jit.Ensure, all) }
func remove(all ...jit.Access) []jit.Change { return changes(jit.Remove, all) }

func changes(op jit.Op, all []jit.Access) []jit.Change {
	made := make([]jit.Change, len(all))
	for i, a := range all {
		made[i] = jit.Change{Op: op, Access: a}
	}
	return made
}

// apply makes changes that must succeed. Any goroutine may call it.
func apply(t testing.TB, p *Platform, all ...jit.Change) {
	t.Helper()
	for i, err := range p.Apply(t.Context(), production, all) {
		if err != nil {
			t.Errorf("change %d (%s): %v", i, all[i].Op, err)
		}
	}
}

// ours are the markers that the platform reads.
func ours(t testing.TB, p *Platform) []jit.Observed {
	t.Helper()
	snap, err := p.Read(t.Context(), production)
	if err != nil {
		t.Fatal(err)
	}
	return snap.Ours
}

// marked are the claims of the account.
func marked(t testing.TB, p *Platform) []jit.Claim {
	t.Helper()
	all, err := p.ledger.ReadClaims(t.Context(), modelInstance, production)
	if err != nil {
		t.Fatal(err)
	}
	return all.Claims
}
