package broker_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// lose deletes the records and keeps the platform.
func (w *world) lose(policies ...jit.Policy) {
	w.t.Helper()
	w.ledger = &jittest.Ledger{}
	w.Broker.Ledger = w.ledger
	for _, p := range policies {
		if err := w.PutPolicy(w.t.Context(), p); err != nil {
			w.t.Fatal(err)
		}
	}
}

// adopt records the grants of the markers on the scopes, and returns them. The error names those refused.
func (w *world) adopt(observed map[jit.Place]jit.Snapshot) ([]jit.Grant, error) {
	w.t.Helper()
	found, refused, err := w.Unrecorded(w.t.Context(), observed)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, err := range w.Adopt(w.t.Context(), found) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return found, errors.Join(refused...)
}

// observed returns the platform's read of its only scope.
func (w *world) observed() map[jit.Place]jit.Snapshot {
	w.t.Helper()
	s, err := w.platform.Read(w.t.Context(), "all")
	if err != nil {
		w.t.Fatal(err)
	}
	return map[jit.Place]jit.Snapshot{{Target: "db", Scope: "all"}: s}
}

func withReason() jit.Policy {
	return jit.Policy{Name: "oncall", Effect: jit.Permit, ReasonPattern: "^INC-[0-9]+: ", MaxTTL: 4 * time.Hour}
}

// A lost reason violates no policy. The adopted grant is not revoked and can be extended.
func TestAnAdoptedGrantIsNotJudgedByTheReasonThatWasLost(t *testing.T) {
	w := newWorld(t, jit.Native)
	made := w.grant(request(func(r *broker.Request) { r.TerminateSessions = true }))
	w.lose(withReason())
	found, err := w.adopt(w.observed())
	if err != nil || len(found) != 1 || found[0].ID != made.ID || !found[0].Window.Equal(made.Window) {
		t.Fatalf("found %+v, %v", found, err)
	}
	policies, err := w.Policies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if broken, err := w.Violations(t.Context(), policies, found); err != nil || len(broken) != 0 {
		t.Errorf("violations %v, %v", broken, err)
	}
	short := []jit.Policy{{Name: "short", Effect: jit.Permit, ReasonPattern: "^INC", MaxTTL: time.Hour}}
	if broken, err := w.Violations(t.Context(), short, found); err != nil || len(broken) != 1 {
		t.Errorf("a grant that is too long violates the policies %v, %v; want one", broken, err)
	}

	longer := request(func(r *broker.Request) { r.TTL, r.TerminateSessions = jit.RecordedTTL("3h"), true })
	if _, err := w.PreviewChange(t.Context(), made, longer); err != nil {
		t.Errorf("plan of a longer ttl: %v", err)
	}
	g, err := w.Change(t.Context(), made, longer)
	if err != nil {
		t.Fatal(err)
	}
	if g.Reason != made.Reason || g.Renewal != made.Renewal || !g.TerminateSessions ||
		!g.End.Equal(made.Start.Add(3*time.Hour)) {
		t.Errorf("after the change the record is %+v", g)
	}
}

// An apply of the same block restores the facts that no marker has, and keeps the window.
func TestAnApplyMakesAnAdoptedRecordWhole(t *testing.T) {
	w := newWorld(t, jit.Native)
	asked := request(func(r *broker.Request) { r.TerminateSessions, r.Renewal = true, 3 })
	made := w.grant(asked)
	w.lose()
	if _, err := w.adopt(w.observed()); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	w.mustWrite(0, func() {
		g := w.grant(asked)
		if g.ID != made.ID || !g.Window.Equal(made.Window) || g.Reason != made.Reason || g.Renewal != 3 ||
			!g.TerminateSessions {
			t.Errorf("the record is %+v, want the original %+v", g, made)
		}
	})
}

// A record without the principal's name gets it from the request. Such records come from markers and older versions.
func TestAnApplyRecordsTheNameOfThePrincipal(t *testing.T) {
	for name, tt := range map[string]struct {
		lost, adopted, changes bool
	}{
		"older, created again": {},
		"older, changed":       {changes: true},
		"lost, created again":  {lost: true},
		"adopted, created":     {lost: true, adopted: true},
		"adopted, changed":     {lost: true, adopted: true, changes: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			made := w.grant(request())
			if tt.lost {
				w.lose()
			}
			if tt.adopted {
				if _, err := w.adopt(w.observed()); err != nil {
					t.Fatal(err)
				}
			}
			w.platform.Traits.PrincipalName = "bob@laptop"
			for range 2 {
				var g jit.Grant
				var err error
				if tt.changes {
					g, err = w.Change(t.Context(), made, request())
				} else {
					g, err = w.Grant(t.Context(), request())
				}
				if err != nil || g.PrincipalName != "bob@laptop" {
					t.Errorf("returned the name %q, %v", g.PrincipalName, err)
				}
			}
			g, _, err := w.ledger.Lookup(t.Context(), made.ID)
			if err != nil || g.PrincipalName != "bob@laptop" || g.Reason != made.Reason ||
				!g.Window.Equal(made.Window) {
				t.Errorf("recorded %+v, %v", g, err)
			}
			var account jit.Account
			for e, err := range w.ledger.EventsOf(t.Context(), []jit.ID{made.ID}) {
				if err != nil {
					t.Fatal(err)
				}
				account.Add(e)
			}
			if wrong := account.Contradictions(g); len(wrong) > 0 {
				t.Errorf("the events contradict the record: %v", wrong)
			}
			adopted := slices.DeleteFunc(w.kinds(), func(k jit.EventKind) bool { return k != jit.EventAdopted })
			if tt.changes && !tt.adopted && len(adopted) != 1 {
				t.Errorf("%d events of the name, want 1", len(adopted))
			}
		})
	}
}

// Of several copies of a binding, the one that ends first is recorded. A longer copy does not extend the grant, and a
// copy that may not be recorded does not prevent recording the grant.
func TestAdoptTakesTheCopyThatEndsFirst(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(jit.Grant) time.Time
		first bool
	}{
		"a copy that ends later, read first": {func(g jit.Grant) time.Time { return g.End.Add(time.Hour) }, true},
		"a copy that is too long, read last": {func(g jit.Grant) time.Time { return g.Start.AddDate(70, 0, 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			made := w.grant(request())
			at := jit.Place{Target: "db", Scope: "all"}
			w.lose()
			observed := w.observed()
			s := observed[at]
			longer := s.Ours[0]
			longer.Marker.Window.End = c.end(made)
			if s.Ours = append(s.Ours, longer); c.first {
				slices.Reverse(s.Ours)
			}
			observed[at] = s
			if found, err := w.adopt(observed); err != nil || len(found) != 1 || !found[0].Window.Equal(made.Window) {
				t.Errorf("found %+v, %v; want the window %v", found, err, made.Window)
			}
		})
	}
}

// Recorded grants stay unchanged, whatever today's settings are.
func TestAdoptDoesNotJudgeWhatIsRecorded(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.grant(request())
	w.MaxTTL = time.Hour
	if found, err := w.adopt(w.observed()); err != nil || len(found) != 0 {
		t.Errorf("found %+v, %v; want nothing", found, err)
	}
}

// Anyone can write a marker. A marker longer than any grant is not recorded as live.
func TestAdoptRecordsNothingLiveThatIsLongerThanAnyGrant(t *testing.T) {
	w := newWorld(t, jit.Native)
	made := w.grant(request())
	at := jit.Place{Target: "db", Scope: "all"}
	w.lose()
	observed := w.observed()
	s := observed[at]
	s.Ours[0].Marker.Window.End = made.Start.AddDate(70, 0, 0)
	observed[at] = s
	found, err := w.adopt(observed)
	if len(found) != 0 {
		t.Errorf("recorded %+v", found)
	}
	wantError(t, err, jit.ErrInvalid, string(made.ID), "max_ttl is 1d")

	// An ended grant of any length is recorded, so that it cannot come back.
	w.now = made.Start.AddDate(71, 0, 0)
	if found, err := w.adopt(observed); err != nil || len(found) != 1 || !found[0].Over(w.now) {
		t.Errorf("found %+v, %v; want an ended grant", found, err)
	}
}

// On a platform that cannot begin access by itself, a binding before its beginning is recorded as not yet granted.
func TestAdoptOfWhatHasNotBegun(t *testing.T) {
	for _, native := range []bool{true, false} {
		w := newWorld(t, jit.Native)
		w.platform.Traits.NativeStart = native
		made := w.grant(request())
		w.lose()
		observed := w.observed()
		w.now = made.Start.Add(-time.Hour)
		found, err := w.adopt(observed)
		if err != nil || len(found) != 1 {
			t.Fatalf("found %+v, %v", found, err)
		}
		g := found[0]
		if g.State(w.now) != jit.StateScheduled || g.GrantedAt.IsZero() == native || g.GrantedAt.After(w.now) ||
			!g.Deferred() {
			t.Errorf("native start %t: recorded as %s, granted at %s, requested at %s", native, g.State(w.now),
				g.GrantedAt, g.RequestedAt)
		}
		if w.now = made.Start; g.DueToStart(w.now) == native {
			t.Errorf("native start %t: at its start, due to start is %t", native, g.DueToStart(w.now))
		}
	}
}

// alter changes the markers of all bindings, and the ends with them.
func (w *world) alter(change func(*jit.Window)) {
	w.platform.Edit("all", func(all []jit.Observed) []jit.Observed {
		for i := range all {
			change(&all[i].Marker.Window)
			all[i].End = all[i].Marker.Window.End
		}
		return all
	})
}

// With ledger and state lost, no plan or apply adopts a marker's window that exceeds the request.
func TestAMarkerGivesNoMoreThanIsAskedFor(t *testing.T) {
	end := func(r *broker.Request) {
		r.TTL, r.ExpiresAt = jit.TTL{}, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for name, tt := range map[string]struct {
		change  func(*jit.Window)
		asked   func(*broker.Request)
		refused []string
	}{
		"longer than any grant": {func(w *jit.Window) { w.End = w.End.AddDate(70, 0, 0) }, func(*broker.Request) {},
			[]string{"ttl", "max_ttl of the provider is 1d", "take the binding off"}},
		"longer than any grant, with an end": {func(w *jit.Window) {
			w.End = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
		}, end,
			[]string{"expires_at", "max_ttl of the provider is 1d"}}, // the request is refused before the target is read
		"longer than requested": {func(w *jit.Window) { w.End = w.End.Add(time.Second) }, func(*broker.Request) {},
			[]string{"ttl", "2h1s; ttl is 2h", "jit adopt"}},
		"the ttl was shortened": {func(*jit.Window) {}, func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h30m") },
			[]string{"ttl", "ttl is 1h30m", "jit adopt"}},
		"later": {func(w *jit.Window) { w.Start, w.End = w.Start.AddDate(70, 0, 0), w.End.AddDate(70, 0, 0) },
			func(*broker.Request) {},
			[]string{"ttl", "it would begin at 2026-11-23T17:00:00Z", "jit adopt"}},
		"later, as requested": {func(w *jit.Window) {
			w.Start, w.End = w.Start.Add(3*time.Hour), w.End.Add(3*time.Hour)
		},
			func(r *broker.Request) { r.StartsAt = time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC) }, nil},
		"unchanged": {func(*jit.Window) {}, func(*broker.Request) {}, nil},
		"shorter": {func(w *jit.Window) { w.End = w.End.Add(-30 * time.Minute) },
			func(*broker.Request) {}, nil},
		"the ttl was extended": {func(*jit.Window) {},
			func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") }, nil},
		"ended, and longer than any grant": {func(w *jit.Window) {
			w.Start, w.End = w.Start.AddDate(-2, 0, 0), w.Start.Add(time.Minute)
		}, func(*broker.Request) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			made := w.grant(request())
			w.alter(tt.change)
			want := w.observed()[jit.Place{Target: "db", Scope: "all"}].Ours[0].Marker.Window
			w.lose()
			w.pass(time.Hour)
			w.mustWrite(0, func() {
				_, planned := w.Preview(t.Context(), request(tt.asked), true)
				g, err := w.Grant(t.Context(), request(tt.asked))
				if tt.refused == nil {
					if planned != nil || err != nil || g.ID != made.ID || !g.Window.Equal(want) {
						t.Errorf("window %v, want %v; plan %v, apply %v", g.Window, want, planned, err)
					}
					return
				}
				blames(t, planned, tt.refused[0], tt.refused[1])
				blames(t, err, tt.refused[0], tt.refused[1])
				if strings.Contains(planned.Error(), string(made.ID)) {
					wantError(t, err, jit.ErrInvalid, append(tt.refused, string(made.ID), `"db"`)...)
				} else if name != "longer than any grant, with an end" || err.Error() != planned.Error() {
					t.Errorf("the plan says %v, the apply %v", planned, err)
				}
				if kinds := w.kinds(); len(kinds) != 0 {
					t.Errorf("the ledger holds %v, want nothing", kinds)
				}
			})
		})
	}
}

// With ledger and state lost, the copy that ends first is adopted, in any order of reading.
func TestAnApplyTakesTheCopyThatEndsFirst(t *testing.T) {
	for _, first := range []bool{true, false} {
		w := newWorld(t, jit.Native)
		made := w.grant(request())
		w.platform.Edit("all", func(all []jit.Observed) []jit.Observed {
			longer := all[0]
			longer.Marker.Window.End = made.Start.AddDate(70, 0, 0)
			longer.End = longer.Marker.Window.End
			if first {
				return []jit.Observed{longer, all[0]}
			}
			return append(all, longer)
		})
		w.lose()
		if g := w.grant(request()); !g.Window.Equal(made.Window) {
			t.Errorf("longer copy first %t: window %v, want %v", first, g.Window, made.Window)
		}
	}
}

// A grant with a lost reason does not begin under a policy with a reason pattern, whatever the pattern matches.
func TestAScheduledGrantWithALostReasonIsJudgedByThePattern(t *testing.T) {
	for pattern, starts := range map[string]bool{"": true, "^INC-": false, ".*": false, "^$": false} {
		t.Run(pattern, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			g := w.grant(w.later())
			g.Reason, g.Version = "", 0 // as rebuilt from a marker
			w.lose(jit.Policy{Name: "oncall", Effect: jit.Permit, ReasonPattern: pattern, SweeperAccepted: true})
			if err := w.Adopt(t.Context(), []jit.Grant{g})[0]; err != nil {
				t.Fatal(err)
			}
			w.pass(time.Hour)
			err := w.execute(reconcile.Start, w.recorded(g.ID), "", "")
			if starts && err != nil {
				t.Error(err)
			} else if !starts {
				wantError(t, err, jit.ErrDenied, "reason_pattern")
			}
			w.allowed(starts)
		})
	}
}

// Another owner cannot use up the id of a grant with a record without a reason.
func TestARecordOfAnotherOwnerUsesNoIDUp(t *testing.T) {
	w := newWorld(t, jit.Native)
	forged, _, err := w.Check(request())
	if err != nil {
		t.Fatal(err)
	}
	forged.Owner, forged.Reason, forged.Renewal = "forger", "", 0
	forged.Window = jit.Window{Start: w.now.Add(-2 * time.Hour), End: w.now.Add(-time.Hour)}
	forged.RequestedAt, forged.GrantedAt, forged.EndedAt = forged.Start, forged.Start, forged.End
	for _, err := range w.ledger.Write(t.Context(), []jit.Entry{{Grant: &forged}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	g := w.grant(request())
	if g.ID != forged.ID || g.Owner != "jit" {
		t.Errorf("granted %+v", g)
	}
	w.allowed(true)
	if recorded, _, err := w.ledger.Lookup(t.Context(), g.ID); err != nil || recorded.Owner != "jit" {
		t.Errorf("recorded %+v, %v", recorded, err)
	}
	w.pass(2 * time.Hour)
	w.allowed(false)
}
