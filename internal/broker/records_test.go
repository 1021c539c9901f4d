package broker_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A plan warns of access that gives the same without an end, whatever marker it has. It does not warn of access that a
// record explains or that its target ends.
func TestAPlanWarnsOfWhatAMarkerHides(t *testing.T) {
	const id jit.ID = "3f2b8c1e-0000-8000-8000-000000000000"
	window := func(w *world) jit.Window { return jit.Window{Start: w.now, End: w.now.Add(time.Hour)} }
	for name, tt := range map[string]struct {
		found func(w *world) jit.Observed
		warns bool
	}{
		"a marker of an unknown owner": {func(w *world) jit.Observed {
			return jit.Observed{Marker: jit.Marker{Owner: "ghost", ID: id, Window: window(w)}}
		}, true},
		"a marker of our owner": {func(w *world) jit.Observed {
			return jit.Observed{Marker: jit.Marker{Owner: w.Owner, ID: id, Window: window(w)}}
		}, true},
		"an end beyond max_ttl": {func(w *world) jit.Observed {
			return jit.Observed{Marker: jit.Marker{Owner: "ghost", ID: id}, End: w.now.AddDate(70, 0, 0)}
		}, true},
		"an end that the target enforces": {func(w *world) jit.Observed {
			return jit.Observed{Marker: jit.Marker{Owner: "ghost", ID: id}, End: w.now.Add(time.Hour)}
		}, false},
		"a recorded grant": {func(w *world) jit.Observed {
			other := request()
			other.Reason = "INC-7: the same access for something else"
			g := w.grant(other)
			return jit.Observed{Marker: g.Marker()}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			o, r := tt.found(w), request()
			g, _, err := w.Check(r)
			if err != nil {
				t.Fatal(err)
			}
			o.Principal, o.Role = g.Principal, g.Role
			w.platform.Edit(g.Scope, func([]jit.Observed) []jit.Observed { return []jit.Observed{o} })
			p, err := w.Preview(t.Context(), r, true)
			if err != nil {
				t.Fatal(err)
			}
			warns := false
			for _, warning := range p.Warnings {
				warns = warns || warning.Summary == "Standing access already gives the same" &&
					strings.Contains(warning.Detail, "bears the marker of grant "+string(id))
			}
			if warns != tt.warns {
				t.Errorf("the plan warns %t, want %t: %+v", warns, tt.warns, p.Warnings)
			}
		})
	}
}

// Access that the target itself ends in time costs no read of the ledger, because thousands of grants may share a scope.
func TestAccessThatEndsByItselfIsNotLookedUp(t *testing.T) {
	w := newWorld(t, jit.Native)
	g, _, err := w.Check(request())
	if err != nil {
		t.Fatal(err)
	}
	for renewal := range int64(3) {
		other := jit.Observed{Principal: g.Principal, Role: g.Role, End: w.now.Add(time.Hour), Marker: jit.Marker{
			Owner: w.Owner, ID: jit.NewID(w.Owner, g.Binding, "INC-7: look", renewal+1)}}
		w.platform.Edit(g.Scope, func(all []jit.Observed) []jit.Observed { return append(all, other) })
	}
	counted := &countedLookups{Ledger: w.ledger}
	w.Ledger = counted
	if _, err := w.Preview(t.Context(), request(), true); err != nil || counted.ids != 0 {
		t.Errorf("the plan looked up %d grants (%v), want none", counted.ids, err)
	}
}

// countedLookups counts the grants that are looked up together.
type countedLookups struct {
	jit.Ledger
	ids int
}

func (c *countedLookups) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	c.ids += len(f.IDs)
	return c.Ledger.Grants(ctx, f)
}

// A plan shows the advice of its target and the access that could not be read; without reading nothing is asked.
func TestAPlanIsToldWhatTheTargetSays(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	asked := 0
	w.platform.Advise = func(_ context.Context, b jit.Binding) []jit.Advice {
		asked++
		return []jit.Advice{{Attribute: "role", Title: "The role does not exist", Text: "there is no " + b.Role}}
	}
	w.platform.Unseen = []string{"the operator may not list everything"}
	w.Targets["db"] = batch.Share(w.platform, 0, w.Now)
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	var says []string
	for _, warning := range p.Warnings {
		says = append(says, warning.Attribute+": "+warning.Summary)
	}
	for _, want := range []string{"role: The role does not exist", "scope: Some access could not be read"} {
		if !slices.Contains(says, want) {
			t.Errorf("the plan says %q, want %q", says, want)
		}
	}
	before := asked
	if _, err := w.Preview(t.Context(), request(), false); err != nil || asked != before {
		t.Errorf("a plan that reads nothing asked %d times, %v", asked-before, err)
	}
}
