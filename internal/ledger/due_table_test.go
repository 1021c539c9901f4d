package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Due work whose grant somebody removed keeps no other grant waiting.
func TestDueWorkWithoutAGrant(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		l := opened(t, url)
		var last jit.Grant
		for n := range 3 {
			g := due1(t)
			g.Reason, g.End = fmt.Sprint("INC-", n), g.End.Add(time.Duration(n)*time.Minute)
			g.ID = jit.NewID(g.Owner, g.Binding, g.Reason, g.Renewal)
			must(t, put1(t, l, g))
			last = g
		}
		db, err := l.db.writer(t.Context())
		must(t, err)
		_, err = db.ExecContext(t.Context(), "DELETE FROM jit_grants WHERE id <> $1", string(last.ID))
		must(t, err)
		got, err := l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{last.Owner}, Now: last.End.Add(time.Hour),
			Holder: "me", Lease: time.Minute, Limit: 2})
		if err != nil || len(got) != 1 || got[0].ID != last.ID {
			t.Errorf("acquired %+v, %v, want the grant that is left", got, err)
		}
	})
}
