package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// partly is a ledger in which the records of one owner cannot be read: a claim says so if it finds nothing else.
type partly struct{ *jittest.Ledger }

func (l partly) AcquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
	due, err := l.Ledger.AcquireDue(ctx, q)
	if err == nil && len(due) == 0 {
		err = &jit.PartialError{Owners: map[string]error{"other": errors.New("the log is damaged")}}
	}
	return due, err
}

// The damaged log of one owner delays the ends of the others by a poll at most.
func TestWatchEndsOnTimeBesideADamagedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		b := w.newBroker()
		b.Ledger = partly{w.ledger}
		stop := run(t, w.watcher(sweeper.Sweeper{Broker: b, Holder: "a"}))
		defer stop()
		time.Sleep(10 * time.Minute)
		for n := range 5 {
			g := w.grant("db", "s", fmt.Sprint("user-", n), fmt.Sprintf("%dm", 20+7*n), time.Time{})
			time.Sleep(time.Until(g.End) + 2*time.Second)
			if late := w.lastEnd(g).Sub(g.End); late > time.Second {
				t.Errorf("%s ended %s late", g.Principal, late)
			}
			time.Sleep(time.Duration(n) * 1300 * time.Millisecond)
		}
	})
}
