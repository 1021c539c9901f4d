package broker_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// counting is a ledger that counts the records it is asked for.
type counting struct {
	*jittest.Ledger
	records int
}

func (c *counting) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		for g, err := range c.Ledger.Grants(ctx, f) {
			c.records++
			if !yield(g, err) {
				return
			}
		}
	}
}

// numbered is the n-th request for the same access of bob.
func numbered(n int) broker.Request {
	return request(func(r *broker.Request) { r.Reason = fmt.Sprintf("INC-%d: look", n) })
}

// planned counts the records that a plan of n grants reads if bob has n grants of the same role.
func planned(t *testing.T, n int) int {
	w := newWorld(t, jit.Sweeper)
	for i := range n {
		w.grant(numbered(i))
	}
	c := &counting{Ledger: w.ledger}
	w.Ledger = c
	w.Targets["db"] = batch.Share(w.platform, time.Minute, w.Now)
	for i := range n {
		if _, err := w.Preview(t.Context(), numbered(n+i), true); err != nil {
			t.Fatal(err)
		}
	}
	return c.records
}

// Each new grant to a principal is compared with the principal's other access, whose records are read once.
func TestThePlanOfManyGrantsToOneReadsTheRecordsOnce(t *testing.T) {
	few, many := planned(t, 25), planned(t, 100)
	if few < 25 || many > 4*few {
		t.Errorf("a plan beside 25 grants reads %d records, one beside 100 reads %d; want at most four times as many",
			few, many)
	}
}

// A binding that no record explains is told to every grant that it covers, as long as a read shows it.
func TestUnexplainedAccessIsToldToEveryGrantOfAPlan(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.Targets["db"] = batch.Share(w.platform, time.Minute, w.Now)
	tells := func(r broker.Request) bool {
		t.Helper()
		p, err := w.Preview(t.Context(), r, true)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(p.Warnings, func(warning broker.Warning) bool {
			return warning.Summary == "Standing access already gives the same"
		})
	}
	own := w.grant(numbered(1))
	if tells(numbered(2)) {
		t.Error("a grant on record is told to be standing access")
	}
	w.pass(2 * time.Minute) // the next read is a new one
	w.platform.Edit("all", func(held []jit.Observed) []jit.Observed {
		forged := held[0]
		forged.Marker.ID = jit.NewID("jit", own.Binding, "INC-3: look", 1)
		return append(held, forged)
	})
	for _, n := range []int{2, 4, 5} {
		if !tells(numbered(n)) {
			t.Errorf("INC-%d is not told of the forged binding", n)
		}
	}
	if other := request(func(r *broker.Request) { r.Binding.Role = "writer" }); tells(other) {
		t.Error("the forged binding is told to a grant of another role")
	}
	w.pass(2 * time.Minute)
	w.platform.Edit("all", func(held []jit.Observed) []jit.Observed { return held[:1] })
	if tells(numbered(2)) {
		t.Error("the forged binding is still told after it is gone")
	}
}
