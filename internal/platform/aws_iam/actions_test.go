package awsiam

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Any other spelling of the actions is refused, and the error gives the canonical one, which is accepted.
func TestTheCanonicalFormOfActions(t *testing.T) {
	p, err := New(Config{AccountID: "123456789012"}, jit.Services{Now: time.Now})
	must(t, err)
	check := func(role string) error {
		b, _, err := p.Check(jit.Binding{Principal: "arn:aws:iam::123456789012:user/alice", Role: role})
		if err == nil && b.Role != role {
			t.Errorf("%q became %q", role, b.Role)
		}
		return err
	}
	for role, want := range map[string]string{
		"actions:S3:GetObject":                      "actions:s3:GetObject",
		"actions:s3:PutObject,s3:GetObject":         "actions:s3:GetObject,s3:PutObject",
		"actions:s3:GetObject, s3:PutObject":        "actions:s3:GetObject,s3:PutObject",
		"actions:s3:GetObject,s3:getobject":         "actions:s3:GetObject",
		"actions:s3:Get*,s3:GetObject,s3:get?bject": "actions:s3:Get*",
		"actions:s3:Get**":                          "actions:s3:Get*", "actions:s3:*?Object": "actions:s3:?*Object",
		"actions:s3:Get?*?,s3:Get*":                           "actions:s3:Get*",
		"actions:sqs:*,*":                                     "actions:*",
		"actions:s3:b,ec2:a on arn:aws:s3:::b arn:aws:s3:::a": "actions:ec2:a,s3:b on arn:aws:s3:::a arn:aws:s3:::b",
	} {
		var e *jit.Error
		if err := check(role); !errors.As(err, &e) || e.Attribute != "role" || e.Hint != `write "`+want+`"` {
			t.Errorf("%q: %v, want an error that gives %q", role, err, want)
		}
		if err := check(want); err != nil {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// A grant of actions gives these, on its resources and within its window, and nothing else: to a user, a group and a
// role, and as a managed policy where an inline one does not fit.
func TestActionsAreGivenWithinTheWindow(t *testing.T) {
	s := newSite(t)
	group := s.group(t, "oncall")
	alice, worker := s.user(t, "alice", "oncall"), s.role(t, "worker", s.arn("root"))
	p := s.open(t, s.config(), time.Now)
	for _, on := range []string{alice, group, worker} {
		who := on
		if on == group {
			who = alice
		}
		a := grantOf(jit.Binding{Principal: on, Role: "actions:s3:Get*,s3:PutObject on " + objects}, "actions")
		apply(t, p, jit.Ensure, a)
		now, end := time.Now(), a.Marker.Window.End
		for _, tc := range []struct {
			action, resource string
			when             time.Time
			want             bool
		}{
			{"s3:GetObject", bucket + "/key", now, true}, {"s3:GetObjectAcl", bucket + "/key", now, true},
			{"s3:PutObject", bucket + "/key", now, true}, {"s3:DeleteObject", bucket + "/key", now, false},
			{"s3:GetObject", "arn:aws:s3:::other/key", now, false}, {"s3:GetObject", bucket + "/key", end, false},
			{"s3:GetObject", bucket + "/key", a.Marker.Window.Start.Add(-time.Second), false},
		} {
			if got := s.may(t, who, tc.action, tc.resource, tc.when); got != tc.want {
				t.Errorf("%s on %s at %s: %t, want %t", tc.action, tc.resource, tc.when, got, tc.want)
			}
		}
		apply(t, p, jit.Remove, a)
		if s.may(t, who, "s3:GetObject", bucket+"/key", now) {
			t.Errorf("%s may still read", on)
		}
	}
	a := grantOf(jit.Binding{Principal: alice, Role: "actions:s3:GetObject"}, "all")
	s.put(t, alice, "theirs", strings.Replace(readerDocument, "jit-bucket", strings.Repeat("b", 1700), 1))
	apply(t, p, jit.Ensure, a)
	if !s.may(t, alice, "s3:GetObject", "arn:aws:s3:::other/key", time.Now()) {
		t.Error("what does not fit inline is not given")
	}
	apply(t, p, jit.Remove, a)
	if s.may(t, alice, "s3:GetObject", "arn:aws:s3:::other/key", time.Now()) {
		t.Error("the managed policy stayed")
	}
}

// Whatever somebody changes in the statement of a grant of actions is told, and repaired.
func TestChangedActionsAreFoundAndRepaired(t *testing.T) {
	s := newSite(t)
	worker := s.role(t, "worker", s.arn("root"))
	p := s.open(t, s.config(), time.Now)
	a := grantOf(jit.Binding{Principal: worker, Role: "actions:s3:GetObject on " + objects, Scope: s.account.ID},
		"changed")
	g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
		Enforcement: jit.Native}
	drift := func() string {
		found, err := p.Read(t.Context(), s.account.ID)
		must(t, err)
		return g.Differs(found).Words
	}
	for name, change := range map[string]func(d map[string]any, mine map[string]any){
		"an action":  func(_, mine map[string]any) { mine["Action"] = []string{"s3:GetObject", "s3:DeleteObject"} },
		"a wildcard": func(_, mine map[string]any) { mine["Action"] = "s3:*" },
		"all but":    func(_, mine map[string]any) { mine["NotAction"] = "iam:*"; delete(mine, "Action") },
		"a resource": func(_, mine map[string]any) { mine["Resource"] = "*" },
		"all but some": func(_, mine map[string]any) {
			mine["NotResource"] = "arn:aws:s3:::x"
			delete(mine, "Resource")
		},
		"the end": func(_, mine map[string]any) { delete(mine["Condition"].(map[string]any), before) },
		"a condition": func(_, mine map[string]any) {
			mine["Condition"].(map[string]any)["Bool"] = map[string]any{"aws:MultiFactorAuthPresent": "true"}
		},
		"another statement": func(d, mine map[string]any) {
			d["Statement"] = []any{mine,
				map[string]any{"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "*"}}
		},
		"the Sid": func(_, mine map[string]any) { delete(mine, "Sid") },
		"a denial": func(d, mine map[string]any) {
			d["Statement"] = []any{mine, map[string]any{"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}}
		},
	} {
		apply(t, p, jit.Ensure, a)
		if words := drift(); words != "" {
			t.Fatalf("before %s: %s", name, words)
		}
		on, document := s.find(t, a.Marker)
		var d map[string]any
		must(t, json.Unmarshal([]byte(document), &d))
		change(d, d["Statement"].([]any)[0].(map[string]any))
		text, err := json.Marshal(d)
		must(t, err)
		s.put(t, on, policyName(a.Marker), string(text))
		if drift() == "" {
			t.Errorf("%s: no drift in %s", name, text)
		}
		apply(t, p, jit.Ensure, a)
		if s.may(t, worker, "s3:DeleteObject", bucket+"/key", time.Now()) || drift() != "" ||
			!s.may(t, worker, "s3:GetObject", bucket+"/key", time.Now()) {
			t.Errorf("%s was not repaired: %s", name, drift())
		}
	}
}

// A list that was joined into one text reads as the grant's, and AWS takes it for one name: that is drift.
func TestJoinedResourcesAreDrift(t *testing.T) {
	s := newSite(t)
	alice := s.user(t, "alice")
	p := s.open(t, s.config(), time.Now)
	a := grantOf(jit.Binding{Principal: alice, Role: "actions:s3:GetObject on " + bucket + " " + objects,
		Scope: s.account.ID}, "joined")
	apply(t, p, jit.Ensure, a)
	s.put(t, alice, policyName(a.Marker), permission([]string{"s3:GetObject"}, []string{bucket + " " + objects},
		dates(a.Marker.Window)))
	found, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
		Enforcement: jit.Native}
	if d := g.Differs(found); d.Kind != jit.DriftDamaged || s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Errorf("the drift is %+v", d)
	}
}

// Actions in somebody else's inline policy are standing access, with the resources that they are for.
func TestActionsAsStandingAccess(t *testing.T) {
	s := newSite(t)
	s.group(t, "oncall")
	alice := s.user(t, "alice", "oncall")
	put := func(on, statement string) {
		s.put(t, on, "theirs", `{"Version":"2012-10-17","Statement":[`+statement+`]}`)
	}
	put(alice, `{"Effect":"Allow","Action":["S3:PutObject","s3:GetObject"],`+
		`"Resource":["arn:aws:s3:::b","arn:aws:s3:::a"]},`+
		`{"Effect":"Deny","Action":"s3:*","Resource":"*"},{"Effect":"Allow","Action":"sqs:Send*","Resource":"*"}`)
	put(s.arn("group/oncall"), `{"Effect":"Allow","Action":"ec2:*","NotResource":"arn:aws:ec2:::x"},`+
		`{"Effect":"Allow","Action":["logs:Get*","sts:AssumeRole"],"Resource":"arn:aws:logs:::x"}`)
	found, err := s.open(t, s.config(), time.Now).Read(t.Context(), s.account.ID)
	must(t, err)
	var roles []string
	for _, standing := range found.Standing {
		if standing.Principal == alice {
			roles = append(roles, standing.Role)
		}
	}
	want := []string{"actions:s3:GetObject,s3:PutObject on arn:aws:s3:::a arn:aws:s3:::b", "actions:sqs:Send*",
		"actions:logs:Get* on arn:aws:logs:::x"}
	if !slices.Equal(roles, want) {
		t.Errorf("found %q, want %q", roles, want)
	}
	put(alice, `{"Effect":"Allow","Action":"*:*","Resource":"*"}`)
	whole, err := s.open(t, s.config(), time.Now).Read(t.Context(), s.account.ID)
	must(t, err)
	if _, ok := whole.StandingOf(jit.Binding{Principal: alice, Role: "actions:ec2:RunInstances"}); !ok {
		t.Error("every action of every service is not told as everything")
	}
	if _, ok := found.StandingOf(jit.Binding{Principal: alice, Role: "actions:sqs:Send* on arn:aws:sqs:::q"}); !ok {
		t.Error("access to all resources does not include one of them")
	}
}

// giveActions gives the actions of a role without an end, as an administrator would.
func (s *site) giveActions(t *testing.T, b jit.Binding) {
	t.Helper()
	unconditional, _, _ := strings.Cut(b.Role, " if ")
	name, on, _ := strings.Cut(strings.TrimPrefix(unconditional, "actions:"), " on ")
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{
		"Effect": "Allow", "Action": strings.Split(name, ","), "Resource": cmp.Or(on, "*")}})
	must(t, err)
	s.put(t, s.holder(t, b.Principal), "theirs"+strings.NewReplacer("*", "", ":", "", ",", "").Replace(name), string(text))
}
