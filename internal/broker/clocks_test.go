package broker_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// silent is a platform without a clock.
type silent struct{ jit.Platform }

func (s silent) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	snapshot, err := s.Platform.Read(ctx, scope)
	snapshot.Clock = time.Time{}
	return snapshot, err
}

// skew sets our clock wrong. The ledger's server, the target or both have the right time.
func (w *world) skew(ahead time.Duration, ledger, target bool) {
	if ledger {
		w.ledger.Remote = func() time.Time { return w.now }
	}
	if !target {
		w.Targets["db"] = silent{w.platform}
	}
	w.Now = func() time.Time { return w.now.Add(ahead) }
}

// recorded returns the present record.
func (w *world) recorded(id jit.ID) jit.Grant {
	w.t.Helper()
	g, known, err := w.ledger.Lookup(w.t.Context(), id)
	if err != nil || !known {
		w.t.Fatalf("the record of %s: known %t, %v", id, known, err)
	}
	return g
}

// This machine's clock is past the grant's end, and another clock shows that the grant is live. A revocation is
// recorded and carried out, at once or when it is repeated.
func TestARevocationByAClockThatIsAhead(t *testing.T) {
	for _, enforcement := range []jit.Enforcement{jit.Native, jit.Sweeper} {
		for name, tells := range map[string][2]bool{"ledger": {true, false}, "target": {false, true},
			"both": {true, true}} {
			for _, fails := range []bool{false, true} {
				t.Run(string(enforcement)+", "+name+" has the time, fails first "+map[bool]string{true: "yes",
					false: "no"}[fails], func(t *testing.T) {
					w := newWorld(t, enforcement)
					g := w.grant(request())
					w.pass(10 * time.Minute)
					w.skew(3*time.Hour, tells[0], tells[1])
					if fails {
						w.platform.Call = func(what string) error {
							if what == "write" {
								return errors.New("unavailable")
							}
							return nil
						}
						if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g,
							Reason: "stolen"}); err == nil || errors.Is(err, jit.ErrOver) {
							t.Errorf("a revocation that did not reach the platform: %v", err)
						}
						w.platform.Call = nil
					}
					w.revoke(broker.Revocation{Grant: g, Reason: "stolen"})
					w.allowed(false)
					if r := w.recorded(g.ID); !r.RevokedAt.Equal(w.now) || r.RevokeReason != "stolen" ||
						r.EndedAt.IsZero() {
						t.Errorf("revoked at %s (%s), ended at %s; want it revoked at %s", r.RevokedAt, r.RevokeReason,
							r.EndedAt, w.now)
					}
					if kinds := w.kinds(); !slices.Contains(kinds, jit.EventRevokeAsked) ||
						kinds[len(kinds)-1] != jit.EventRevoked {
						t.Errorf("the ledger has the events %v", kinds)
					}
				})
			}
		}
	}
}

// A grant that has ended by every clock ends as usual. A revocation by a clock that is behind does no harm.
func TestARevocationOfWhatIsOver(t *testing.T) {
	for _, enforcement := range []jit.Enforcement{jit.Native, jit.Sweeper} {
		for name, tt := range map[string]struct {
			ahead          time.Duration
			ledger, target bool
			revoked        bool
		}{
			"all agree":           {0, true, true, false},
			"no other clock":      {time.Hour, false, false, false},
			"ended by all clocks": {time.Hour, true, true, false},
			"ours is behind":      {-2 * time.Hour, true, true, true},
		} {
			t.Run(string(enforcement)+", "+name, func(t *testing.T) {
				w := newWorld(t, enforcement)
				g := w.grant(request())
				w.pass(3 * time.Hour)
				w.skew(tt.ahead, tt.ledger, tt.target)
				w.revoke(broker.Revocation{Grant: g, Reason: "destroyed"})
				w.allowed(false)
				if r := w.recorded(g.ID); r.RevokedAt.IsZero() == tt.revoked {
					t.Errorf("revoked at %s", r.RevokedAt)
				}
			})
		}
	}
}

// A revocation works without the ledger's clock.
func TestARevocationWithoutTheLedgersClock(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.skew(3*time.Hour, true, true)
	silent := errors.New("no answer")
	reads := 0
	w.ledger.Call = func(what string) error {
		if reads++; reads > 1 { // the first call looks up the grant
			return silent
		}
		return nil
	}
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stolen"}); !errors.Is(err, silent) {
		t.Errorf("got %v, want the ledger's error", err)
	}
	w.allowed(false)
}
