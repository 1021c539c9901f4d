package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// forgetful is a ledger that carries a write out and loses the answer to it, for the write with that number.
type forgetful struct {
	jit.Ledger
	number int
}

func (f *forgetful) Write(ctx context.Context, entries []jit.Entry) []error {
	errs := f.Ledger.Write(ctx, entries)
	if f.number--; f.number == 0 {
		return slices.Repeat([]error{errors.New("connection lost at COMMIT")}, len(entries))
	}
	return errs
}

// Whichever answer of the ledger is lost, repeating leads to access and takes it away, and each of the two is recorded
// once.
func TestAnswerToACommitIsLost(t *testing.T) {
	urls := map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "ledger.db") },
		"postgres": func(t *testing.T) string { return testenv.Postgres(t).Database(t) },
	}
	for dialect, url := range urls {
		t.Run(dialect, func(t *testing.T) {
			for number := range 5 {
				t.Run(fmt.Sprint("write ", number), func(t *testing.T) { loseAnswer(t, url(t), number) })
			}
		})
	}
}

func loseAnswer(t *testing.T, url string, number int) {
	l, err := ledger.Open(t.Context(), ledger.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	lossy := &forgetful{l, number}
	p := &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper}, Now: time.Now}
	b := &broker.Broker{Ledger: lossy, Targets: map[string]jit.Platform{"db": p}, Owner: "jit", MaxTTL: time.Hour,
		Now: time.Now, Actor: jit.Actor{Name: "alice", Source: jit.FromTerraform}}
	r := broker.Request{Binding: jit.Binding{Target: "db", Principal: "bob", Role: "reader"}, Reason: "INC-1",
		Renewal: 1, TTL: jit.RecordedTTL("1h")}
	g, err := b.Grant(t.Context(), r)
	if err != nil {
		g, err = b.Grant(t.Context(), r)
	}
	if err != nil || !p.Allowed("all", "bob", "reader") {
		t.Fatalf("granted again: %v; access %v", err, p.Allowed("all", "bob", "reader"))
	}
	if _, _, err = b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "enough"}); err != nil {
		_, _, err = b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "enough"})
	}
	if err != nil || p.Allowed("all", "bob", "reader") {
		t.Fatalf("revoked again: %v; access %v", err, p.Allowed("all", "bob", "reader"))
	}
	counts := map[jit.EventKind]int{}
	for e, err := range jit.AllEvents(t.Context(), l) {
		if err != nil {
			t.Fatal(err)
		}
		counts[e.Kind]++
	}
	for _, kind := range []jit.EventKind{jit.EventRequested, jit.EventGranted, jit.EventRevokeAsked, jit.EventRevoked} {
		if counts[kind] != 1 {
			t.Errorf("%d events %s, want 1: %v", counts[kind], kind, counts)
		}
	}
	if recorded, _, err := l.Lookup(t.Context(), g.ID); err != nil || recorded.EndedAt.IsZero() {
		t.Errorf("the record is %+v, %v", recorded, err)
	}
	if report, err := l.Verify(t.Context()); err != nil || !report.OK() {
		t.Errorf("Verify = %+v, %v", report, err)
	}
}
