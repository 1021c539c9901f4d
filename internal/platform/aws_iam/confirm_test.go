package awsiam

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// written is one grant of each way to write access.
type written struct {
	cfg              Config
	access           jit.Access
	action, resource string
}

// writtenAs returns a grant of alice that is written inline, as a managed policy or in a trust policy.
func (s *site) writtenAs(t *testing.T, form string) written {
	t.Helper()
	w := written{cfg: s.config(), action: "s3:GetObject", resource: bucket + "/key"}
	role := ""
	switch form {
	case "inline":
		role = s.policy(t, "Reader", readerDocument)
	case "managed":
		role = s.policy(t, "Middling", large(9))
	case "trust":
		w.cfg.TrustPolicy = true
		role = s.role(t, "deployer", "arn:aws:iam::999999999999:root")
		w.action, w.resource = assumeRole, role
	}
	w.access = grantOf(jit.Binding{Principal: s.user(t, "alice"), Role: role}, form)
	return w
}

func (w written) given(t *testing.T, s *site) bool {
	t.Helper()
	return s.may(t, w.access.Binding.Principal, w.action, w.resource, time.Now())
}

// takes are the actions that take the access of each form away.
var takes = map[string]string{"inline": "DeleteUserPolicy", "managed": "DetachUserPolicy",
	"trust": "UpdateAssumeRolePolicy"}

// The answer to a removal is not the removal: one that is not carried out is repeated until no read shows the access.
func TestARemovalThatIsNotCarriedOut(t *testing.T) {
	for form, action := range takes {
		for _, times := range []int64{1, 1000} {
			if form == "trust" && times > 1 {
				continue // the writes of a trust policy have long pauses
			}
			t.Run(fmt.Sprintf("%s, %d times", form, times), func(t *testing.T) {
				s := newSite(t)
				if s.strict == nil && form == "managed" {
					t.Skip("moto deletes attached policies, which IAM refuses")
				}
				w := s.writtenAs(t, form)
				p := s.open(t, w.cfg, time.Now)
				p.looking = 300 * time.Millisecond
				apply(t, p, jit.Ensure, w.access)
				var n atomic.Int64
				s.intercept(func(out http.ResponseWriter, _ *http.Request, asked string, _ url.Values) bool {
					if asked != action || n.Add(1) > times {
						return false
					}
					out.Header().Set("Content-Type", "text/xml")
					_, _ = fmt.Fprintf(out, "<%sResponse></%[1]sResponse>", action)
					return true
				})
				err := try(t, p, jit.Remove, w.access)[0]
				if given := w.given(t, s); given != (err != nil) || times > 1 && !given {
					t.Errorf("access is left: %t, and the removal says %v", given, err)
				}
			})
		}
	}
}

// A write whose answer was lost may be carried out after the removal. The removal finds it.
func TestAWriteThatComesAfterTheRemoval(t *testing.T) {
	s := newSite(t)
	w := s.writtenAs(t, "inline")
	p := s.open(t, w.cfg, time.Now)
	apply(t, p, jit.Ensure, w.access)
	_, document := s.find(t, w.access.Marker)
	var late atomic.Bool
	s.after = func(action string, _ *http.Response) {
		if action == "DeleteUserPolicy" && late.CompareAndSwap(false, true) {
			s.put(t, w.access.Binding.Principal, policyName(w.access.Marker), document)
		}
	}
	apply(t, p, jit.Remove, w.access)
	if !late.Load() || w.given(t, s) {
		t.Error("the late write has given access back")
	}
}

// The read of a large account takes longer than a removal looks for the access, and its first page is of before that.
func TestALookThatTakesLong(t *testing.T) {
	s := newSite(t)
	if s.strict == nil {
		t.Skip("the strict server of `make test` has reads that lag")
	}
	w := s.writtenAs(t, "inline")
	p := s.open(t, w.cfg, time.Now)
	p.looking = 200 * time.Millisecond
	apply(t, p, jit.Ensure, w.access)
	s.strict.slow(100 * time.Millisecond)
	var removed atomic.Bool
	s.after = func(action string, _ *http.Response) {
		if action == "DeleteUserPolicy" {
			removed.Store(true)
		} else if removed.CompareAndSwap(true, false) {
			time.Sleep(p.looking) // the answer to the first page of the look
		}
	}
	if apply(t, p, jit.Remove, w.access); w.given(t, s) {
		t.Error("access is left after the removal")
	}
}

// A grant that another process has just made is ended although no read shows it yet.
func TestAGrantOfAnotherProcessThatNoReadShows(t *testing.T) {
	const lag = 100 * time.Millisecond
	for form := range takes {
		t.Run(form, func(t *testing.T) {
			s := newSite(t)
			if s.strict == nil {
				t.Skip("the strict server of `make test` has reads that lag")
			}
			w := s.writtenAs(t, form)
			w.access.Marker.Window.Start = jit.Second(time.Now())
			s.strict.lagRoles = true
			was := s.strict.clone()
			first, second := s.open(t, w.cfg, time.Now), s.open(t, w.cfg, time.Now)
			first.settling, second.settling = time.Minute, time.Minute
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			changes := []jit.Change{{Op: jit.Ensure, Access: w.access}}
			must(t, first.Apply(ctx, s.account.ID, changes)[0])
			s.strict.behind(was, lag)
			if !w.given(t, s) {
				t.Fatal("nothing is given")
			}
			changes = []jit.Change{{Op: jit.Remove, Access: w.access, Held: true}}
			if err := second.Apply(ctx, s.account.ID, changes)[0]; err != nil {
				t.Error(err)
			}
			if w.given(t, s) {
				t.Error("access is left after the removal")
			}
		})
	}
}

// An end that no read confirms is not recorded, and the next sweep completes it.
func TestAnEndThatReadsDoNotShow(t *testing.T) {
	s := newSite(t)
	if s.strict == nil {
		t.Skip("the strict server of `make test` has reads that lag")
	}
	w := s.writtenAs(t, "inline")
	d := s.desk(t, w.cfg, &jittest.Ledger{})
	d.platform.looking = 100 * time.Millisecond
	g, err := d.broker.Grant(t.Context(), d.request(w.access.Binding.Principal, w.access.Binding.Role))
	must(t, err)
	s.strict.slow(time.Hour)
	_, _, err = d.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done early"})
	if err == nil || !strings.Contains(err.Error(), "AWS still shows the policy jit-") {
		t.Errorf("%v, want one that says what AWS still shows", err)
	}
	if !d.recorded(g.ID).EndedAt.IsZero() {
		t.Error("the end is recorded")
	}
	s.strict.slow(0)
	d.another().sweep()
	if d.recorded(g.ID).EndedAt.IsZero() {
		t.Error("the sweep has not recorded the end")
	}
}

// The lock of a trust policy is not taken from the next holder if the answer to its release is lost.
func TestALostReleaseOfALock(t *testing.T) {
	s := newSite(t)
	w := s.writtenAs(t, "trust")
	var lost atomic.Bool
	name, path, document, theirs := "jit-lock-deployer", "/jit/", lockPolicy, "the next holder"
	s.after = func(action string, answer *http.Response) {
		if action == "DeletePolicy" && lost.CompareAndSwap(false, true) {
			_, err := s.admin.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, Path: &path,
				PolicyDocument: &document, Description: &theirs})
			must(t, err)
			replace(answer, "")
			answer.StatusCode = http.StatusInternalServerError
		}
	}
	apply(t, s.open(t, w.cfg, time.Now), jit.Ensure, w.access)
	lock := s.arn("policy/jit/" + name)
	if _, err := s.admin.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &lock}); err != nil || !lost.Load() {
		t.Errorf("the lock of the next holder: %v", err)
	}
}
