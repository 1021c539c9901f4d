package sweeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestAShorterEndPutsNothingBack: an apply that shortens a grant whose approval nobody proves does not put it back, and
// shortens it where it is in force.
func TestAShorterEndPutsNothingBack(t *testing.T) {
	for _, there := range []bool{false, true} {
		b := newBureau(t, prod(1))
		g := b.granted(request("8h"), "lea")
		b.forge(drop(func(e jit.Event) bool { return e.Kind == jit.EventApproved }))
		if !there {
			b.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		}
		b.found() // the reads lag
		g, err := b.run().Change(t.Context(), g, request("7h"))
		if errors.Is(err, jit.ErrUnapproved) == there || there && err != nil {
			t.Errorf("there %t: %v", there, err)
		}
		b.allowed(there)
		if there && g.Length() != 7*time.Hour {
			t.Errorf("it lasts %s", g.Length())
		}
	}
}

// TestTheApproverRunsTheSweep that begins the scheduled grant which she approved. It begins.
func TestTheApproverRunsTheSweep(t *testing.T) {
	b := newBureau(t, prod(1))
	r := request("2h")
	r.StartsAt = jit.Second(b.now.Add(time.Hour))
	b.granted(r, "lea")
	b.allowed(false)
	b.now = r.StartsAt.Add(time.Minute)
	b.broker.Actor = jit.Actor{Name: "lea-gh", Source: jit.FromSweeper}
	b.found()
	b.allowed(true)
}

// TestTheShiftEnds after somebody on call broke the glass. The access goes on.
func TestTheShiftEnds(t *testing.T) {
	p := prod(1)
	p.BreakGlass = &jit.BreakGlass{From: []string{"group:oncall"}}
	b := newBureau(t, p)
	bob := jit.Person{Name: "bob", Groups: []string{"group:oncall"}, Principals: []string{"bob"}}
	b.person(bob)
	r := request("8h")
	r.BreakGlass, r.Requester = true, "bob"
	b.granted(r)
	bob.Groups = nil
	b.person(bob)
	b.now = b.now.Add(time.Minute)
	if found := b.found(revokes); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	b.allowed(true)
}
