package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Every marked binding that nothing explains is reported, whatever owner its marker names; nothing of another owner is
// touched.
func TestUnexplained(t *testing.T) {
	file := jit.Place{Target: "bastion", Scope: "file"}
	foreign := func(o *jit.Observed) { o.Marker.Owner = "payments" }
	endless := func(o *jit.Observed) { o.End = time.Time{} }
	theirs := grant(a, func(g *jit.Grant) { g.Owner = "payments" })
	tests := map[string]struct {
		recorded []jit.Grant
		seen     jit.Snapshot
		on       jit.OnDrift
		want     string // kind, drift, part of the reason
	}{
		"ours, as recorded": {[]jit.Grant{grant(a)},
			jit.Snapshot{Ours: []jit.Observed{seen(grant(a))}}, "", ""},
		"another owner's, as recorded": {[]jit.Grant{theirs},
			jit.Snapshot{Ours: []jit.Observed{seen(theirs)}}, "", ""},
		"another owner's, altered: theirs to mend": {[]jit.Grant{theirs},
			jit.Snapshot{Ours: []jit.Observed{seen(theirs, endless)}}, "", ""},
		"another owner's, unknown, ends soon": {nil, jit.Snapshot{Ours: []jit.Observed{seen(grant(a), foreign)}},
			"", ""},
		"another owner's, unknown, without an end": {nil,
			jit.Snapshot{Ours: []jit.Observed{seen(grant(a), foreign, endless)}}, jit.RevokeDrift,
			"report unexplained critical no such grant"},
		"another owner's marker on somebody else": {[]jit.Grant{theirs},
			jit.Snapshot{Ours: []jit.Observed{seen(theirs, endless, func(o *jit.Observed) { o.Principal = "eve" })}},
			"", "report unexplained critical that grant is of alice"},
		"ours, unknown, ends soon": {nil, jit.Snapshot{Ours: []jit.Observed{seen(grant(a))}}, "",
			"report orphan_live warning"},
		"ours, unknown, without an end": {nil, jit.Snapshot{Ours: []jit.Observed{seen(grant(a), endless)}},
			"", "report unexplained critical no such grant"},
		"ours, unknown, with an end in 2099": {nil,
			jit.Snapshot{Ours: []jit.Observed{seen(grant(a), func(o *jit.Observed) { o.End = at(1e8) })}}, "",
			"report unexplained critical is further ahead than max_ttl"},
		"ours, unknown, on_drift is revoke": {nil, jit.Snapshot{Ours: []jit.Observed{seen(grant(a), endless)}},
			jit.RevokeDrift, "remove unexplained critical no such grant"},
		"a marker on a binding that is not ours": {nil,
			jit.Snapshot{Standing: []jit.Standing{{Principal: "eve", Role: "root", Detail: "assignment 7",
				Marker: grant(a).Marker()}}}, jit.RevokeDrift,
			"report unexplained critical assignment 7"},
		"standing access without a marker": {nil,
			jit.Snapshot{Standing: []jit.Standing{{Principal: "eve", Role: "root"}}}, "", ""},
	}
	for name, tt := range tests {
		records := jit.Records{Now: at(5), MaxTTL: 24 * time.Hour, Grants: map[jit.ID]jit.Grant{}}
		for _, g := range tt.recorded {
			records.Grants[g.ID] = g
		}
		steps := Plan(at(5), jits, tt.recorded, map[jit.Place]jit.Snapshot{file: tt.seen},
			map[string]jit.OnDrift{"bastion": tt.on})
		var got []string
		for _, s := range Unexplained(steps, records, jits, file, tt.seen) {
			got = append(got, fmt.Sprintf("%s %s %s %s", s.Kind, s.Drift, s.Severity, s.Reason))
		}
		words := strings.SplitN(tt.want, " ", 4)
		if (tt.want == "") != (len(got) == 0) || len(got) > 1 {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
			continue
		}
		if tt.want != "" && (!strings.HasPrefix(got[0], strings.Join(words[:3], " ")) || !strings.Contains(got[0],
			words[len(words)-1])) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// Decoys go last: what gives access and the most of it is removed before what anybody can write.
func TestDecoysGoLast(t *testing.T) {
	file := jit.Place{Target: "bastion", Scope: "file"}
	var observed []jit.Observed
	id := func(n int) jit.ID { return jit.ID(fmt.Sprintf("00000000-0000-8000-8000-%012d", n)) }
	for n := range 30 { // over and gone by themselves, with ends and ids that come first
		observed = append(observed, seen(grant(id(n)), func(o *jit.Observed) { o.Marker.Window.End = at(-9999) }))
	}
	for n := range 30 { // over, of a small role and without an end
		observed = append(observed, seen(grant(id(100+n)),
			func(o *jit.Observed) { o.Marker.Window.End, o.End = at(-9999), time.Time{} }))
	}
	mighty := seen(grant(id(998)), func(o *jit.Observed) { o.Role, o.End = "cluster-admin", time.Time{} })
	back := grant(id(999), func(g *jit.Grant) { g.EndedAt = at(120) })
	observed = append(observed, mighty, seen(back, func(o *jit.Observed) { o.End = time.Time{} }))
	steps := Plan(at(130), jits, []jit.Grant{back}, map[jit.Place]jit.Snapshot{file: {Ours: observed}}, nil)
	if len(steps) != 62 {
		t.Fatalf("%d steps", len(steps))
	}
	for i, want := range []jit.ID{back.ID, mighty.Marker.ID} {
		if steps[i].Grant.ID != want {
			t.Errorf("step %d is of %s (%s), want %s", i, steps[i].Grant.ID, steps[i].Drift, want)
		}
	}
	for i, s := range steps[32:] {
		if s.Grant.ID >= id(100) {
			t.Errorf("step %d is of %s, which gives access, and comes after what gives none", i+32, s.Grant.ID)
		}
	}
	// Anybody can write markers, so the number of findings is bounded.
	var decoys jit.Snapshot
	for n := range 5000 {
		decoys.Ours = append(decoys.Ours, seen(grant(id(n)),
			func(o *jit.Observed) { o.Marker.Owner, o.End = "zzz", time.Time{} }))
	}
	decoys.Ours = append(decoys.Ours, seen(grant(id(9999)),
		func(o *jit.Observed) { o.Marker.Owner, o.Role, o.End = "zzz", "cluster-admin", time.Time{} }))
	found := Unexplained(nil, jit.Records{Now: at(5), MaxTTL: time.Hour}, jits, file, decoys)
	if len(found) != maxUnexplained || found[0].Grant.Role != "cluster-admin" ||
		!strings.Contains(found[len(found)-1].Reason, "4901 more") {
		t.Errorf("%d findings, the first of %s, the last says %s", len(found), found[0].Grant.Role,
			found[len(found)-1].Reason)
	}
}
