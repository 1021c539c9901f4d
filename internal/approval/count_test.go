package approval_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func yes(person string) jit.Vote {
	return jit.Vote{
		Person:   person,
		Choice:   jit.Approve,
		Evidence: jit.Signature,
		At:       noon,
		NotAfter: noon.Add(24 * time.Hour),
	}
}

func TestCount(t *testing.T) {
	p := people(t,
		jit.Person{Name: "alice", Groups: []string{"group:leads"}, Principals: []string{"user:alice@example.com"}},
		jit.Person{Name: "bob", Groups: []string{"group:leads"}},
		jit.Person{Name: "carol", Groups: []string{"group:leads", "group:security"}},
		jit.Person{Name: "dave"})
	leads := func(n int) []jit.Requirement { return []jit.Requirement{{Required: n, From: []string{"group:leads"}}} }
	ask := approval.Ask{Principal: "user:alice@example.com", Begins: noon.Add(time.Hour), Now: noon.Add(time.Hour)}
	with := func(change func(*approval.Ask)) approval.Ask { a := ask; change(&a); return a }
	vote := func(person string, change func(*jit.Vote)) jit.Vote { v := yes(person); change(&v); return v }
	denial := vote("bob", func(v *jit.Vote) { v.Choice = jit.Deny })
	for name, c := range map[string]struct {
		requirements []jit.Requirement
		ask          approval.Ask
		votes        []jit.Vote
		want         bool
		says         string
	}{
		"nothing required":           {nil, ask, nil, true, "approved"},
		"nobody yet":                 {leads(1), ask, nil, false, "1 of: bob, carol"},
		"one of one":                 {leads(1), ask, []jit.Vote{yes("bob")}, true, ""},
		"one of two":                 {leads(2), ask, []jit.Vote{yes("bob")}, false, "1 of: carol"},
		"two of two":                 {leads(2), ask, []jit.Vote{yes("bob"), yes("carol")}, true, ""},
		"one person twice":           {leads(2), ask, []jit.Vote{yes("bob"), yes("BOB")}, false, "1 of: carol"},
		"a name of its own":          {[]jit.Requirement{{Required: 1, From: []string{"dave"}}}, ask, []jit.Vote{yes("dave")}, true, ""},
		"none of those":              {leads(1), ask, []jit.Vote{yes("dave")}, false, "bob, carol"},
		"the principal":              {leads(1), ask, []jit.Vote{yes("alice")}, false, "alice is the principal"},
		"the principal, in capitals": {leads(1), with(func(a *approval.Ask) { a.Principal = "user:Alice@example.com" }), []jit.Vote{yes("alice")}, false, "is the principal"},
		"the requester":              {leads(1), with(func(a *approval.Ask) { a.Requester = "Bob" }), []jit.Vote{yes("bob")}, false, "bob is the requester"},
		"the actor of the run":       {leads(1), with(func(a *approval.Ask) { a.Actor = "bob" }), []jit.Vote{yes("bob")}, false, "bob started this run"},
		"a denial wins":              {leads(1), ask, []jit.Vote{yes("carol"), denial}, false, "bob denied it"},
		"a denial by an outsider":    {leads(1), ask, []jit.Vote{yes("carol"), vote("dave", func(v *jit.Vote) { v.Choice = jit.Deny })}, true, ""},
		"a denial that has lapsed":   {leads(1), ask, []jit.Vote{yes("carol"), vote("bob", func(v *jit.Vote) { v.Choice, v.NotAfter = jit.Deny, noon.Add(time.Minute) })}, false, "bob denied it"},
		"after not_after":            {leads(1), ask, []jit.Vote{vote("bob", func(v *jit.Vote) { v.NotAfter = noon.Add(time.Minute) })}, false, "valid until"},
		"signed in the future":       {leads(1), ask, []jit.Vote{vote("bob", func(v *jit.Vote) { v.At = noon.Add(2 * time.Hour) })}, false, "still ahead"},
		"longer ago than valid_for": {[]jit.Requirement{{Required: 1, From: []string{"bob"}, ValidFor: time.Minute}}, ask, []jit.Vote{yes("bob")}, false,
			"within 1m of an approval"},
		"a review where signatures count": {leads(1), ask, []jit.Vote{vote("bob", func(v *jit.Vote) { v.Evidence = jit.PullRequest })}, false, "does not accept a pull_request"},
		"a review where it counts": {[]jit.Requirement{{Required: 1, From: []string{"bob"}, Evidence: []jit.Evidence{jit.PullRequest}}}, ask,
			[]jit.Vote{vote("bob", func(v *jit.Vote) { v.Evidence = jit.PullRequest })}, true, ""},
		"a signature where only reviews count": {[]jit.Requirement{{Required: 1, From: []string{"bob"}, Evidence: []jit.Evidence{jit.PullRequest}}}, ask,
			[]jit.Vote{yes("bob")}, false, "does not accept a signature"},
		"every entry has to be met": {[]jit.Requirement{{Required: 1, From: []string{"group:leads"}}, {Required: 1, From: []string{"group:security"}}}, ask,
			[]jit.Vote{yes("bob")}, false, "1 of: carol"},
		"nobody can": {[]jit.Requirement{{Required: 1, From: []string{"group:nobody"}}}, ask, []jit.Vote{yes("bob")}, false,
			"1 of: group:nobody (nobody who may approve is known there: add a jit_person"},
		"zero is one":           {leads(0), ask, nil, false, "1 of"},
		"a second vote that is": {leads(1), ask, []jit.Vote{vote("bob", func(v *jit.Vote) { v.NotAfter = noon }), yes("bob")}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.Count(c.requirements, c.ask, c.votes)
			if got.Approved() != c.want || !strings.Contains(got.String(), c.says) {
				t.Errorf("approved: %t, %q; want %t, %q", got.Approved(), got, c.want, c.says)
			}
		})
	}
}

// Nobody approves access of their own: neither of their session, nor of a session of a role that they have, nor of a
// role that they have a session of. Somebody else's session of the same role is not theirs.
func TestSessionsOfPeople(t *testing.T) {
	const role, session = "arn:aws:iam::123456789012:role/teams/developer",
		"arn:aws:sts::123456789012:assumed-role/developer/"
	for name, c := range map[string]struct {
		person    jit.Person
		principal string
		own       bool
	}{
		"their session":                   {jit.Person{Principals: []string{session + "bob"}}, session + "bob", true},
		"their session, in capitals":      {jit.Person{Principals: []string{session + "BOB"}}, session + "bob", true},
		"a session of their name":         {jit.Person{Name: "bob@example.com"}, session + "bob@example.com", true},
		"a session of their login":        {jit.Person{GitHub: "bob-gh"}, session + "bob-gh", true},
		"a session of their role":         {jit.Person{Principals: []string{role}}, session + "alice", true},
		"their role, which a session has": {jit.Person{Principals: []string{session + "bob"}}, role, true},
		"a session of another role":       {jit.Person{Principals: []string{"arn:aws:sts::123456789012:assumed-role/reader/" + "rob"}}, session + "rob", true},
		"a session of their user's name":  {jit.Person{Principals: []string{"arn:aws:iam::123456789012:user/x/rob"}}, session + "rob", true},
		"a session of their address":      {jit.Person{Principals: []string{"user:rob@example.com"}}, session + "rob@example.com", true},
		"the user whose name it has":      {jit.Person{Principals: []string{session + "rob@example.com"}}, "user:rob@example.com", true},
		"a colleague's session":           {jit.Person{Principals: []string{session + "bob"}}, session + "alice", false},
		"a session of a role with a like name": {jit.Person{Principals: []string{role}},
			"arn:aws:sts::123456789012:assumed-role/lead-developer/alice", false},
		"a session in another account": {jit.Person{Principals: []string{role}},
			"arn:aws:sts::210987654321:assumed-role/developer/alice", false},
	} {
		if c.person.Name == "" {
			c.person.Name = "bob"
		}
		p := people(t, c.person)
		required := []jit.Requirement{{Required: 1, From: []string{c.person.Name}}}
		got := p.Count(required, approval.Ask{Principal: c.principal, Begins: noon.Add(time.Hour),
			Now: noon.Add(time.Hour)}, []jit.Vote{yes(c.person.Name)})
		if got.Approved() == c.own || c.own && !strings.Contains(got.String(), "is the principal") {
			t.Errorf("%s: approved: %t, %q", name, got.Approved(), got)
		}
	}
}

// Nobody approves access that only their own source identity has; a colleague may.
func TestTheSourceIdentityOfAnApprover(t *testing.T) {
	const session, user = "arn:aws:sts::123456789012:assumed-role/reader/bob", "arn:aws:iam::123456789012:user/bob"
	for name, c := range map[string]struct {
		role     string
		approved bool
	}{
		"theirs":             {"arn:aws:iam::aws:policy/ReadOnlyAccess if mfa and source-identity=Bob", false},
		"a colleague's":      {"arn:aws:iam::aws:policy/ReadOnlyAccess if source-identity=carol", true},
		"none":               {"arn:aws:iam::aws:policy/ReadOnlyAccess if mfa", true},
		"another platform's": {"roles/viewer if request.path == '/bob'", true},
	} {
		for _, own := range []string{"bob", session, user} {
			p := people(t, jit.Person{Name: "robert", Principals: []string{own}})
			ask := approval.Ask{Principal: "arn:aws:iam::123456789012:role/developer", Role: c.role,
				Begins: noon.Add(time.Hour), Now: noon.Add(time.Hour)}
			got := p.Count([]jit.Requirement{{Required: 1, From: []string{"robert"}}}, ask, []jit.Vote{yes("robert")})
			if got.Approved() != c.approved {
				t.Errorf("%s, of %s: approved: %t, %q", name, own, got.Approved(), got)
			}
		}
	}
}
