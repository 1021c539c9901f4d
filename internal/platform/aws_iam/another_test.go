package awsiam

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// The grant of a user who was deleted is over: neither a plan nor an apply repairs it, a sweep ends it, and a user made
// anew under the name gets nothing.
func TestTheGrantOfADeletedUserIsOver(t *testing.T) {
	for _, form := range []string{"inline", "managed", "trust"} {
		for _, anew := range []bool{false, true} {
			for _, ahead := range []time.Duration{0, time.Hour} { // a grant that has not begun too
				t.Run(form, func(t *testing.T) { deletedUser(t, form, anew, ahead) })
			}
		}
	}
}

func deletedUser(t *testing.T, form string, anew bool, ahead time.Duration) {
	s := newSite(t)
	if s.strict == nil {
		t.Skip("the times of users are those of the strict server of `make test`")
	}
	w := s.writtenAs(t, form)
	ledger := &jittest.Ledger{}
	d := s.desk(t, w.cfg, ledger)
	d.platform.settling = 0
	asked := d.request(w.access.Binding.Principal, w.access.Binding.Role)
	if ahead > 0 {
		asked.StartsAt = jit.Second(time.Now()).Add(ahead)
	}
	g, err := d.broker.Grant(t.Context(), asked)
	must(t, err)
	s.remakes(t, "alice", anew)
	given := func(when string) {
		t.Helper()
		for _, at := range []time.Time{time.Now(), time.Now().Add(ahead + time.Minute)} {
			if anew && s.may(t, g.Principal, w.action, w.resource, at) {
				t.Errorf("%s the new user has the old one's access", when)
			}
		}
	}
	given("at first")
	later := func() *desk {
		next := d.another()
		now := func() time.Time { return time.Now().Add(2 * jit.MaxSkew) }
		next.platform.now = now
		return next
	}
	if drift, err := later().broker.Observe(t.Context(), g); err != nil || ahead == 0 && drift != "" {
		t.Errorf("a plan would repair %q, %v", drift, err)
	}
	change := []jit.Change{{Op: jit.Ensure, Access: g.Access(), Held: true, GrantedAt: g.GrantedAt}}
	if err := later().platform.Apply(t.Context(), s.account.ID, change)[0]; !errors.Is(err, jit.ErrAnother) ||
		!strings.Contains(err.Error(), "was deleted or renamed after the grant was given") {
		t.Errorf("the platform repairs it: %v", err)
	}
	given("after a repair")
	if ahead > 0 {
		return // it is not looked at before it begins
	}
	if r := later().sweep()[g.ID]; r.Kind != reconcile.Revoke || r.Drift != jit.DriftGone {
		t.Errorf("the sweep did %s, %s; want the end of the grant", r.Kind, r.Drift)
	}
	later().quiet("afterwards")
	given("after a sweep")
	if d.recorded(g.ID).EndedAt.IsZero() {
		t.Error("the end is not recorded")
	}
}

// remakes deletes a user, as IAM asks with the policies first, and makes another one of the name a while later.
func (s *site) remakes(t *testing.T, name string, anew bool) {
	t.Helper()
	all, _ := s.entities(t)
	user := s.arn("user/" + name)
	for policy := range all[user].Inline {
		s.drop(t, user, policy)
	}
	for _, policy := range all[user].Attached {
		_, err := s.admin.DetachUserPolicy(t.Context(), &iam.DetachUserPolicyInput{UserName: &name, PolicyArn: &policy})
		must(t, err)
	}
	_, err := s.admin.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
	must(t, err)
	if anew {
		s.user(t, name)
		s.strict.entities["user/"+name].created = time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	}
}

// A user whom a read does not show yet was not deleted.
func TestAUserWhomNoReadShowsYet(t *testing.T) {
	s := newSite(t)
	if s.strict == nil {
		t.Skip("the strict server of `make test` has reads that lag")
	}
	reader := s.policy(t, "Reader", readerDocument)
	was := s.strict.clone()
	alice := s.user(t, "alice")
	d := s.desk(t, s.config(), &jittest.Ledger{})
	g, err := d.broker.Grant(t.Context(), d.request(alice, reader))
	must(t, err)
	s.strict.behind(was, time.Hour)
	d.another().quiet("right after the grant")
	change := []jit.Change{{Op: jit.Ensure, Access: g.Access(), Held: true, GrantedAt: g.GrantedAt}}
	err = d.another().platform.Apply(t.Context(), s.account.ID, change)[0]
	if errors.Is(err, jit.ErrAnother) || err == nil || !strings.Contains(err.Error(), "there is no user") {
		t.Errorf("%v, want one that says that there is no user", err)
	}
	if !s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Error("the access is gone")
	}
}
