package broker_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// office is a world whose grants need the approval of the leads: lea and leo. Bob is the principal.
type office struct {
	*world
	keys map[string]ssh.Signer
	dir  string
}

func newOffice(t *testing.T, change ...func(*jit.Policy)) *office {
	o := &office{world: newWorld(t, jit.Native), keys: map[string]ssh.Signer{}, dir: t.TempDir()}
	for _, p := range []jit.Person{
		{Name: "lea", Groups: []string{"group:leads"}, GitHub: "lea-gh"}, {Name: "leo", Groups: []string{"group:leads"}},
		{Name: "bob", Groups: []string{"group:leads", "group:oncall"}, Principals: []string{"bob"}}, {Name: "eve"},
	} {
		o.keys[p.Name] = newSigner(t)
		p.SigningKeys = []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(o.keys[p.Name].PublicKey())))}
		if err := o.PutPerson(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	p := jit.Policy{
		Name: "prod", Effect: jit.Permit, Approval: []jit.Requirement{{Required: 1, From: []string{"group:leads"}}},
		BreakGlass: &jit.BreakGlass{From: []string{"group:oncall"}},
	}
	for _, c := range change {
		c(&p)
	}
	if err := o.PutPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	o.newRun()
	return o
}

// newRun begins another run of Terraform on the same ledger.
func (o *office) newRun(change ...func(*broker.Broker)) {
	old := o.Broker
	o.Broker = &broker.Broker{
		Ledger: old.Ledger, Targets: old.Targets, Owner: old.Owner, MaxTTL: old.MaxTTL, Actor: old.Actor, Now: old.Now,
		Run: rand.Text(),
	}
	o.Approvals.Dir = o.dir
	for _, c := range change {
		c(o.Broker)
	}
}

// newProcess is another provider process of the same run, which has read nothing yet.
func (o *office) newProcess() {
	run := o.Run
	o.newRun(func(b *broker.Broker) { b.Run = run })
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// signs writes a person's statement about a request into the approvals folder, and begins another run.
func (o *office) signs(name string, r broker.Request, change ...func(*approval.Statement)) approval.Signed {
	o.t.Helper()
	g, _, err := o.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	g.End = r.ExpiresAt
	return o.signsGrant(name, g, change...)
}

func (o *office) signsGrant(name string, g jit.Grant, change ...func(*approval.Statement)) approval.Signed {
	o.t.Helper()
	id, err := o.ledger.ID(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	s := approval.Statement{
		Choice: jit.Approve, Approver: name, SignedAt: jit.Second(o.now), NotAfter: jit.Second(o.now).Add(24 * time.Hour),
		Digest: g.RequestDigest(id),
	}
	for _, c := range change {
		c(&s)
	}
	text := s.Text(g.RequestFields())
	armored, err := approval.Sign(text, o.keys[name])
	if err != nil {
		o.t.Fatal(err)
	}
	content := approval.Join(text, armored)
	if err := os.WriteFile(filepath.Join(o.dir, approval.FileName(s)), content, 0o600); err != nil {
		o.t.Fatal(err)
	}
	signed, err := approval.Split(content, "by hand")
	if err != nil {
		o.t.Fatal(err)
	}
	o.newRun()
	return signed
}

// refused fails unless the grant is refused, in words with each part, and nothing is given: by the process that may have
// changed something, and by another one of the same run.
func (o *office) refused(r broker.Request, parts ...string) {
	o.t.Helper()
	for range 2 {
		o.mustWrite(0, func() {
			_, err := o.Grant(o.t.Context(), r)
			wantError(o.t, err, jit.ErrDenied, parts...)
		})
		o.newProcess()
	}
}

func TestTwoPeople(t *testing.T) {
	o := newOffice(t)
	d, err := o.Preview(t.Context(), request(), true)
	if err != nil || len(d.Warnings) != 1 || d.Awaits != "1 of: lea, leo" ||
		!strings.Contains(d.Warnings[0].Detail, "1 of: lea, leo") || !strings.Contains(d.Warnings[0].Detail, "jit approve") {
		t.Fatalf("plan: %+v, %v", d.Warnings, err)
	}
	o.refused(request(), "1 of: lea, leo", "jit approve")
	waiting, _, err := o.ledger.Lookup(t.Context(), d.Grant.ID)
	if err != nil || waiting.State(o.now) != jit.StateRequested || waiting.Awaits != "1 of: lea, leo" {
		t.Errorf("recorded as %s, awaits %q, %v", waiting.State(o.now), waiting.Awaits, err)
	}
	if wanted := o.last(jit.EventApprovalWanted).Detail; wanted["approvers"] != "lea, leo" ||
		wanted["command"] != "jit approve "+string(d.Grant.ID) {
		t.Errorf("recorded with %v", wanted)
	}
	o.signs("lea", request())
	if d, err := o.Preview(t.Context(), request(), true); err != nil || len(d.Warnings) != 0 || d.Awaits != "" {
		t.Errorf("plan: %+v, awaits %q, %v", d.Warnings, d.Awaits, err)
	}
	g := o.grant(request())
	o.allowed(true)
	if g.Awaits != "" || !g.Live(o.now) {
		t.Errorf("granted as %+v", g)
	}
	want := []jit.EventKind{
		jit.EventRequested, jit.EventApprovalWanted, jit.EventRequested, jit.EventApproved,
		jit.EventApprovalUsed, jit.EventDecided, jit.EventGranted,
	}
	if got := o.kinds()[5:]; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// last returns the last event of a kind.
func (o *office) last(kind jit.EventKind) (last jit.Event) {
	o.t.Helper()
	for e, err := range jit.AllEvents(o.t.Context(), o.ledger) {
		if err != nil {
			o.t.Fatal(err)
		}
		if e.Kind == kind {
			last = e
		}
	}
	return last
}

// TestApprovalsThatDoNotCount tries attacks.
func TestApprovalsThatDoNotCount(t *testing.T) {
	other := request(func(r *broker.Request) { r.Reason = "INC-2: look" })
	for name, c := range map[string]struct {
		prepare func(*office)
		says    string
	}{
		"of nobody":               {func(*office) {}, "1 of: lea, leo"},
		"the principal's own":     {func(o *office) { o.signs("bob", request()) }, "bob is the principal"},
		"by a person of no group": {func(o *office) { o.signs("eve", request()) }, "1 of: lea, leo"},
		"of another request":      {func(o *office) { o.signs("lea", other) }, "1 of: lea, leo"},
		"of a longer one":         {func(o *office) { o.signs("lea", request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") })) }, "1 of: lea, leo"},
		"of another renewal":      {func(o *office) { o.signs("lea", request(func(r *broker.Request) { r.Renewal = 2 })) }, "1 of: lea, leo"},
		"that has lapsed":         {func(o *office) { o.signs("lea", request()); o.pass(25 * time.Hour) }, "valid until"},
		"by the actor of the run": {func(o *office) { o.signs("lea", request()); o.Actor.Name = "lea-gh" }, "lea started this run"},
		"that was deleted":        {func(o *office) { s := o.signs("lea", request()); o.remove(s) }, "1 of: lea, leo"},
		"with another's key":      {func(o *office) { o.keys["lea"] = o.keys["eve"]; o.signs("lea", request()) }, "belongs to eve"},
		"with a key of nobody":    {func(o *office) { o.keys["lea"] = newSigner(o.t); o.signs("lea", request()) }, "belongs to nobody"},
		"with a key that is gone": {func(o *office) {
			o.signs("lea", request())
			o.put(jit.Person{Name: "lea", Groups: []string{"group:leads"}})
			o.newRun()
		}, "belongs to nobody"},
		"denied by another": {func(o *office) {
			o.signs("lea", request())
			o.signs("leo", request(), func(s *approval.Statement) { s.Choice = jit.Deny })
		}, "leo denied it"},
		"by one added in the same run": {func(o *office) {
			o.keys["new"] = newSigner(o.t)
			key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(o.keys["new"].PublicKey())))
			o.signs("new", request())
			o.put(jit.Person{Name: "new", Groups: []string{"group:leads"}, SigningKeys: []string{key}})
		}, "belongs to nobody"},
		"by one who joins in the same run": {func(o *office) {
			o.signs("eve", request())
			o.put(jit.Person{Name: "eve", Groups: []string{"group:leads"}, SigningKeys: []string{o.line("eve")}})
		}, "1 of: lea, leo"},
		"dropped from the policy in the same run": {func(o *office) {
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit})
		}, "1 of: lea, leo"},
		"asked by a policy that goes in the same run": {func(o *office) {
			o.policy(jit.Policy{Name: "laxer", Effect: jit.Permit})
			if err := o.DropPolicy(o.t.Context(), "prod", 0); err != nil {
				o.t.Fatal(err)
			}
		}, "1 of: lea, leo"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			c.prepare(o)
			o.refused(request(), c.says)
			o.allowed(false)
		})
	}
}

// TestNamingAPolicyOfTheSameRun names a laxer policy of the same run. The policies from before the run still govern.
func TestNamingAPolicyOfTheSameRun(t *testing.T) {
	o := newOffice(t)
	o.policy(jit.Policy{Name: "laxer", Effect: jit.Permit})
	named := request(func(r *broker.Request) { r.Policy = "laxer" })
	o.refused(named, "1 of: lea, leo", "as it was before this run")
	o.newRun()
	o.grant(named)
}

func (o *office) line(name string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(o.keys[name].PublicKey())))
}

func (o *office) put(p jit.Person) {
	o.t.Helper()
	if err := o.PutPerson(o.t.Context(), p); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) policy(p jit.Policy) {
	o.t.Helper()
	if err := o.PutPolicy(o.t.Context(), p); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) remove(s approval.Signed) {
	o.t.Helper()
	if err := os.Remove(filepath.Join(o.dir, approval.FileName(s.Statement))); err != nil {
		o.t.Fatal(err)
	}
}

// TestApprovalsOfAnotherLedger replays approvals on another ledger with the same names.
func TestApprovalsOfAnotherLedger(t *testing.T) {
	o, replay := newOffice(t), newOffice(t)
	replay.ledger.Identity = "another"
	replay.keys = o.keys
	for name := range o.keys {
		all, err := o.Ledger.Persons(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if p.Name == name {
				replay.put(p)
			}
		}
	}
	o.signs("lea", request())
	replay.dir = o.dir
	replay.newRun()
	replay.refused(request(), "1 of: lea, leo")
	o.grant(request())
}

// TestAnApprovalCountsForOneGrant uses one statement twice. It lets only one grant begin.
func TestAnApprovalCountsForOneGrant(t *testing.T) {
	o := newOffice(t)
	o.signs("lea", request())
	g := o.grant(request())
	if _, _, err := o.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	o.newRun()
	if again, err := o.Grant(t.Context(), request()); err != nil || again.Live(o.now) {
		t.Errorf("got %+v, %v", again, err)
	}
	o.refused(request(func(r *broker.Request) { r.Renewal = 2 }), "1 of: lea, leo")
	o.allowed(false)
}

// TestExtending needs approval for a longer window only.
func TestExtending(t *testing.T) {
	o := newOffice(t)
	o.signs("lea", request())
	g := o.grant(request())
	o.newRun()
	longer := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") })
	_, err := o.Change(t.Context(), g, longer)
	wantError(t, err, jit.ErrDenied, "1 of: lea, leo")
	shorter, err := o.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") }))
	if err != nil {
		t.Fatal(err)
	}
	o.signs("leo", longer)
	if g, err = o.Change(t.Context(), shorter, longer); err != nil || g.Length() != 4*time.Hour {
		t.Errorf("got %s, %v", g.Length(), err)
	}
}

// TestApprovedByTheLedger records the decision of a person. It counts without a file, and for its own ledger alone.
func TestApprovedByTheLedger(t *testing.T) {
	o := newOffice(t)
	o.refused(request(), "1 of: lea, leo")
	d, err := o.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	waiting, _, err := o.ledger.Lookup(t.Context(), d.Grant.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bob", "eve"} {
		s := o.signsGrant(name, waiting)
		o.remove(s)
		if err := o.Decide(t.Context(), waiting, s); err == nil {
			t.Errorf("the decision of %s is recorded", name)
		}
	}
	elsewhere := o.signsGrant("leo", waiting, func(s *approval.Statement) { s.Digest = waiting.RequestDigest("another") })
	o.remove(elsewhere)
	wantError(t, o.Decide(t.Context(), waiting, elsewhere), jit.ErrInvalid, "about another request")
	s := o.signsGrant("leo", waiting)
	o.remove(s)
	if err := o.Decide(t.Context(), waiting, s); err != nil {
		t.Fatal(err)
	}
	o.newRun()
	o.grant(request())
	o.allowed(true)
}

// TestBreakingTheGlass begins a grant at once, which then needs a sign-off.
func TestBreakingTheGlass(t *testing.T) {
	o := newOffice(t)
	glass := func(reason string) broker.Request {
		return request(func(r *broker.Request) { r.Reason, r.Requester, r.BreakGlass = reason, "bob", true })
	}
	g := o.grant(glass("SEV1-1: down"))
	o.allowed(true)
	if !g.Unsigned() || g.Awaits != "1 of: lea, leo" || !slices.Contains(o.kinds(), jit.EventBreakGlass) {
		t.Errorf("granted as %+v, events %v", g, o.kinds())
	}
	if broke := o.last(jit.EventBreakGlass).Detail; broke["approvers"] != "lea, leo" || broke["requester"] != "bob" ||
		broke["command"] != "jit approve --sign-off "+string(g.ID) {
		t.Errorf("recorded with %v", broke)
	}
	o.Actor.Name = "lea-gh" // the approver is the actor of jit approve
	o.refused(glass("SEV1-2: down"), "nobody has signed that off", "jit approve --sign-off "+string(g.ID))
	for _, name := range []string{"bob", "lea"} {
		s := o.signsGrant(name, g, func(s *approval.Statement) { s.Choice = jit.SignOff })
		if err := o.Decide(t.Context(), g, s); (err == nil) != (name == "lea") {
			t.Errorf("%s signs off: %v", name, err)
		}
	}
	o.newRun()
	o.grant(glass("SEV1-2: down"))
}
