package sweeper_test

import (
	"context"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// locked is a ledger in which another writer has locked the rows of one scope during the first claim.
type locked struct {
	*jittest.Ledger
	at     jit.Place
	claims int
}

func (l *locked) AcquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
	if l.claims++; l.claims == 1 {
		q.Except = append(q.Except, l.at)
	}
	return l.Ledger.AcquireDue(ctx, q)
}

// After its other work, a pass claims again the rows that another writer had locked.
func TestPassClaimsWhatWasLocked(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request("1h"))
	other := request("1h")
	other.Binding.Scope = "other"
	w.grant(other)
	w.now = g.End.Add(time.Minute)
	w.broker.Ledger = &locked{Ledger: w.ledger, at: g.Place()}
	if report := w.sweep(); len(report.Elsewhere) > 0 || len(report.Results) != 2 {
		t.Errorf("%d elsewhere, results %+v", len(report.Elsewhere), report.Results)
	}
	w.allowed(false)
}
