package awsidentitycenter

import (
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

const aliceAnew, oncallAnew = "906700aaaa-99999999-2222-3333-4444-555555555555", "0b1c2d3e-dddd-3333-4444-555555555555"

// delete deletes a user or group, and makes another one under its name.
func (s *site) anew(id, newID string) {
	s.with(func(m *model) {
		for _, all := range []map[string]string{m.users, m.groups} {
			if name := all[id]; name != "" {
				delete(all, id)
				all[newID] = name
			}
		}
	})
}

// A user or group made anew under the name is another one: the grant is over, and the new one gets nothing, whether
// the assignment of the old one went with it or not.
func TestAPrincipalMadeAnewGetsNothing(t *testing.T) {
	for _, tt := range []struct{ principal, id, anew string }{
		{"user:alice@example.com", aliceID, aliceAnew}, {"group:On call", oncallID, oncallAnew},
	} {
		for _, vanishes := range []bool{false, true} {
			s := newSite(t)
			r := hourOfAlice()
			r.Binding.Principal = tt.principal
			old := s.resolve(t, r.Binding)
			g, err := s.desk(t).Grant(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			s.anew(tt.id, tt.anew)
			if vanishes {
				s.with(func(m *model) { m.removed(old) })
			}
			a := jit.Access{Binding: g.Binding, Marker: g.Marker()}
			p := s.open(t)
			if got := ours(t, p); len(got) != 1 || !got[0].Gone || g.Differs(jit.Snapshot{Ours: got}).Kind != jit.DriftGone {
				t.Errorf("%+v: Read = %+v, want a grant whose principal is gone", tt, got)
			}
			if err := p.Apply(t.Context(), production, ensure(a))[0]; !errors.Is(err, jit.ErrOver) {
				t.Errorf("%+v: Ensure = %v, want ErrOver", tt, err)
			}
			s.wants(t, g.Binding, false, "the new one, after the repair")
			apply(t, p, remove(a)...)
			if len(s.assignments) != 0 || len(marked(t, p)) != 0 {
				t.Errorf("%+v: after the end there are %+v and the claims %+v", tt, s.assignments, marked(t, p))
			}
			apply(t, p, ensure(access(g.Binding, "renewed"))...)
			s.wants(t, g.Binding, true, "the new one, with a grant of its own")
		}
	}
}

// The grant of a user who was renamed is still that user's, whoever has the name now.
func TestARenamedUserKeepsTheGrant(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), access(alice(), "named")
	apply(t, p, ensure(a)...)
	old := s.resolve(t, a.Binding)
	s.with(func(m *model) { m.users[aliceID], m.users[aliceAnew] = "alice.smith@example.com", "alice@example.com" })
	p = s.open(t)
	if got := ours(t, p); len(got) != 1 || got[0].Gone || got[0].Principal != a.Binding.Principal {
		t.Errorf("Read = %+v, want the grant with the principal as it was written", got)
	}
	s.with(func(m *model) { m.removed(old) })
	apply(t, p, ensure(a)...)
	s.wants(t, a.Binding, false, "who has the name now")
	s.with(func(m *model) {
		if m.assignments[old] == nil {
			t.Error("the repair gives the renamed user nothing")
		}
	})
	apply(t, p, remove(a)...)
}

// A sweep ends the grant of a deleted user, and the next pass has nothing to do.
func TestASweepEndsTheGrantOfADeletedUser(t *testing.T) {
	s := newSite(t)
	b := s.desk(t)
	if _, err := b.Grant(t.Context(), hourOfAlice()); err != nil {
		t.Fatal(err)
	}
	s.anew(aliceID, aliceAnew)
	b.Targets = s.desk(t).Targets // a process that has cached nothing
	sweep := func() sweeper.Report {
		return (&sweeper.Sweeper{Broker: b, Holder: "test", MaxUnplanned: 20}).Pass(t.Context())
	}
	if report := sweep(); len(report.Results) != 1 || report.Results[0].Err != nil {
		t.Errorf("the sweep did %+v", report.Results)
	}
	if len(s.assignments) != 0 {
		t.Errorf("after the sweep there are %+v", s.assignments)
	}
	if g := recorded(t, b, hourOfAlice()); g.EndedAt.IsZero() {
		t.Errorf("the record is %+v, want an ended one", g)
	}
	if report := sweep(); len(report.Results) != 0 {
		t.Errorf("the next sweep did %+v", report.Results)
	}
}

// An identity store that does not exist is no proof that its users were deleted.
func TestAnotherStoreDeletesNobody(t *testing.T) {
	s := newSite(t)
	apply(t, s.open(t), ensure(access(alice(), "stays"))...)
	p := s.open(t)
	p.cfg.IdentityStoreID = "d-9999999999"
	if snap, err := p.Read(t.Context(), production); err == nil {
		t.Errorf("Read = %+v, want an error", snap)
	}
}
