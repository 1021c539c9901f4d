package awsiam

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Only our policies that ended sessions are deleted, not those of others whose names begin alike.
func TestCleaningLeavesPoliciesOfOthers(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	s.put(t, alice, "jit-end-of-quarter",
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}}`)
	before, p := s.dump(t), s.open(t, s.config(), time.Now)
	apply(t, p, jit.Ensure, grantOf(jit.Binding{Principal: alice, Role: reader}, "clean"))
	if after := s.dump(t); after != before {
		t.Errorf("the account is\n%s\nwas\n%s", after, before)
	}
}

// A missing role of this account is refused on the principal's side too: anyone who made a role of that name inside
// the window would give it away.
func TestARoleThatIsNotThereOnThePrincipalsSide(t *testing.T) {
	s := newSite(t)
	alice := s.user(t, "alice")
	p, a := s.open(t, s.config(), time.Now), grantOf(jit.Binding{Principal: alice, Role: s.arn("role/none")}, "none")
	err := try(t, p, jit.Ensure, a)[0]
	if err == nil || !strings.Contains(err.Error(), "role: there is no role "+s.arn("role/none")) ||
		!strings.Contains(err.Error(), "aws iam list-roles") {
		t.Errorf("%v, want one that says that the role does not exist", err)
	}
	if all, _ := s.entities(t); len(all[alice].Inline) != 0 {
		t.Errorf("something was written: %v", all[alice].Inline)
	}
}

// If trust_policy was set when a grant was made and is unset now, the grant moves to the principal's side. No statement
// with the old end stays behind.
func TestAGrantThatMovesOutOfTheTrustPolicy(t *testing.T) {
	s := newSite(t)
	alice, deployer := s.user(t, "alice"), s.role(t, "deployer", s.arn("root"))
	trusting := s.config()
	trusting.TrustPolicy = true
	a := grantOf(jit.Binding{Principal: alice, Role: deployer}, "moves")
	apply(t, s.open(t, trusting, time.Now), jit.Ensure, a)
	shorter := a
	shorter.Marker.Window.End = jit.Second(time.Now()).Add(time.Minute)
	p := s.open(t, s.config(), time.Now)
	apply(t, p, jit.Ensure, shorter)
	found, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	if len(found.Ours) != 1 {
		t.Errorf("read %+v, want the grant once", found.Ours)
	}
	s.moments(t, shorter, "sts:AssumeRole", deployer)
}

// A grant that does not fit into the trust policy blocks neither the end of another grant nor grants that fit.
func TestAFullTrustPolicyFailsNobodyElse(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.TrustPolicy = true
	deployer := s.role(t, "deployer", "arn:aws:iam::999999999999:root")
	p := s.open(t, cfg, time.Now)
	over := grantOf(jit.Binding{Principal: s.user(t, "alice"), Role: deployer}, "over")
	apply(t, p, jit.Ensure, over)
	changes := []jit.Change{}
	for i := range 10 { // of about 300 characters each, in 2,048
		changes = append(changes, jit.Change{Op: jit.Ensure,
			Access: grantOf(jit.Binding{Principal: s.user(t, fmt.Sprintf("bob-%d", i)), Role: deployer}, "many")})
	}
	changes = append(changes, jit.Change{Op: jit.Remove, Access: over})
	errs := p.Apply(t.Context(), s.account.ID, changes)
	granted := 0
	for i, c := range changes[:10] {
		if errs[i] == nil {
			granted++
		} else if !strings.Contains(errs[i].Error(), "the trust policy of "+deployer+" would have") {
			t.Errorf("change %d: %v", i, errs[i])
		}
		if got := s.may(t, c.Access.Binding.Principal, "sts:AssumeRole", deployer,
			time.Now()); got != (errs[i] == nil) {
			t.Errorf("change %d: access is given: %t, the error is %v", i, got, errs[i])
		}
	}
	if granted < 4 || granted > 7 {
		t.Errorf("%d of 10 grants were made, want those that fit", granted)
	}
	if errs[10] != nil || s.may(t, over.Binding.Principal, "sts:AssumeRole", deployer, time.Now()) {
		t.Errorf("the ended grant was not removed: %v", errs[10])
	}
}

// A write of a trust policy that got no answer is repeated on the policy of that moment, not as it was first sent.
func TestARepeatedWriteOfATrustPolicyKeepsWhatOthersWrote(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter){
		"unavailable": answer(503, "ServiceUnavailable"), "throttled": answer(400, "Throttling"),
		"broken": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			cfg := s.config()
			cfg.TrustPolicy = true
			deployer, alice := s.role(t, "deployer", "arn:aws:iam::999999999999:root"), s.user(t, "alice")
			var once sync.Once
			s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) (answered bool) {
				if action != "UpdateAssumeRolePolicy" {
					return false
				}
				once.Do(func() {
					answered = true
					role := "deployer"
					document := `{"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::888888888888:root"}, "Action": "sts:AssumeRole"}]}`
					_, _ = s.admin.UpdateAssumeRolePolicy(context.Background(),
						&iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: &document})
				})
				if answered {
					refuse(w)
				}
				return answered
			})
			apply(t, s.open(t, cfg, time.Now), jit.Ensure,
				grantOf(jit.Binding{Principal: alice, Role: deployer}, "again"))
			if all, _ := s.entities(t); !strings.Contains(all[deployer].Trust, "888888888888") ||
				strings.Contains(all[deployer].Trust, "999999999999") {
				t.Errorf("the other writer's statement is lost: %s", all[deployer].Trust)
			}
			if !s.may(t, alice, "sts:AssumeRole", deployer, time.Now()) {
				t.Error("the grant was not made")
			}
		})
	}
}

// The error names a lock that cannot be removed, and retries have pauses.
func TestALockThatCannotBeRemoved(t *testing.T) {
	s := newSite(t)
	if s.strict == nil {
		t.Skip("moto deletes a policy that is attached; the strict server of `make test` refuses, as IAM does")
	}
	cfg := s.config()
	cfg.TrustPolicy = true
	deployer, alice := s.role(t, "deployer", "arn:aws:iam::999999999999:root"), s.user(t, "alice")
	name, path, document := "jit-lock-deployer", "/jit/", lockPolicy
	made, err := s.admin.CreatePolicy(t.Context(),
		&iam.CreatePolicyInput{PolicyName: &name, Path: &path, PolicyDocument: &document})
	must(t, err)
	s.attach(t, alice, *made.Policy.Arn)
	s.mu.Lock()
	s.after = func(action string, answer *http.Response) {
		if action == "GetPolicy" { // the lock was made long ago
			replace(answer, strings.ReplaceAll(string(capture(answer)), time.Now().UTC().Format("2006-01-02T"),
				"2020-01-01T"))
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	a := grantOf(jit.Binding{Principal: alice, Role: deployer}, "stuck")
	err = s.open(t, cfg, time.Now).Apply(ctx, s.account.ID, []jit.Change{{Op: jit.Ensure, Access: a}})[0]
	if err == nil || !strings.Contains(err.Error(), *made.Policy.Arn) ||
		!strings.Contains(err.Error(), "DeleteConflict") {
		t.Errorf("%v, want one that names the lock and says why it cannot be removed", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.calls["DeletePolicy"]; n > 10 {
		t.Errorf("%d removals of the lock failed", n)
	}
}

// A read of a role that is older than our writes does not restore statements that they removed.
func TestAnOldReadOfARoleBringsNothingBack(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.TrustPolicy = true
	deployer, alice, bob := s.role(t, "deployer", "arn:aws:iam::999999999999:root"), s.user(t, "alice"),
		s.user(t, "bob")
	p := s.open(t, cfg, time.Now)
	p.settling = settling
	ended, next := grantOf(jit.Binding{Principal: alice, Role: deployer}, "ended"),
		grantOf(jit.Binding{Principal: bob, Role: deployer}, "next")
	apply(t, p, jit.Ensure, ended)
	var old string
	s.mu.Lock()
	s.after = func(action string, answer *http.Response) {
		if action == "GetRole" && old == "" {
			old = string(capture(answer))
		}
	}
	s.mu.Unlock()
	apply(t, p, jit.Remove, ended)
	lag := 1
	s.mu.Lock()
	s.after = func(action string, answer *http.Response) {
		if action == "GetRole" && lag > 0 {
			lag--
			replace(answer, old)
		}
	}
	s.mu.Unlock()
	apply(t, p, jit.Ensure, next)
	if s.may(t, alice, "sts:AssumeRole", deployer, time.Now()) {
		t.Error("the grant that was ended is back")
	}
	if !s.may(t, bob, "sts:AssumeRole", deployer, time.Now()) {
		t.Error("the next grant was not made")
	}
}

// A read that is older than several of our writes is corrected too.
func TestAReadThatIsOlderThanTwoWrites(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	p := s.open(t, s.config(), time.Now)
	p.settling = settling
	body := s.raw(t)
	a := grantOf(jit.Binding{Principal: alice, Role: reader}, "twice")
	apply(t, p, jit.Ensure, a)
	longer := a
	longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	apply(t, p, jit.Ensure, longer)
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
		if action != "GetAccountAuthorizationDetails" {
			return false
		}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write(body)
		return true
	})
	found, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	if len(found.Ours) != 1 || !found.Ours[0].End.Equal(longer.Marker.Window.End) {
		t.Errorf("read %+v, want the grant with its second end", found.Ours)
	}
}

// A Remove deletes the grant's managed policy even if its read is too old to show it.
func TestRemovingAManagedPolicyThatAReadDoesNotShow(t *testing.T) {
	s := newSite(t)
	alice, middling := s.user(t, "alice"), s.policy(t, "Middling", large(9))
	body, before := s.raw(t), s.dump(t)
	a := grantOf(jit.Binding{Principal: alice, Role: middling}, "unseen")
	apply(t, s.open(t, s.config(), time.Now), jit.Ensure, a)
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
		if action != "GetAccountAuthorizationDetails" {
			return false
		}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write(body)
		return true
	})
	apply(t, s.open(t, s.config(), time.Now), jit.Remove, a)
	s.intercept(nil)
	all, policies := s.entities(t)
	if len(all[alice].Attached) != 0 || len(policies) != 1 {
		t.Errorf("left are %v and %d policies", all[alice].Attached, len(policies))
	}
	if after := s.dump(t); after != before {
		t.Errorf("the account is\n%s\nwas\n%s", after, before)
	}
}

// The error of an attachment does not blame the principal if a part of AWS does not know our new policy yet.
func TestAPolicyThatCannotBeAttachedYet(t *testing.T) {
	s := newSite(t)
	alice, middling := s.user(t, "alice"), s.policy(t, "Middling", large(9))
	refusals := 2
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if action != "AttachUserPolicy" || refusals == 0 {
			return false
		}
		refusals--
		fail(w, http.StatusNotFound, "NoSuchEntity",
			"Policy "+form.Get("PolicyArn")+" does not exist or is not attachable.")
		return true
	})
	a := grantOf(jit.Binding{Principal: alice, Role: middling}, "yet")
	apply(t, s.open(t, s.config(), time.Now), jit.Ensure, a)
	s.moments(t, a, "s3:GetObject", bucket+"/key")
}

// Comparing patterns with many wildcards is fast.
func TestPatternsWithManyWildcards(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pattern, text := strings.Repeat("*a", 30)+"b", strings.Repeat("a", 200)
		if covers(pattern, text) || overlap(pattern, text) || overlap(text+"*c", pattern) {
			t.Error("a match is reported where there is none")
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("comparing takes too long")
	}
}

// A trust policy that could never be written is reported as an error.
func TestATrustPolicyThatIsNeverWritten(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.TrustPolicy = true
	deployer, alice := s.role(t, "deployer", "arn:aws:iam::999999999999:root"), s.user(t, "alice")
	a, p := grantOf(jit.Binding{Principal: alice, Role: deployer}, "never"), s.open(t, cfg, time.Now)
	apply(t, p, jit.Ensure, a)
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
		if action == "UpdateAssumeRolePolicy" {
			answer(409, "ConcurrentModification")(w)
		}
		return action == "UpdateAssumeRolePolicy"
	})
	if err := try(t, p, jit.Remove, a)[0]; err == nil ||
		!strings.Contains(err.Error(), "write the trust policy of "+deployer) {
		t.Errorf("%v, want one that says that the policy could not be written", err)
	}
}
