package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lead returns a person of the leads with that key.
func lead(name string, key ssh.Signer) jit.Person {
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	return jit.Person{Name: name, Groups: []string{"group:leads"}, SigningKeys: []string{line}}
}

func (o *office) drop(name string) {
	o.t.Helper()
	if err := o.DropPerson(o.t.Context(), name, 0); err != nil {
		o.t.Fatal(err)
	}
}

// TestTheOrderOfChangesInARun does not matter: whoever counted before the run counts, with the key of then.
func TestTheOrderOfChangesInARun(t *testing.T) {
	for order := range 2 {
		for _, signedWithNew := range []bool{false, true} {
			t.Run(fmt.Sprintf("order %d, new key %t", order, signedWithNew), func(t *testing.T) {
				o := newOffice(t)
				old, another := o.keys["lea"], newSigner(t)
				if signedWithNew {
					o.keys["lea"] = another
				}
				o.signs("lea", request())
				changes := []func(){
					func() { o.drop("lea") },
					func() { o.put(lead("lea", another)); o.put(lead("lena", old)) },
				}
				if order == 1 {
					changes[0], changes[1] = func() { o.put(lead("lea", another)) }, changes[0]
				}
				for _, change := range changes {
					change()
					o.newProcess()
				}
				if signedWithNew {
					o.refused(request(), "belongs to nobody")
					return
				}
				o.grant(request())
			})
		}
	}
}

// TestAnotherRunTakesAKeyAway from a person whom this run has changed: the key counts no more, whatever this run
// records afterwards.
func TestAnotherRunTakesAKeyAway(t *testing.T) {
	o := newOffice(t)
	o.signs("lea", request())
	mine := o.Run
	o.put(lead("lea", o.keys["lea"]))
	o.newRun()
	o.put(lead("lea", newSigner(t)))
	o.newRun(func(b *broker.Broker) { b.Run = mine })
	o.put(lead("lea", o.keys["lea"]))
	o.refused(request(), "belongs to nobody")
	o.newRun()
	o.grant(request())
}

// TestAnotherRunAsksForApproval while this run has changed the policy: both are asked.
func TestAnotherRunAsksForApproval(t *testing.T) {
	open := jit.Policy{Name: "prod", Effect: jit.Permit}
	strict := open
	strict.Approval = leads(func(r *jit.Requirement) { r.Required = 2 })
	o := newOffice(t, func(p *jit.Policy) { p.Approval, p.BreakGlass = nil, nil })
	mine := o.Run
	o.policy(jit.Policy{Name: "prod", Effect: jit.Permit, Description: "mine"})
	o.newRun()
	o.policy(strict)
	o.newRun(func(b *broker.Broker) { b.Run = mine })
	o.policy(open)
	o.refused(request(), "2 of: lea, leo")
}

// TestPersonsAfterThoseThatWereRemoved do not count as the first of the ledger.
func TestPersonsAfterThoseThatWereRemoved(t *testing.T) {
	for _, sameRun := range []bool{false, true} {
		o := newOffice(t)
		for _, name := range []string{"lea", "leo", "bob", "eve"} {
			o.drop(name)
		}
		if !sameRun {
			o.newRun()
		}
		run := o.Run
		o.keys["new"] = newSigner(t)
		o.signs("new", request())
		o.newRun(func(b *broker.Broker) { b.Run = run })
		o.put(lead("new", o.keys["new"]))
		o.refused(request(), "belongs to nobody")
		o.newRun()
		o.grant(request())
	}
}

var byLea = []jit.Requirement{{Required: 1, From: []string{"lea"}}}

// TestTheFirstPersonsOfAnotherProcess count, until another run has recorded one.
func TestTheFirstPersonsOfAnotherProcess(t *testing.T) {
	o := newFirstOffice(t)
	o.policy(jit.Policy{Name: "first", Effect: jit.Permit, Approval: byLea})
	o.newRun()
	o.signs("lea", request())
	o.put(lead("lea", o.keys["lea"]))
	run := o.Run
	o.newRun()
	o.put(jit.Person{Name: "zoe"})
	o.newRun(func(b *broker.Broker) { b.Run = run })
	o.refused(request(), "nobody who may approve")
	o.newRun()
	o.grant(request())

	o = newFirstOffice(t)
	o.policy(jit.Policy{Name: "first", Effect: jit.Permit, Approval: byLea})
	o.newRun()
	o.signs("lea", request())
	o.put(lead("lea", o.keys["lea"]))
	o.newProcess()
	o.grant(request())
}

// TestSignOffWithoutThePolicy: when no policy asks for approval any more, those who were skipped sign off, and when
// they have left, anybody else.
func TestSignOffWithoutThePolicy(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*office)
		signs  map[string]bool
	}{
		{"the policy asks for nobody", func(o *office) { o.policy(jit.Policy{Name: "prod", Effect: jit.Permit}) },
			map[string]bool{"bob": false, "eve": false, "leo": true}},
		{"the policy has gone", func(o *office) {
			o.policy(jit.Policy{Name: "other", Effect: jit.Permit, Match: jit.Matches{{Targets: []string{"x"}}}})
			if err := o.DropPolicy(o.t.Context(), "prod", 0); err != nil {
				o.t.Fatal(err)
			}
		}, map[string]bool{"bob": false, "eve": false, "leo": true}},
		{"those whom it asks have left", func(o *office) { o.drop("lea"); o.drop("leo") },
			map[string]bool{"bob": false, "eve": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t)
			g := o.grant(glass("SEV1-1: down", "bob"))
			o.newRun()
			c.change(o)
			for name, want := range c.signs {
				s := o.signsGrant(name, g, func(s *approval.Statement) { s.Choice = jit.SignOff })
				o.newRun(func(b *broker.Broker) { b.Run = "" })
				if err := o.Decide(t.Context(), g, s); (err == nil) != want {
					t.Errorf("%s signs off: %v, want it to count: %t", name, err, want)
				}
			}
		})
	}
}

// TestAShorterBrokenGlass is no new one.
func TestAShorterBrokenGlass(t *testing.T) {
	o := newOffice(t)
	r := glass("SEV1-1: down", "bob")
	g := o.grant(r)
	before := o.last(jit.EventBreakGlass).Seq
	o.newRun()
	r.TTL = jit.RecordedTTL("1h")
	if g, err := o.Change(t.Context(), g, r); err != nil || !g.Unsigned() || o.last(jit.EventBreakGlass).Seq != before {
		t.Errorf("got %+v, %v, broken again in event %d", g, err, o.last(jit.EventBreakGlass).Seq)
	}
}

// newFirstOffice is an office of lea alone, without a person in the ledger.
func newFirstOffice(t *testing.T) *office {
	return &office{world: newWorld(t, jit.Native), keys: map[string]ssh.Signer{"lea": newSigner(t)}, dir: t.TempDir()}
}

// TestPersonsOfTheFirstRun: while the ledger has no persons, those of the same run count.
func TestPersonsOfTheFirstRun(t *testing.T) {
	o := newFirstOffice(t)
	o.policy(jit.Policy{Name: "first", Effect: jit.Permit})
	o.newRun()
	o.policy(jit.Policy{Name: "first", Effect: jit.Permit, Approval: byLea})
	o.signs("lea", request())
	o.refused(request(), "nobody who may approve")
	o.newRun()
	o.put(jit.Person{Name: "lea", SigningKeys: []string{o.line("lea")}})
	o.grant(request())
}

// TestBeforeTheLedgerExists nobody can approve: a statement would be about a ledger without a name.
func TestBeforeTheLedgerExists(t *testing.T) {
	o := newFirstOffice(t)
	o.newRun(func(b *broker.Broker) { b.Planned = &broker.Planned{} })
	o.Planned.PutPerson(lead("lea", o.keys["lea"]))
	o.Planned.Put(jit.Policy{Name: "first", Effect: jit.Permit, Approval: byLea})
	const says = "nobody can approve it before the ledger exists"
	d, err := o.Preview(t.Context(), request(), true)
	if err != nil || len(d.Warnings) != 1 || !strings.Contains(d.Warnings[0].Detail, says) {
		t.Errorf("plan: %+v, %v", d.Warnings, err)
	}
	_, err = o.Grant(t.Context(), request())
	wantError(t, err, jit.ErrUnapproved, says)
	o.allowed(false)
}

// TestForbidsFromBeforeTheRun count in it, whether the run drops or changes them. The next run permits.
func TestForbidsFromBeforeTheRun(t *testing.T) {
	owners := request(func(r *broker.Request) { r.Binding.Role = "owner" })
	never := jit.Policy{Name: "never", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"owner"}}}}
	for name, change := range map[string]func(*office){
		"the forbid goes": func(o *office) {
			if err := o.DropPolicy(t.Context(), "never", 0); err != nil {
				t.Fatal(err)
			}
		},
		"the forbid is about others": func(o *office) {
			other := never
			other.Match = jit.Matches{{Roles: []string{"admin"}}}
			o.policy(other)
		},
		"the forbid is to go": func(o *office) {
			o.Planned = &broker.Planned{}
			o.Planned.Drop("never")
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.policy(jit.Policy{Name: "open", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"owner"}}}})
			o.policy(never)
			o.newRun()
			change(o)
			_, err := o.Preview(t.Context(), owners, true)
			wantError(t, err, jit.ErrDenied, `policy "never"`, "as it was before this run")
			o.mustWrite(0, func() {
				_, err := o.Grant(t.Context(), owners)
				wantError(t, err, jit.ErrDenied, `policy "never"`, "as it was before this run")
			})
			if o.Planned != nil {
				return
			}
			o.newRun()
			o.grant(owners)
		})
	}
}

// TestOverlappingPolicies: the approval of one permit that the grant keeps in full suffices, in the run and for
// `jit approve`.
func TestOverlappingPolicies(t *testing.T) {
	for name, limit := range map[string]time.Duration{"the other is too short": time.Hour, "both are kept": 0} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.policy(jit.Policy{Name: "zlong", Effect: jit.Permit, MaxTTL: limit,
				Approval: []jit.Requirement{{Required: 1, From: []string{"eve"}}}})
			o.newRun()
			o.refused(request(), "1 of: lea, leo")
			if awaits := o.last(jit.EventApprovalWanted).Detail["awaits"]; awaits != "1 of: lea, leo" {
				t.Errorf("the run waits for %q", awaits)
			}
			o.signs("lea", request())
			o.grant(request())
		})
	}
}
