package sweeper_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func revokes(s *sweeper.Sweeper) { s.RevokeViolations = true }

// found makes a pass and returns the findings.
func (b *bureau) found(change ...func(*sweeper.Sweeper)) []sweeper.Result {
	b.t.Helper()
	report := b.drifting(jit.RepairDrift, change...).Pass(b.t.Context())
	if len(report.Unread) > 0 || report.Failed() > 0 {
		b.t.Errorf("unread %v, results %+v", report.Unread, report.Results)
	}
	return report.Results
}

// forgeries are the ways to make the record of an approved grant prove nothing.
var forgeries = []struct {
	name string
	edit func(b *bureau, g jit.Grant) func(jit.Event) []jit.Event
	says string
}{
	{"the text is edited", func(*bureau, jit.Grant) func(jit.Event) []jit.Event {
		return detail(jit.EventApproved, func(d map[string]string) {
			d["text"] = strings.Replace(d["text"], "INC-1", "INC-2", 1)
		})
	}, "the signature does not match"},
	{"another key has signed", func(b *bureau, g jit.Grant) func(jit.Event) []jit.Event {
		return detail(jit.EventApproved, func(d map[string]string) {
			maps.Copy(d, b.statement("lea", "mallory", g).Details())
		})
	}, "did not belong to lea then"},
	{"the statement is about another request", func(b *bureau, g jit.Grant) func(jit.Event) []jit.Event {
		g.Reason = "INC-2"
		return detail(jit.EventApproved, func(d map[string]string) {
			maps.Copy(d, b.statement("lea", "lea", g).Details())
		})
	}, "about another request"},
	{"the principal has approved", func(b *bureau, g jit.Grant) func(jit.Event) []jit.Event {
		approved := detail(jit.EventApproved, func(d map[string]string) {
			maps.Copy(d, b.statement("bob", "bob", g).Details())
		})
		decided := detail(jit.EventDecided, func(d map[string]string) { d["approved_by"] = "bob" })
		return func(e jit.Event) []jit.Event { return decided(approved(e)[0]) }
	}, "bob is the principal"},
	{"one person counts twice", func(*bureau, jit.Grant) func(jit.Event) []jit.Event {
		return detail(jit.EventDecided, func(d map[string]string) { d["approved_by"] = "lea, LEA" })
	}, "counts LEA twice"},
	{"the approval is removed", func(*bureau, jit.Grant) func(jit.Event) []jit.Event {
		return drop(func(e jit.Event) bool { return e.Kind == jit.EventApproved })
	}, "lea approved, and no event proves it"},
	{"the decision is removed", func(*bureau, jit.Grant) func(jit.Event) []jit.Event {
		return drop(func(e jit.Event) bool { return e.Kind == jit.EventDecided })
	}, "no event says who or what decided on it"},
	{"every event is removed", func(_ *bureau, g jit.Grant) func(jit.Event) []jit.Event {
		return drop(func(e jit.Event) bool { return e.Grant == g.ID })
	}, "no event describes the grant"},
	{"the account of a review is another's", func(b *bureau, g jit.Grant) func(jit.Event) []jit.Event {
		return func(e jit.Event) []jit.Event {
			if e.Kind == jit.EventApproved {
				e.Detail = approval.Reviewed{
					Person: "lea", Login: "mallory-gh", Forge: approval.GitHub, At: jit.Second(e.At),
					NotAfter: jit.Second(e.At).Add(time.Hour), Digest: g.RequestDigest(b.ledgerID()),
				}.Details()
			}
			return []jit.Event{e}
		}
	}, "was not that of lea then"},
	{"nobody has approved", func(*bureau, jit.Grant) func(jit.Event) []jit.Event {
		nobody := detail(jit.EventDecided, func(d map[string]string) { clear(d) })
		return func(e jit.Event) []jit.Event {
			if e.Kind == jit.EventApproved {
				return nil
			}
			return nobody(e)
		}
	}, "the approval of 0 of group:leads, and 1 are required"},
	{"one of two has approved", func(*bureau, jit.Grant) func(jit.Event) []jit.Event {
		return func(e jit.Event) []jit.Event {
			if e.Kind == jit.EventPolicyChanged { // as it was when the grant began
				e.Detail = prod(2).Facts()
			}
			return []jit.Event{e}
		}
	}, "the approval of 1 of group:leads, and 2 are required"},
}

// TestForgedApprovals are found, whoever made the chain anew: reported, or ended if the settings say so.
func TestForgedApprovals(t *testing.T) {
	for _, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			g := b.granted(request("8h"), "lea")
			b.forge(f.edit(b, g))
			for range 3 {
				found := b.found()
				if len(found) != 1 || found[0].Kind != reconcile.Report || found[0].Drift != jit.DriftUnapproved ||
					found[0].Severity != jit.Critical || !strings.Contains(found[0].Reason, f.says) {
					t.Fatalf("found %+v, want %q", found, f.says)
				}
			}
			b.allowed(true)
			if n := len(b.events(jit.EventDrift)); n != 1 {
				t.Errorf("recorded %d times, want once", n)
			}
			found := b.found(revokes, func(s *sweeper.Sweeper) { s.DryRun = true })
			if len(found) != 1 || found[0].Kind != reconcile.Revoke {
				t.Errorf("a dry run found %+v", found)
			}
			b.allowed(true)
			if found := b.found(revokes); len(found) != 1 || found[0].Kind != reconcile.Revoke {
				t.Errorf("found %+v, want a revocation", found)
			}
			b.allowed(false)
			revoked, _, err := b.broker.Ledger.Lookup(t.Context(), g.ID)
			if err != nil || revoked.EndedAt.IsZero() || !strings.Contains(revoked.RevokeReason, "not proved") {
				t.Errorf("recorded as %+v, %v", revoked, err)
			}
			b.found(revokes)
			b.allowed(false)
		})
	}
}

// TestUnapprovedIsNotPutBack, by no sweep and no apply, and it is narrowed where it is too wide.
func TestUnapprovedIsNotPutBack(t *testing.T) {
	b := newBureau(t, prod(1))
	g := b.granted(request("8h"), "lea")
	b.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
	b.found()
	b.found()
	b.allowed(true) // while its approval is proved, it is
	b.forge(drop(func(e jit.Event) bool { return e.Kind == jit.EventApproved }))

	b.platform.Edit("all", func(o []jit.Observed) []jit.Observed {
		o = slices.Clone(o)
		o[0].Role = "owner"
		return o
	})
	b.found()
	if found := b.found(); len(found) != 2 {
		t.Errorf("found %+v, want a report and a repair", found)
	}
	b.allowed(true)
	b.found() // reads what was repaired

	b.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
	b.found()
	found := b.found()
	if len(found) != 1 || found[0].Kind != reconcile.Report ||
		!strings.HasSuffix(found[0].Reason, "missing, and not put back") {
		t.Errorf("found %+v", found)
	}
	b.allowed(false)
	if _, err := b.run().Change(t.Context(), g, request("8h")); !errors.Is(err, jit.ErrUnapproved) {
		t.Errorf("an apply: %v, want a refusal", err)
	}
	b.allowed(false)
}

// TestApprovedIsNoDrift, whatever becomes of the people and the policy since.
func TestApprovedIsNoDrift(t *testing.T) {
	for name, since := range map[string]func(*bureau) error{
		"nothing happens": func(*bureau) error { return nil },
		"the approver has another key": func(b *bureau) error {
			b.keys["lea"] = newKey(t)
			b.person(jit.Person{Name: "lea", Groups: []string{"group:leads"}})
			return nil
		},
		"the approver has no key": func(b *bureau) error {
			return b.broker.PutPerson(t.Context(), jit.Person{Name: "lea"})
		},
		"the approver leaves":      func(b *bureau) error { return b.broker.DropPerson(t.Context(), "lea", 0) },
		"more people are required": func(b *bureau) error { return b.broker.PutPolicy(t.Context(), prod(2)) },
		"the policy goes": func(b *bureau) error {
			return errors.Join(b.broker.DropPolicy(t.Context(), "prod", 0),
				b.broker.PutPolicy(t.Context(), jit.Policy{Name: "all", Effect: jit.Permit}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			b.granted(request("8h"), "lea")
			if err := since(b); err != nil {
				t.Fatal(err)
			}
			b.now = b.now.Add(2 * time.Hour)
			if found := b.found(revokes); len(found) != 0 {
				t.Errorf("found %+v", found)
			}
			b.allowed(true)
		})
	}
	for name, grant := range map[string]func(*bureau){
		"two people": func(b *bureau) {
			if err := b.broker.PutPolicy(t.Context(), prod(2)); err != nil {
				t.Fatal(err)
			}
			b.granted(request("8h"), "lea", "leo")
		},
		"a broken glass": func(b *bureau) {
			r := request("8h")
			r.BreakGlass, r.Requester = true, "bob"
			b.granted(r)
		},
		"a review of a pull request": func(b *bureau) {
			review := approval.Reviewed{
				Login: "lea-gh", Forge: approval.GitHub, Repository: "acme/access", Number: 7, Commit: "c0ffee",
				Review: "1", At: jit.Second(b.now), NotAfter: jit.Second(b.now).Add(time.Hour),
			}
			asked := request("8h")
			recorded, ignored, err := b.broker.DecideByReview(t.Context(), asked,
				b.asked(asked).RequestDigest(b.ledgerID()), []approval.Reviewed{review})
			if err != nil || len(recorded) != 1 {
				t.Fatal(recorded, ignored, err)
			}
			b.granted(request("8h"))
		},
		"an approver whom a machine recorded whose clock is ahead": func(b *bureau) {
			b.now = b.now.Add(20 * time.Second)
			b.keys["lou"] = newKey(t)
			b.person(jit.Person{Name: "lou", Groups: []string{"group:leads"}})
			b.now = b.now.Add(-20 * time.Second)
			b.granted(request("8h"), "lou")
		},
		"a longer ttl that is approved too": func(b *bureau) {
			g := b.granted(request("8h"), "lea")
			b.approve("leo", request("10h"))
			if _, err := b.run().Change(t.Context(), g, request("10h")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			grant(b)
			if found := b.found(revokes); len(found) != 0 {
				t.Errorf("found %+v", found)
			}
			b.allowed(true)
		})
	}
}

// TestProofsThatCannotBeRead accuse nobody, and give nothing back.
func TestProofsThatCannotBeRead(t *testing.T) {
	away := errors.New("the ledger is away")
	for name, fail := range map[string]func(*counted){
		"rules": func(c *counted) { c.failRules = away }, "events": func(c *counted) { c.failEvents = away },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			g := b.granted(request("8h"), "lea")
			c := &counted{Ledger: b.broker.Ledger}
			fail(c)
			b.broker.Ledger = c
			for _, there := range []bool{true, false} {
				report := b.drifting(jit.RepairDrift, revokes).Pass(t.Context())
				if len(report.Results) != 0 || !errors.Is(errors.Join(report.Unread...), away) {
					t.Errorf("there %t: did %+v, unread %v", there, report.Results, report.Unread)
				}
				b.allowed(there)
				b.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
				_ = b.drifting(jit.ReportDrift).Pass(t.Context()) // the reads lag
			}
			if g, _, err := c.Lookup(t.Context(), g.ID); err != nil || !g.RevokedAt.IsZero() {
				t.Errorf("recorded as %+v, %v", g, err)
			}
		})
	}
}

// TestProofsAreReadTogether: a pass over many approved grants reads the rules once and the events scope by scope, and
// one over grants that need no approval reads no events.
func TestProofsAreReadTogether(t *testing.T) {
	const scopes, each = 10, 40
	for name, policy := range map[string]jit.Policy{
		"approved": prod(1), "no approval": {Name: "all", Effect: jit.Permit},
	} {
		t.Run(name, func(t *testing.T) {
			other := prod(1)
			other.Name, other.Match = "others", jit.Matches{{Targets: []string{"other"}}}
			b := newBureau(t, policy, other)
			run := b.run()
			asked := make([]broker.Request, scopes*each)
			for i := range asked {
				asked[i] = request("8h")
				asked[i].Binding.Scope, asked[i].Reason = fmt.Sprint("scope ", i%scopes), fmt.Sprint("INC-", i)
				if len(policy.Approval) > 0 {
					b.approve("lea", asked[i])
				}
			}
			var all sync.WaitGroup
			for _, r := range asked {
				all.Go(func() {
					if _, err := run.Grant(t.Context(), r); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			c := &counted{Ledger: b.broker.Ledger}
			b.broker.Ledger = c
			if found := b.found(); len(found) != 0 {
				t.Errorf("found %d", len(found))
			}
			most := 0
			if len(policy.Approval) > 0 {
				most = scopes
			}
			if c.rules != 1 || c.events != most {
				t.Errorf("rules read %d times, events %d times; want 1 and %d", c.rules, c.events, most)
			}
		})
	}
}

// TestPeopleWhoCameMeanwhile: nobody is accused by rules that were read before an approver was recorded.
func TestPeopleWhoCameMeanwhile(t *testing.T) {
	b := newBureau(t, prod(1))
	rules, err := b.broker.Rulebook(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.keys["lou"] = newKey(t)
	b.person(jit.Person{Name: "lou", Groups: []string{"group:leads"}})
	g := b.granted(request("8h"), "lou")
	if wrong, err := b.broker.Unapproved(t.Context(), rules, []jit.Grant{g}); err != nil || len(wrong) > 0 {
		t.Errorf("accused: %v, %v", wrong, err)
	}
}
