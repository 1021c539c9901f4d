package broker_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// gate is a ledger whose first write waits for that of all others at the gate.
type gate struct {
	jit.Ledger
	once sync.Once
	all  *sync.WaitGroup
}

func (g *gate) Write(ctx context.Context, entries []jit.Entry) []error {
	g.once.Do(func() { g.all.Done(); g.all.Wait() })
	return g.Ledger.Write(ctx, entries)
}

// TestTheGlassBreaksOnceInTwoProcesses that have both looked before either of them writes: one gives access.
func TestTheGlassBreaksOnceInTwoProcesses(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		breakTwice(t, "sqlite://"+filepath.ToSlash(filepath.Join(t.TempDir(), "ledger.db")))
	})
	t.Run("postgres", func(t *testing.T) { breakTwice(t, testenv.Postgres(t).Database(t)) })
}

func breakTwice(t *testing.T, url string) {
	platform := &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Native}, Now: time.Now}
	process := func() *broker.Broker {
		l, err := ledger.Open(t.Context(), ledger.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return &broker.Broker{
			Ledger: l, Targets: map[string]jit.Platform{"db": platform}, Owner: "jit", MaxTTL: 24 * time.Hour,
			Now: time.Now,
		}
	}
	first := process()
	for _, p := range []jit.Person{{Name: "lea", Groups: []string{"group:leads"}}, {Name: "bob"}} {
		if err := first.PutPerson(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.PutPolicy(t.Context(), jit.Policy{Name: "prod", Effect: jit.Permit, Approval: leads(),
		BreakGlass: &jit.BreakGlass{From: []string{"bob"}}}); err != nil {
		t.Fatal(err)
	}
	const processes = 2
	var waiting, done sync.WaitGroup
	waiting.Add(processes)
	errs := make([]error, processes)
	for i := range processes {
		b := process()
		b.Ledger, b.Run = &gate{Ledger: b.Ledger, all: &waiting}, string(rune('a'+i))
		done.Go(func() { _, errs[i] = b.Grant(t.Context(), glass("SEV1-"+b.Run, "bob")) })
	}
	done.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("got %v and %v, want one refusal", errs[0], errs[1])
	}
	wantError(t, errors.Join(errs...), jit.ErrDenied, "nobody has signed that off")
	if _, writes := platform.Calls(); writes != 1 {
		t.Errorf("%d writes on the platform, want that of one grant", writes)
	}
}

// TestAnExtensionBreaksTheGlassOnce: another grant breaks the glass between the decision on an extension and its write.
func TestAnExtensionBreaksTheGlassOnce(t *testing.T) {
	o := newOffice(t)
	r := glass("SEV1-1: down", "bob")
	g := o.grant(r)
	s := o.signsGrant("lea", g, func(s *approval.Statement) { s.Choice = jit.SignOff })
	if err := o.Decide(t.Context(), g, s); err != nil {
		t.Fatal(err)
	}
	o.newRun()
	extends := o.Broker
	o.newRun()
	raced := false
	o.ledger.Call = func(what string) error {
		if what == "write" && !raced {
			raced = true
			o.grant(glass("SEV1-2: down", "bob"))
		}
		return nil
	}
	r.TTL = jit.RecordedTTL("20h")
	_, err := extends.Change(t.Context(), g, r)
	wantError(t, err, jit.ErrDenied, "nobody has signed that off")
	if now := o.recorded(g.ID); !raced || !now.End.Equal(g.End) {
		t.Errorf("raced: %t, the grant ends at %s, want %s", raced, now.End, g.End)
	}
}
