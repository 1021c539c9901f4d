package cli

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// signs returns the event of a statement about a grant, signed with a key file.
func (o *office) signs(g jit.Grant, approver, key string, change func(*approval.Statement)) jit.Event {
	o.t.Helper()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	id, err := rt.Ledger.ID(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	s := approval.Statement{
		Choice: jit.Approve, Approver: approver, SignedAt: o.now, NotAfter: o.now.Add(time.Hour), Digest: g.RequestDigest(id),
	}
	if change != nil {
		change(&s)
	}
	text := s.Text(g.RequestFields())
	signer, err := (&program{}).privateKey(o.t.Context(), "--key", []byte(o.read(key)+"\n"), key)
	if err != nil {
		o.t.Fatal(err)
	}
	armored, err := approval.Sign(text, signer)
	if err != nil {
		o.t.Fatal(err)
	}
	signed, err := approval.Split(approval.Join(text, armored), "by hand")
	if err != nil {
		o.t.Fatal(err)
	}
	return jit.Event{At: o.now, Kind: signed.Kind(), Grant: g.ID, Detail: signed.Details()}
}

// records writes events as an attacker with write access to the ledger does: the hash chain stays valid.
func (o *office) records(events ...jit.Event) {
	o.t.Helper()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	for _, err := range rt.Ledger.Write(o.t.Context(), []jit.Entry{{Events: events}}) {
		if err != nil {
			o.t.Fatal(err)
		}
	}
}

// jit audit verify detects every forged decision, although the hash chain is valid.
func TestForgedDecisions(t *testing.T) {
	detail := func(e jit.Event, name, value string) jit.Event {
		e.Detail = maps.Clone(e.Detail)
		e.Detail[name] = value
		return e
	}
	for _, tt := range []struct {
		name  string
		event func(o *office, g jit.Grant) jit.Event
		says  string
	}{
		{"of an edited text", func(o *office, g jit.Grant) jit.Event {
			e := o.signs(g, "lea", "lea.key", nil)
			return detail(e, "text", strings.Replace(e.Detail["text"], "INC-1", "INC-2", 1))
		}, "the signature does not match"},
		{"without a signature", func(o *office, g jit.Grant) jit.Event {
			return detail(o.signs(g, "lea", "lea.key", nil), "signature", "")
		}, "no signed statement"},
		{"with a signature of another key", func(o *office, g jit.Grant) jit.Event {
			return o.signs(g, "lea", "leo.key", nil)
		}, "did not belong to lea then"},
		{"under another name", func(o *office, g jit.Grant) jit.Event {
			return detail(o.signs(g, "leo", "leo.key", nil), "person", "lea")
		}, `it names "lea"`},
		{"about another request", func(o *office, g jit.Grant) jit.Event {
			g.Reason = "INC-9: other"
			return o.signs(g, "lea", "lea.key", nil)
		}, "about another request"},
		{"of another kind", func(o *office, g jit.Grant) jit.Event {
			return o.signs(g, "lea", "lea.key", func(s *approval.Statement) { s.Choice = jit.Deny })
		}, ""},
		{"a denial as an approval", func(o *office, g jit.Grant) jit.Event {
			e := o.signs(g, "lea", "lea.key", func(s *approval.Statement) { s.Choice = jit.Deny })
			e.Kind = jit.EventApproved
			return e
		}, "no signed statement of its kind"},
		{"by the principal", func(o *office, g jit.Grant) jit.Event { return o.signs(g, "bob", "bob.key", nil) },
			"bob is the principal"},
		{"by nobody", func(o *office, g jit.Grant) jit.Event {
			return jit.Event{At: o.now, Kind: jit.EventDecided, Grant: g.ID, Policy: "prod", Detail: map[string]string{"approved_by": "leo"}}
		}, "says that leo approved, and no event proves it"},
		{"by one person twice", func(o *office, g jit.Grant) jit.Event {
			return jit.Event{At: o.now, Kind: jit.EventDecided, Grant: g.ID, Policy: "prod",
				Detail: map[string]string{"approved_by": "lea, LEA"}}
		}, "counts LEA twice"},
		{"a review by another account", func(o *office, g jit.Grant) jit.Event {
			r := approval.Reviewed{
				Person: "lea", Login: "mallory", Forge: approval.GitHub, At: o.now, NotAfter: o.now.Add(time.Hour),
				Digest: o.signs(g, "lea", "lea.key", nil).Detail["request_digest"],
			}
			return jit.Event{At: o.now, Kind: jit.EventApproved, Grant: g.ID, Detail: r.Details()}
		}, `the account "mallory" was not that of lea then`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t, 1)
			r := o.wish()
			o.plan(o.change("jit_grant.a", r))
			o.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes").wantCode(exitDone)
			g := o.granted(r)
			o.intact()
			o.records(tt.event(o, g))
			if tt.says == "" {
				o.intact()
				return
			}
			o.run("audit", "verify").wantCode(exitNotDone).wantOut(string(g.ID), tt.says).wantErr("1 finding")
		})
	}
}

// A signature counts by the keys the person had when it was recorded: a key removed since still proves it, and a key
// that was not the person's then does not.
func TestKeysOfTheirTime(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes").wantCode(exitDone)
	g := o.granted(r)
	put := func(file string) {
		t.Helper()
		rt := o.runtime()
		defer func() { _ = rt.Close() }()
		err := rt.Broker.PutPerson(t.Context(), jit.Person{
			Name: "lea", Groups: []string{"group:leads"}, SigningKeys: []string{o.read(file)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	o.keygen("-q", "-t", "ed25519", "-N", "", "-f", "new.key")
	o.now = o.now.Add(2 * time.Hour)
	put("new.key.pub")
	o.intact()
	o.now = o.now.Add(time.Minute)
	o.records(o.signs(g, "lea", "lea.key", nil))
	o.run("audit", "verify").wantCode(exitNotDone).wantOut("did not belong to lea then")
}
