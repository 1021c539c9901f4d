package awsiam

import (
	"context"
	"errors"
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

// stormy answers each distinct request with the faults first and then lets it through.
func (s *site) stormy(only func(action string) bool, faults ...func(http.ResponseWriter)) {
	var mu sync.Mutex
	met := map[string]int{}
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
		mu.Lock()
		key := action + form.Get("PolicyName") + form.Get("RoleName")
		n := met[key]
		met[key]++
		mu.Unlock()
		if only != nil && !only(action) || n >= len(faults) {
			return false
		}
		faults[n](w)
		return true
	})
}

func answer(status int, code string, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		fail(w, status, code, "not now")
	}
}

// Temporary faults of every kind only delay a change.
func TestStorms(t *testing.T) {
	for name, storm := range map[string]struct {
		only   func(string) bool
		faults []func(http.ResponseWriter)
	}{
		"throttled": {nil,
			[]func(http.ResponseWriter){answer(400, "Throttling"), answer(400, "Throttling")}},
		"too many requests": {nil,
			[]func(http.ResponseWriter){answer(429, "TooManyRequests", "Retry-After", "1")}},
		"unavailable": {nil,
			[]func(http.ResponseWriter){answer(503, "ServiceUnavailable", "Retry-After", "1"),
				answer(500, "ServiceFailure")}},
		"concurrent modification": {func(a string) bool { return !isRead(a) },
			[]func(http.ResponseWriter){answer(409, "ConcurrentModification"), answer(409, "ConcurrentModification"),
				answer(409, "ConcurrentModification")}},
		"an entity under change": {func(a string) bool { return !isRead(a) },
			[]func(http.ResponseWriter){answer(409, "EntityTemporarilyUnmodifiable")}},
		"a connection that is broken": {nil,
			[]func(http.ResponseWriter){func(http.ResponseWriter) { panic(http.ErrAbortHandler) }}},
	} {
		for _, trust := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, trust %t", name, trust), func(t *testing.T) {
				s := newSite(t)
				cfg := s.config()
				cfg.TrustPolicy = trust
				alice, deployer := s.user(t, "alice"), s.role(t, "deployer", "arn:aws:iam::999999999999:root")
				if !trust {
					deployer = s.policy(t, "Reader", readerDocument)
				}
				action, resource := "s3:GetObject", bucket+"/key"
				if trust {
					action, resource = "sts:AssumeRole", deployer
				}
				before, p := s.dump(t), s.open(t, cfg, time.Now)
				a := grantOf(jit.Binding{Principal: alice, Role: deployer}, name)
				s.stormy(storm.only, storm.faults...)
				apply(t, p, jit.Ensure, a)
				s.moments(t, a, action, resource)
				s.stormy(storm.only, storm.faults...)
				apply(t, p, jit.Remove, a)
				if s.may(t, alice, action, resource, time.Now()) {
					t.Error("access is left")
				}
				if after := s.dump(t); after != before {
					t.Errorf("the account is\n%s\nwas\n%s", after, before)
				}
			})
		}
	}
}

// A lost answer to any write does not change the outcome.
func TestLostAnswers(t *testing.T) {
	for _, form := range []string{"inline", "managed", "trust"} {
		t.Run(form, func(t *testing.T) {
			s := newSite(t)
			cfg := s.config()
			cfg.TrustPolicy = form == "trust"
			alice := s.user(t, "alice")
			role, action, resource := s.policy(t, "Reader", readerDocument), "s3:GetObject", bucket+"/key"
			switch form {
			case "managed":
				role = s.policy(t, "Middling", large(9))
			case "trust":
				role = s.role(t, "deployer", "arn:aws:iam::999999999999:root")
				action, resource = "sts:AssumeRole", role
			}
			before, p := s.dump(t), s.open(t, cfg, time.Now)
			a := grantOf(jit.Binding{Principal: alice, Role: role}, form)
			lost := map[string]bool{}
			s.mu.Lock()
			s.after = func(action string, answer *http.Response) {
				s.mu.Lock()
				defer s.mu.Unlock()
				if isRead(action) || lost[action] || answer.StatusCode != http.StatusOK {
					return
				}
				lost[action] = true
				answer.StatusCode = http.StatusBadGateway
			}
			s.mu.Unlock()
			apply(t, p, jit.Ensure, a)
			s.moments(t, a, action, resource)
			a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
			apply(t, p, jit.Ensure, a)
			s.moments(t, a, action, resource)
			apply(t, p, jit.Remove, a)
			if s.may(t, alice, action, resource, time.Now()) {
				t.Error("access is left")
			}
			if after := s.dump(t); after != before {
				t.Errorf("the account is\n%s\nwas\n%s", after, before)
			}
			if _, policies := s.entities(t); len(policies) != map[string]int{"inline": 1, "managed": 2,
				"trust": 1}[form] {
				t.Errorf("policies are left: %v", policies)
			}
			if len(lost) < 2 {
				t.Errorf("only answers of %v were lost", lost)
			}
		})
	}
}

// AWS refuses half of a batch, and the other half is granted.
func TestHalfTheBatchIsInvalid(t *testing.T) {
	for _, trust := range []bool{false, true} {
		s := newSite(t)
		cfg := s.config()
		cfg.TrustPolicy = trust
		reader := s.policy(t, "Reader", readerDocument)
		deployer := s.role(t, "deployer", "arn:aws:iam::999999999999:root")
		p := s.open(t, cfg, time.Now)
		var batch []jit.Access
		for i := range 6 {
			alice := s.user(t, fmt.Sprintf("alice-%d", i))
			role := reader
			if trust {
				role = deployer
			}
			if i%2 == 1 {
				alice += "-refused"
				s.user(t, fmt.Sprintf("alice-%d-refused", i))
			}
			batch = append(batch, grantOf(jit.Binding{Principal: alice, Role: role}, "n"))
		}
		s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
			refused := action == "PutUserPolicy" && strings.HasSuffix(form.Get("UserName"), "-refused") ||
				action == "UpdateAssumeRolePolicy" && strings.Contains(form.Get("PolicyDocument"), "-refused")
			if refused {
				fail(w, http.StatusBadRequest, "MalformedPolicyDocument", "Invalid principal in policy")
			}
			return refused
		})
		for i, err := range try(t, p, jit.Ensure, batch...) {
			if (err != nil) != (i%2 == 1) {
				t.Errorf("trust %t, change %d: %v", trust, i, err)
			}
			action, resource := "s3:GetObject", bucket+"/key"
			if trust {
				action, resource = "sts:AssumeRole", deployer
			}
			if got := s.may(t, batch[i].Binding.Principal, action, resource, time.Now()); got != (i%2 == 0) {
				t.Errorf("trust %t, change %d: access is given: %t", trust, i, got)
			}
		}
	}
}

// IAM is eventually consistent. A read that is older than a write of this process neither hides a grant nor restores
// it, and a Remove does not rely on such a read.
func TestReadsThatLagBehind(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	now := time.Now()
	p := s.open(t, s.config(), func() time.Time { return now })
	p.settling = settling
	read := func() int {
		t.Helper()
		found, err := p.Read(t.Context(), s.account.ID)
		must(t, err)
		for _, o := range found.Ours {
			if o.Damage != "" {
				t.Errorf("read %+v", o)
			}
		}
		return len(found.Ours)
	}
	// freeze answers bulk reads with what the account is now.
	freeze := func() {
		body := s.raw(t)
		s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
			if action != "GetAccountAuthorizationDetails" {
				return false
			}
			w.Header().Set("Content-Type", "text/xml")
			_, _ = w.Write(body)
			return true
		})
	}
	a := grantOf(jit.Binding{Principal: alice, Role: reader}, "lag")
	freeze()
	apply(t, p, jit.Ensure, a)
	if n := read(); n != 1 {
		t.Errorf("right after the write a read that does not show it yet finds %d grants", n)
	}
	longer := a
	longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	now = now.Add(settling)
	if n := read(); n != 0 {
		t.Errorf("a minute after the write it still overrides the read: %d grants", n)
	}
	now = time.Now()
	s.intercept(nil)
	freeze()
	apply(t, p, jit.Ensure, longer)
	found, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	if len(found.Ours) != 1 || !found.Ours[0].End.Equal(longer.Marker.Window.End) {
		t.Errorf("after the change the read shows %+v", found.Ours)
	}
	s.intercept(nil)
	freeze()
	p.looking = 0
	if err := try(t, p, jit.Remove, longer)[0]; err == nil || !strings.Contains(err.Error(), "AWS still shows") {
		t.Errorf("a removal that no read shows says %v", err)
	}
	if n := read(); n != 0 {
		t.Errorf("after the removal a read that still shows it finds %d grants", n)
	}
	// Another process whose read does not show the grant yet removes it all the same.
	s.intercept(nil)
	freeze()
	apply(t, s.open(t, s.config(), time.Now), jit.Ensure, a)
	apply(t, s.open(t, s.config(), time.Now), jit.Remove, a)
	s.intercept(nil)
	if s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Error("a Remove relied on an old read, and access is left")
	}
	// What somebody else did meanwhile is shown, not covered.
	apply(t, p, jit.Ensure, a)
	s.put(t, alice, policyName(a.Marker), readerDocument)
	found, err = p.Read(t.Context(), s.account.ID)
	must(t, err)
	if len(found.Ours) != 1 || found.Ours[0].Damage == "" || !found.Ours[0].End.IsZero() {
		t.Errorf("after somebody replaced it the read shows %+v", found.Ours)
	}
}

// raw returns the server's current answer to the bulk read.
func (s *site) raw(t *testing.T) []byte {
	t.Helper()
	var body []byte
	s.mu.Lock()
	s.after = func(_ string, answer *http.Response) { body = capture(answer) }
	s.mu.Unlock()
	p := s.open(t, s.config(), time.Now)
	if _, err := p.Read(t.Context(), s.account.ID); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = nil
	return body
}

// Two writers that keep writing to one trust policy lose nothing.
func TestForeignWritersOfATrustPolicy(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.TrustPolicy = true
	name := "deployer"
	deployer := s.role(t, name, "arn:aws:iam::999999999999:root")
	alice, p := s.user(t, "alice"), s.open(t, cfg, time.Now)
	a := grantOf(jit.Binding{Principal: alice, Role: deployer}, "raced")
	// Theirs comes in right after our write, made from what was there before it.
	var once sync.Once
	s.mu.Lock()
	s.after = func(action string, _ *http.Response) {
		if action == "UpdateAssumeRolePolicy" {
			once.Do(func() {
				document := `{"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::888888888888:root"}, "Action": "sts:AssumeRole"}]}`
				_, _ = s.admin.UpdateAssumeRolePolicy(context.Background(),
					&iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: &document})
			})
		}
	}
	s.mu.Unlock()
	apply(t, p, jit.Ensure, a)
	if !s.may(t, alice, "sts:AssumeRole", deployer, time.Now()) {
		t.Error("the grant was lost to the other writer")
	}
	if all, _ := s.entities(t); !strings.Contains(all[deployer].Trust, "888888888888") {
		t.Errorf("the other writer's statement was lost: %s", all[deployer].Trust)
	}
}

// Writers wait for a held lock, and remove one whose holder died.
func TestLockOfATrustPolicy(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.TrustPolicy = true
	deployer, alice := s.role(t, "deployer", "arn:aws:iam::999999999999:root"), s.user(t, "alice")
	lock := func() string {
		name, path, document := "jit-lock-deployer", "/jit/", lockPolicy
		made, err := s.admin.CreatePolicy(t.Context(),
			&iam.CreatePolicyInput{PolicyName: &name, Path: &path, PolicyDocument: &document})
		must(t, err)
		return *made.Policy.Arn
	}
	held := lock()
	p := s.open(t, cfg, time.Now)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	a := grantOf(jit.Binding{Principal: alice, Role: deployer}, "locked")
	if err := p.Apply(ctx, s.account.ID, []jit.Change{{Op: jit.Ensure, Access: a}})[0]; !errors.Is(err,
		context.DeadlineExceeded) || !strings.Contains(err.Error(), held) {
		t.Errorf("with the lock held: %v, want one that names it", err)
	}
	s.mu.Lock()
	s.after = func(action string, answer *http.Response) {
		if action == "GetPolicy" { // the lock was made long ago
			body := capture(answer)
			replace(answer, strings.ReplaceAll(string(body), time.Now().UTC().Format("2006-01-02T"), "2020-01-01T"))
		}
	}
	s.mu.Unlock()
	apply(t, p, jit.Ensure, a)
	s.moments(t, a, "sts:AssumeRole", deployer)
	if _, policies := s.entities(t); policies[held] != "" {
		t.Error("the lock is left")
	}
}
