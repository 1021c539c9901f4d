package awsiam

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const readerDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::jit-bucket/*"}]}`

// large is a policy of n statements that allows reading the bucket.
func large(n int) string {
	statements := []string{`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::jit-bucket/*"}`}
	for i := range n - 1 {
		statements = append(statements,
			fmt.Sprintf(`{"Effect":"Allow","Action":"sqs:SendMessage","Resource":"arn:aws:sqs:eu-central-1:123456789012:queue-%d"}`, i))
	}
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// A user whose inline policies leave no room gets a managed policy of ours, which the removal deletes.
func TestAUserAtTheInlineLimit(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	s.put(t, alice, "theirs",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:SendMessage","Resource":["`+strings.Repeat("arn:aws:sqs:eu-central-1:123456789012:queue\",\"", 41)+`arn:aws:sqs:::q"]}]}`)
	before, p := s.dump(t), s.open(t, s.config(), time.Now)
	planned, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	if len(planned.Notes) != 1 || planned.Notes[0].Principal != alice ||
		!strings.Contains(planned.Notes[0].Text, " of the 2048 characters") ||
		!strings.Contains(planned.Notes[0].Text, "of which it has 0") {
		t.Errorf("the notes before the grant are %+v", planned.Notes)
	}
	a := grantOf(jit.Binding{Principal: alice, Role: reader}, "full")
	apply(t, p, jit.Ensure, a)
	all, policies := s.entities(t)
	own := s.arn("policy/jit/" + policyName(a.Marker))
	if all[alice].Inline[policyName(a.Marker)] != "" || policies[own] == "" {
		t.Errorf("the grant is not in a managed policy of ours: %+v", all[alice])
	}
	s.moments(t, a, "s3:GetObject", bucket+"/key")
	found, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	if len(found.Ours) != 1 || found.Ours[0].Damage != "" || found.Ours[0].Principal != alice ||
		found.Ours[0].Role != reader || !found.Ours[0].End.Equal(a.Marker.Window.End) {
		t.Errorf("read %+v", found.Ours)
	}
	for i := range 7 { // more than a policy keeps versions
		a.Marker.Window.End = a.Marker.Window.End.Add(time.Duration(i+1) * time.Minute)
		apply(t, p, jit.Ensure, a)
	}
	s.moments(t, a, "s3:GetObject", bucket+"/key")
	reads, writes := s.counted()
	apply(t, p, jit.Ensure, a)
	if r, w := s.counted(); w != writes || r == reads {
		t.Errorf("a second Ensure made %d writes", w-writes)
	}
	apply(t, p, jit.Remove, jit.Access{Marker: jit.Marker{Owner: a.Marker.Owner, ID: a.Marker.ID}})
	if after := s.dump(t); after != before {
		t.Errorf("afterwards the account is\n%s\nwas\n%s", after, before)
	}
	if _, policies := s.entities(t); policies[own] != "" {
		t.Errorf("%s is left", own)
	}
}

// moments checks the principal's access in each part of the window.
func (s *site) moments(t *testing.T, a jit.Access, action, resource string) {
	t.Helper()
	w := a.Marker.Window
	for when, want := range map[time.Time]bool{w.Start.Add(-time.Second): false, w.Start: true,
		w.End.Add(-time.Second): true, w.End: false, w.End.AddDate(1, 0, 0): false} {
		if got := s.may(t, a.Binding.Principal, action, resource, when); got != want {
			t.Errorf("at %s of %s access is given: %t, want %t", jit.FormatTime(when), a.Marker, got, want)
		}
	}
}

// A copy that fits nowhere is refused with the numbers, and no partial change remains.
func TestWhatFitsNowhereIsRefusedWithTheNumbers(t *testing.T) {
	s := newSite(t)
	alice, crowded := s.user(t, "alice"), s.user(t, "crowded")
	huge, middling := s.policy(t, "Huge", large(30)), s.policy(t, "Middling", large(9))
	for i := range 10 {
		s.attach(t, crowded, s.policy(t, fmt.Sprintf("P%d", i), readerDocument))
	}
	before, p := s.dump(t), s.open(t, s.config(), time.Now)
	for _, tc := range []struct {
		name, principal, role string
		says                  []string
	}{
		{"too long for a managed policy", alice, huge,
			[]string{"0 characters and this one", "the limit is 2048", "at most 6144"}},
		{"ten policies attached", crowded, middling,
			[]string{"the limit is 2048", "10 managed policies are attached to it, and the limit is 10"}},
	} {
		err := try(t, p, jit.Ensure, grantOf(jit.Binding{Principal: tc.principal, Role: tc.role}, tc.name))[0]
		if err == nil {
			t.Errorf("%s: granted", tc.name)
			continue
		}
		for _, part := range append(tc.says, "role: the copy of "+tc.role) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; it does not say %q", tc.name, err, part)
			}
		}
	}
	apply(t, p, jit.Ensure, grantOf(jit.Binding{Principal: alice, Role: middling}, "as a managed policy"))
	apply(t, p, jit.Remove, grantOf(jit.Binding{Principal: alice, Role: middling}, "as a managed policy"))
	if after := s.dump(t); after != before {
		t.Errorf("the account is\n%s\nwas\n%s", after, before)
	}
}

// Another writer may take the room between the read and the write. AWS then refuses the inline policy, and the grant
// becomes a managed policy.
func TestTheServersLimitCounts(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
		if action == "PutUserPolicy" {
			fail(w, http.StatusConflict, "LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user alice")
		}
		return action == "PutUserPolicy"
	})
	p, a := s.open(t, s.config(), time.Now), grantOf(jit.Binding{Principal: alice, Role: reader}, "raced")
	apply(t, p, jit.Ensure, a)
	s.moments(t, a, "s3:GetObject", bucket+"/key")
	apply(t, p, jit.Remove, a)
	if s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Error("access is left")
	}
}

// A trust policy that would exceed its limit is refused with the numbers; earlier grants stay.
func TestATrustPolicyAtItsLimit(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.TrustPolicy = true
	deployer, p := s.role(t, "deployer", s.arn("root")), s.open(t, cfg, time.Now)
	given, refused := 0, error(nil)
	for i := range 12 {
		alice := s.user(t, fmt.Sprintf("alice-%d", i))
		if err := try(t, p, jit.Ensure, grantOf(jit.Binding{Principal: alice, Role: deployer}, "n"))[0]; err != nil {
			refused = err
			break
		}
		given++
	}
	if refused == nil || !strings.Contains(refused.Error(), "would have 2") ||
		!strings.Contains(refused.Error(), "the account's limit is 2048") || given < 4 {
		t.Errorf("after %d grants: %v", given, refused)
	}
	for i := range given {
		if !s.may(t, s.arn(fmt.Sprintf("user/alice-%d", i)), "sts:AssumeRole", deployer, time.Now()) {
			t.Errorf("grant %d was lost", i)
		}
	}
}

// Reading a thousand grants takes only the pages of one bulk read.
func TestAThousandGrantsAreTheirPages(t *testing.T) {
	s := newSite(t)
	const pages, perPage = 4, 250
	var asked atomic.Int64
	s.intercept(func(w http.ResponseWriter, r *http.Request, action string, form url.Values) bool {
		if action != "GetAccountAuthorizationDetails" {
			t.Errorf("it called %s", action)
			return false
		}
		page := 0
		if marker := form.Get("Marker"); marker != "" {
			_, _ = fmt.Sscanf(marker, "page-%d", &page)
		}
		// a request whose connection breaks is repeated
		if strings.HasPrefix(r.Header.Get("Amz-Sdk-Request"), "attempt=1;") {
			asked.Add(1)
		}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprint(w,
			`<GetAccountAuthorizationDetailsResponse><GetAccountAuthorizationDetailsResult><UserDetailList>`)
		for i := range perPage {
			m := jit.Marker{Owner: "payments", ID: jit.NewID("payments", jit.Binding{}, fmt.Sprint(page, i), 1),
				Window: window}
			document := assumption(s.arn("role/deployer"), dates(window))
			_, _ = fmt.Fprintf(w,
				`<member><Arn>%s</Arn><UserName>u</UserName><UserId>AIDA</UserId><UserPolicyList><member><PolicyName>%s</PolicyName><PolicyDocument>`, s.arn(fmt.Sprintf("user/u-%d-%d", page, i)), policyName(m))
			_ = xml.EscapeText(w, []byte(url.PathEscape(document)))
			_, _ = fmt.Fprint(w, `</PolicyDocument></member></UserPolicyList></member>`)
		}
		_, _ = fmt.Fprintf(w,
			`</UserDetailList><IsTruncated>%t</IsTruncated>%s</GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>`, page < pages-1, map[bool]string{true: fmt.Sprintf("<Marker>page-%d</Marker>", page+1)}[page < pages-1])
		return true
	})
	began := time.Now()
	found, err := s.open(t, s.config(), time.Now).Read(t.Context(), s.account.ID)
	must(t, err)
	if len(found.Ours) != pages*perPage {
		t.Errorf("read %d grants, want %d", len(found.Ours), pages*perPage)
	}
	for _, o := range found.Ours {
		if o.Damage != "" || !o.Marker.Window.Equal(window) {
			t.Fatalf("read %+v", o)
		}
	}
	if _, writes := s.counted(); asked.Load() != pages || writes != 0 {
		t.Errorf("%d reads and %d writes, want %d and none", asked.Load(), writes, pages)
	}
	t.Logf("%d grants in %d requests, %s", len(found.Ours), pages, time.Since(began))
}

// Managed policies of the account and of AWS are copied in their default version.
func TestTheDefaultVersionIsCopied(t *testing.T) {
	s := newSite(t)
	alice, versioned := s.user(t, "alice"),
		s.policy(t, "Versioned",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}`)
	document := readerDocument
	_, err := s.admin.CreatePolicyVersion(t.Context(),
		&iam.CreatePolicyVersionInput{PolicyArn: &versioned, PolicyDocument: &document, SetAsDefault: true})
	must(t, err)
	const theirs = theirManaged
	fetched := 0
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
		served := serveManaged(w, action, form)
		if served {
			fetched++
		}
		return served
	})
	p := s.open(t, s.config(), time.Now)
	apply(t, p, jit.Ensure, grantOf(jit.Binding{Principal: alice, Role: versioned}, "own"),
		grantOf(jit.Binding{Principal: alice, Role: theirs}, "one"),
		grantOf(jit.Binding{Principal: alice, Role: theirs}, "two"))
	for action, want := range map[string]bool{"s3:GetObject": true, "s3:PutObject": false, "sqs:GetQueueUrl": true,
		"sqs:SendMessage": false} {
		if got := s.may(t, alice, action, bucket+"/key", time.Now()); got != want {
			t.Errorf("%s is allowed: %t, want %t", action, got, want)
		}
	}
	if fetched != 2 {
		t.Errorf("%d calls for the policy of AWS, want its version and its document once", fetched)
	}
}

// theirManaged is a managed policy of AWS, which moto does not have.
const theirManaged = "arn:aws:iam::aws:policy/AmazonSQSReadOnlyAccess"

// serveManaged answers requests about theirManaged, whose default version is the seventh.
func serveManaged(w http.ResponseWriter, action string, form url.Values) bool {
	if form.Get("PolicyArn") != theirManaged {
		return false
	}
	w.Header().Set("Content-Type", "text/xml")
	switch {
	case action == "GetPolicy":
		_, _ = fmt.Fprintf(w,
			`<GetPolicyResponse><GetPolicyResult><Policy><Arn>%s</Arn><DefaultVersionId>v7</DefaultVersionId></Policy></GetPolicyResult></GetPolicyResponse>`, theirManaged)
	case action == "GetPolicyVersion" && form.Get("VersionId") == "v7":
		_, _ = fmt.Fprintf(w,
			`<GetPolicyVersionResponse><GetPolicyVersionResult><PolicyVersion><VersionId>v7</VersionId><Document>%s</Document></PolicyVersion></GetPolicyVersionResult></GetPolicyVersionResponse>`,
			url.PathEscape(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:GetQueueUrl","Resource":"*"}]}`))
	default:
		fail(w, http.StatusNotFound, "NoSuchEntity", "no such version")
	}
	return true
}
