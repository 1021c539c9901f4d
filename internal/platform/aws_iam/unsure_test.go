package awsiam

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// loses makes the server carry out the requests of the actions and lose every answer to them.
func (s *site) loses(actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = func(action string, answer *http.Response) {
		if slices.Contains(actions, action) {
			replace(answer, "")
			answer.StatusCode = http.StatusInternalServerError
		}
	}
}

// refuses makes the server refuse the actions.
func (s *site) refuses(actions ...string) {
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
		if slices.Contains(actions, action) {
			fail(w, http.StatusForbidden, "AccessDenied", "User: operator is not authorized to perform: iam:"+action)
			return true
		}
		return false
	})
}

// A grant whose write was carried out without a confirmation is not forgotten, whether reads show it or lag behind:
// the error says that it may be in force, and revoking it ends it.
func TestAGrantWithoutAnAnswerMayBeInForce(t *testing.T) {
	for _, form := range []string{"inline", "trust"} {
		for name, lag := range map[string]time.Duration{"seen": 0, "unseen": time.Hour} {
			t.Run(form+" "+name, func(t *testing.T) {
				s := newSite(t)
				if s.strict == nil {
					t.Skip("the strict server of `make test` has reads that lag")
				}
				alice, role := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
				cfg, action, resource := s.config(), "s3:GetObject", bucket+"/key"
				if form == "trust" {
					cfg.TrustPolicy = true
					role = s.role(t, "deployer", "arn:aws:iam::999999999999:root")
					action, resource = "sts:AssumeRole", role
				}
				d := s.desk(t, cfg, &jittest.Ledger{})
				asked := d.request(alice, role)
				s.strict.lagRoles = true
				s.strict.slow(lag)
				s.loses("PutUserPolicy", "UpdateAssumeRolePolicy")
				_, err := d.broker.Grant(t.Context(), asked)
				id := jit.NewID("payments", asked.Binding, asked.Reason, 1)
				if form == "trust" && lag == 0 && err == nil {
					return // the read after the write shows it, so it was granted
				}
				if err == nil || !strings.Contains(err.Error(), "may be in force: `jit revoke "+string(id)) {
					t.Errorf("%v, want one that says that the access may be in force", err)
				}
				s.strict.slow(0)
				if !s.may(t, alice, action, resource, time.Now()) {
					t.Fatal("the write was not carried out")
				}
				g := d.recorded(id)
				if g.Failed() || !g.Live(time.Now()) {
					t.Errorf("the record says that nothing was given: %+v", g)
				}
				s.loses()
				d.revoke(g)
				if s.may(t, alice, action, resource, time.Now()) {
					t.Error("access is left after the revocation")
				}
			})
		}
	}
}

// A refused write is known to have given nothing.
func TestARefusedGrantHasFailed(t *testing.T) {
	s := newSite(t)
	alice, role := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	d := s.desk(t, s.config(), &jittest.Ledger{})
	s.refuses("PutUserPolicy")
	asked := d.request(alice, role)
	_, err := d.broker.Grant(t.Context(), asked)
	if err == nil || strings.Contains(err.Error(), "may be in force") {
		t.Errorf("%v, want a plain refusal", err)
	}
	if g := d.recorded(jit.NewID("payments", asked.Binding, asked.Reason, 1)); !g.Failed() {
		t.Errorf("the record is %+v, want a failed one", g)
	}
}

// A managed policy that cannot be attached is removed again, also if it was attached and only the answer was lost.
func TestAPolicyThatCannotBeAttachedIsRemoved(t *testing.T) {
	for name, breakIt := range map[string]func(*site){
		"refused": func(s *site) { s.refuses("AttachUserPolicy") },
		"lost":    func(s *site) { s.loses("AttachUserPolicy") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			alice, role := s.user(t, "alice"), s.policy(t, "Middling", large(9))
			d := s.desk(t, s.config(), &jittest.Ledger{})
			breakIt(s)
			if _, err := d.broker.Grant(t.Context(), d.request(alice, role)); err == nil {
				t.Fatal("the grant succeeded")
			}
			if _, policies := s.entities(t); len(policies) != 1 {
				t.Errorf("a policy is left: %v", policies)
			}
			if s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
				t.Error("access is left")
			}
			d.quiet("afterwards")
		})
	}
}

// If the policy cannot be removed either, it gives nobody access: adopting does not fail on it, and a sweep that may
// removes it.
func TestAPolicyThatIsLeftUnattached(t *testing.T) {
	s := newSite(t)
	alice, role := s.user(t, "alice"), s.policy(t, "Middling", large(9))
	d := s.desk(t, s.config(), &jittest.Ledger{})
	d.platform.settling = 0
	s.refuses("AttachUserPolicy", "DeletePolicy")
	if _, err := d.broker.Grant(t.Context(), d.request(alice, role)); err == nil {
		t.Fatal("the grant succeeded")
	}
	s.intercept(nil)
	if _, policies := s.entities(t); len(policies) != 2 {
		t.Fatalf("the policies are %v, want one that is left", policies)
	}
	lost := s.desk(t, s.config(), &jittest.Ledger{})
	snap, err := lost.platform.Read(t.Context(), s.account.ID)
	must(t, err)
	grants, refused, err := lost.broker.Unrecorded(t.Context(),
		map[jit.Place]jit.Snapshot{{Target: "prod", Scope: s.account.ID}: snap})
	if err != nil || len(grants)+len(refused) != 0 {
		t.Errorf("without the ledger: %v, %v, %v; want nothing to record", grants, refused, err)
	}
	d.platform.settling = 0 // a minute later
	d.sweep()
	if _, policies := s.entities(t); len(policies) != 1 {
		t.Errorf("the sweep left %v", policies)
	}
}

// A write is in doubt if one of its requests got no answer or a fault of the service, and not if it was refused or
// never sent.
func TestDoubt(t *testing.T) {
	for name, tt := range map[string]struct {
		break1 func(*site)
		want   bool
	}{
		"done":    {func(*site) {}, false},
		"refused": {func(s *site) { s.refuses("PutUserPolicy") }, false},
		"faulty":  {func(s *site) { s.loses("PutUserPolicy") }, true},
		"cut": {func(s *site) {
			s.intercept(func(http.ResponseWriter, *http.Request, string, url.Values) bool { panic(http.ErrAbortHandler) })
		}, true},
		"a read": {func(s *site) { s.loses("GetAccountSummary") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.user(t, "alice")
			p := s.open(t, s.config(), time.Now)
			c, err := p.client(t.Context())
			must(t, err)
			ctx, unsure := awsconfig.Doubt(t.Context())
			tt.break1(s)
			_, _ = c.quota(ctx, limit{}, 1)
			_ = c.putInline(ctx, arn{kind: user, name: "alice"}, "p", readerDocument)
			if unsure() != tt.want {
				t.Errorf("in doubt: %t, want %t", unsure(), tt.want)
			}
		})
	}
}
