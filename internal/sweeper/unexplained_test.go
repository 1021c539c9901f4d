package sweeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// Access inherited from a wider scope has the marker of a grant there. It is explained if it matches that grant's
// record. A forged marker is reported wherever it gives access.
func TestAMarkerFromAScopeAbove(t *testing.T) {
	for name, tt := range map[string]struct {
		change   func(s *jit.Standing)
		reported bool
	}{
		"as recorded":        {func(*jit.Standing) {}, false},
		"of somebody else":   {func(s *jit.Standing) { s.Principal = "mallory" }, true},
		"with another role":  {func(s *jit.Standing) { s.Role = "admin" }, true},
		"of no grant at all": {func(s *jit.Standing) { s.Marker.ID = "3f2b8c1e-0000-8000-8000-000000000000" }, true},
		"from another scope": {func(s *jit.Standing) { s.From = "elsewhere" }, true},
		"of another owner":   {func(s *jit.Standing) { s.Marker.Owner = "ghost" }, true},
		"on the scope":       {func(s *jit.Standing) { s.From = "" }, true},
		"by its name alone":  {func(s *jit.Standing) { s.Marker.Window = jit.Window{} }, false},
		"by its name, here":  {func(s *jit.Standing) { s.From, s.Marker.Window = "", jit.Window{} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			r := request("2h")
			r.Binding.Scope = "above"
			above := w.grant(r)
			w.grant(request("1h"))
			found := jit.Standing{Principal: "bob", Role: "reader", From: "above", Marker: above.Marker()}
			tt.change(&found)
			w.platform.AddStanding("all", found)
			report := w.drifting(jit.ReportDrift).Pass(t.Context())
			reported := false
			for _, one := range report.Results {
				if one.Drift != jit.DriftUnexplained || one.Kind != reconcile.Report || one.Scope != "all" {
					t.Errorf("the sweep's finding is %+v", one)
				}
				reported = true
			}
			seen := w.drifting(jit.ReportDrift).Observe(t.Context(), func(string) bool { return true })
			delete(seen.Snapshots, jit.Place{Target: "db", Scope: "above"}) // access there is listed only there
			standing, _ := sweeper.FindStanding(seen.Snapshots, seen.Live, seen.Records)
			if reported != tt.reported || (len(standing) == 1) != tt.reported {
				t.Errorf("reported by the sweep %t, standing access %+v; want %t", reported, standing, tt.reported)
			}
			again := request("30m")
			again.Renewal = 2
			preview, err := w.broker.Preview(t.Context(), again, true)
			if err != nil {
				t.Fatal(err)
			}
			gives := tt.reported && found.Principal == "bob" && found.Role == "reader"
			warned := slices.ContainsFunc(preview.Warnings,
				func(w broker.Warning) bool { return w.Summary == "Standing access already gives the same" })
			if warned != gives {
				t.Errorf("the plan warns %t, want %t: %+v", warned, gives, preview.Warnings)
			}
		})
	}
	w := newWorld(t, jit.Sweeper)
	r := request("1h")
	r.Binding.Scope = "above"
	above := w.grant(r)
	w.now = above.End.Add(time.Hour)
	records := w.broker.Records(t.Context(),
		jit.Snapshot{
			Standing: []jit.Standing{{Principal: "bob", Role: "reader", From: "above", Marker: above.Marker()}}},
	)
	if records.Explains(jit.Standing{Principal: "bob", Role: "reader", From: "above", Marker: above.Marker()}) ||
		len(records.Grants) != 1 {
		t.Errorf("a grant that ended an hour ago explains access: %+v", records.Grants)
	}
}
