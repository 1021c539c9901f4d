package sweeper_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// TestChangesOfTheOwnRun accuse nobody, however long the run waits between them and the grant: the run obeys the rules
// without them.
func TestChangesOfTheOwnRun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, *bureau, *broker.Broker) error
		after  func(*testing.T, *broker.Broker) error
	}{
		"the approver goes": {change: func(t *testing.T, _ *bureau, run *broker.Broker) error {
			return run.DropPerson(t.Context(), "lea", 0)
		}},
		"the approver leaves the group": {change: func(t *testing.T, b *bureau, run *broker.Broker) error {
			key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(b.keys["lea"].PublicKey())))
			return run.PutPerson(t.Context(), jit.Person{Name: "lea", SigningKeys: []string{key}})
		}},
		"the policies go, long after the grant": {change: func(_ *testing.T, _ *bureau, run *broker.Broker) error {
			run.Planned = &broker.Planned{}
			run.Planned.Drop("prod")
			return nil
		}, after: func(t *testing.T, run *broker.Broker) error {
			return run.DropPolicy(t.Context(), "prod", 0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			run := b.run()
			if err := c.change(t, b, run); err != nil {
				t.Fatal(err)
			}
			b.now = b.now.Add(2 * time.Hour)
			b.approve("lea", request("8h"))
			if _, err := run.Grant(t.Context(), request("8h")); err != nil {
				t.Fatal(err)
			}
			b.now = b.now.Add(2 * time.Hour)
			if c.after != nil {
				if err := c.after(t, run); err != nil {
					t.Fatal(err)
				}
			}
			b.unaccused()
		})
	}
}

// unaccused fails the test if a pass or `jit audit verify` accuses a grant.
func (b *bureau) unaccused() {
	b.t.Helper()
	for _, f := range b.found(revokes) {
		b.t.Errorf("found: %s %s %s", f.Kind, f.Drift, f.Reason)
	}
	b.allowed(true)
	report, err := b.broker.Ledger.(*ledger.Ledger).Verify(b.t.Context())
	if err != nil || !report.OK() {
		b.t.Errorf("jit audit verify: %v %+v", err, report.Mismatches)
	}
}

// TestChangesOfOthers count at once, although the run had begun before them.
func TestChangesOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(run string, e jit.Event)
		says string
	}{
		"another run has removed the approver": {func(_ string, e jit.Event) {
			if e.Kind == jit.EventPersonRemoved {
				e.Detail["person"] = "lea"
			}
		}, "the approval of 0 of group:leads"},
		"the run itself has": {func(run string, e jit.Event) {
			if e.Kind == jit.EventPersonRemoved {
				e.Detail["person"], e.Detail[jit.RunDetail] = "lea", run
			}
		}, ""},
		"an older program, which names no run, has decided": {func(_ string, e jit.Event) {
			if e.Kind == jit.EventPersonRemoved {
				e.Detail["person"] = "lea"
			} else {
				delete(e.Detail, jit.RunDetail)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			run := b.run()
			b.approve("lea", request("8h"))
			b.now = b.now.Add(10 * time.Minute)
			if err := b.broker.DropPerson(t.Context(), "mallory", 0); err != nil {
				t.Fatal(err)
			}
			b.now = b.now.Add(30 * time.Minute)
			if _, err := run.Grant(t.Context(), request("8h")); err != nil {
				t.Fatal(err)
			}
			b.forge(func(e jit.Event) []jit.Event {
				c.edit(run.Run, e)
				return []jit.Event{e}
			})
			b.accused(c.says)
		})
	}
}

// TestPersonsOfTheFirstRun count for its own grants, even if it records them later: nobody else has recorded any.
func TestPersonsOfTheFirstRun(t *testing.T) {
	for name, others := range map[string]bool{"first": false, "another run was before": true} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			b.approve("lea", request("8h"))
			run := b.run()
			if _, err := run.Grant(t.Context(), request("8h")); err != nil {
				t.Fatal(err)
			}
			b.forge(func(e jit.Event) []jit.Event {
				if e.Kind == jit.EventPersonChanged && (!others || e.Person() != "leo") {
					e.At, e.Detail[jit.RunDetail] = b.now.Add(2*time.Hour), run.Run
				}
				return []jit.Event{e}
			})
			b.now = b.now.Add(2 * time.Hour)
			says := ""
			if others {
				says = "did not belong to lea then"
			}
			b.accused(says)
		})
	}
}

// accused fails the test unless a pass accuses the grant and says that; empty for no accusation.
func (b *bureau) accused(says string) {
	b.t.Helper()
	b.now = b.now.Add(time.Minute)
	found := b.found()
	if says == "" && len(found) > 0 || says != "" && (len(found) != 1 || !strings.Contains(found[0].Reason, says)) {
		b.t.Errorf("found %+v, want %q", found, says)
	}
}

// TestPolicyNotInForce: a decision that names no policy is accused, unless its own run removes the policies.
func TestPolicyNotInForce(t *testing.T) {
	for name, own := range map[string]bool{"another run removes it": false, "the run itself removes it": true} {
		t.Run(name, func(t *testing.T) {
			p := prod(1)
			p.Approval[0].Unless = "true"
			b := newBureau(t, p)
			run := b.run()
			if _, err := run.Grant(t.Context(), request("8h")); err != nil {
				t.Fatal(err)
			}
			b.now = b.now.Add(30 * time.Minute)
			remover := b.run()
			if own {
				remover = run
			}
			if err := remover.DropPolicy(t.Context(), "prod", 0); err != nil {
				t.Fatal(err)
			}
			b.forge(func(e jit.Event) []jit.Event {
				if e.Kind == jit.EventDecided {
					e.Policy = ""
				}
				return []jit.Event{e}
			})
			if own {
				b.accused("")
			} else {
				b.accused("which was not in force")
			}
		})
	}
}

// TestPolicyChangedByTheOwnRun: a run judges by the policy that it plans, and may record it long after the grant.
func TestPolicyChangedByTheOwnRun(t *testing.T) {
	p := prod(1)
	p.Match = jit.Matches{{Targets: p.Match[0].Targets, Roles: []string{"owner"}}}
	b := newBureau(t, p)
	run := b.run()
	open := jit.Policy{Name: "prod", Effect: jit.Permit}
	run.Planned = &broker.Planned{}
	run.Planned.Put(open)
	if _, err := run.Grant(t.Context(), request("8h")); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(2 * time.Hour)
	if err := run.PutPolicy(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	b.unaccused()
}
