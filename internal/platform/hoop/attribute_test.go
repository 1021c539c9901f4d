package hoop

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

const carol = "carol@example.com" // of the group oncall

// attributeSite is a gateway whose connection has no review gate.
func attributeSite(t *testing.T) (*site, *Platform) {
	t.Helper()
	s := newSite(t, nil)
	s.AddUser(carol, "oncall")
	s.Put(hooptest.Connection{Name: db})
	return s, s.open(t, Config{Mode: modeAttribute}, 0)
}

func groupAccess(why string) jit.Access {
	a := access(why, time.Hour)
	a.Binding.Principal = "group:oncall"
	return a
}

// An update of the connection without attributes detaches the grant. It is missing then, and Ensure attaches it.
func TestADetachedAttribute(t *testing.T) {
	s, p := attributeSite(t)
	a := groupAccess("detached")
	must(t, apply(t, p, jit.Ensure, a))
	s.Put(hooptest.Connection{Name: db})
	if s.MayConnect(carol, db, time.Now()) {
		t.Fatal("the update has not detached the attribute")
	}
	if snap, err := p.Read(t.Context(), db); err != nil || len(snap.Ours) != 0 {
		t.Errorf("Read = %+v, %v; want nothing", snap.Ours, err)
	}
	must(t, apply(t, p, jit.Ensure, a))
	if !s.MayConnect(carol, db, time.Now()) {
		t.Error("after Ensure the group is not let in")
	}
	s.Put(hooptest.Connection{Name: db})
	must(t, apply(t, p, jit.Remove, a))
	if left := s.Attributes(); len(left) != 0 {
		t.Errorf("after Remove of what was detached there is %+v", left)
	}
}

// An attribute that somebody has put on a second connection is seen there too, and is removed from each in turn.
func TestAnAttributeOnTwoConnections(t *testing.T) {
	s, p := attributeSite(t)
	s.Put(hooptest.Connection{Name: "ledger-db"})
	a := groupAccess("two")
	must(t, apply(t, p, jit.Ensure, a))
	s.Edit(attributeName(a.Marker), func(x *hooptest.Attribute) bool {
		x.Connections, x.GuardrailRules = append(x.Connections, "ledger-db"), []string{"strict"}
		return true
	})
	for _, scope := range []string{db, "ledger-db"} {
		snap, err := p.Read(t.Context(), scope)
		if err != nil || len(snap.Ours) != 1 || !strings.Contains(snap.Ours[0].Damage, "several connections") ||
			!strings.Contains(snap.Ours[0].Damage, "strict") {
			t.Errorf("Read(%s) = %+v, %v; want the damage", scope, snap.Ours, err)
		}
	}
	stray := a
	stray.Binding.Scope = "ledger-db"
	must(t, apply(t, p, jit.Remove, stray))
	if s.MayConnect(carol, "ledger-db", time.Now()) || !s.MayConnect(carol, db, time.Now()) {
		t.Error("Remove on the second connection left it there, or took the grant from its own")
	}
	must(t, apply(t, p, jit.Ensure, a))
	if got := s.Attributes()[0]; len(got.GuardrailRules) != 0 {
		t.Errorf("after Ensure the rules %q are tied to it", got.GuardrailRules)
	}
}

// An attribute with the name of a grant but not its marker is left alone, with an error.
func TestASquattedAttribute(t *testing.T) {
	s, p := attributeSite(t)
	a := groupAccess("squatted")
	s.Edit(attributeName(a.Marker), func(x *hooptest.Attribute) bool { x.Connections = []string{db}; return true })
	before := s.Dump("jit", "")
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		if err := apply(t, p, op, a); err == nil || !strings.Contains(err.Error(), "not its marker") {
			t.Errorf("%s: %v", op, err)
		}
	}
	if after := s.Dump("jit", ""); after != before {
		t.Errorf("it is\n%s\nwas\n%s", after, before)
	}
}

// If the name was taken meanwhile, it is the same grant, made by a request whose answer was lost or by another process.
func TestADuplicateAttribute(t *testing.T) {
	s, p := attributeSite(t)
	a := groupAccess("duplicate")
	raced := false
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost && !raced {
			raced = true
			must(t, apply(t, s.open(t, Config{Mode: modeAttribute}, 0), jit.Ensure, a))
		}
		return hooptest.Through
	})
	must(t, apply(t, p, jit.Ensure, a))
	if all := s.Attributes(); len(all) != 1 || !raced {
		t.Errorf("there are %+v", all)
	}
	must(t, apply(t, p, jit.Remove, a))
	raced = false
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost && !raced {
			raced = true
			return hooptest.Unanswered
		}
		return hooptest.Through
	})
	must(t, apply(t, p, jit.Ensure, a))
	if all := s.Attributes(); len(all) != 1 {
		t.Errorf("there are %+v", all)
	}
}

func TestAttributesRefused(t *testing.T) {
	for name, prepare := range map[string]func(s *site, a *jit.Access){
		"no access control":      func(s *site, _ *jit.Access) { s.SetAccessControl(false) },
		"no group":               func(_ *site, a *jit.Access) { a.Binding.Principal = "group:Oncall" },
		"there is no connection": func(s *site, _ *jit.Access) { s.DeleteConnection(db) },
		"may not write":          func(s *site, _ *jit.Access) { s.AddKey(hooptest.Key, "deploys", "dev") },
	} {
		t.Run(name, func(t *testing.T) {
			s, p := attributeSite(t)
			a := groupAccess("refused")
			prepare(s, &a)
			_, planned := p.Describe(t.Context(), a.Binding)
			for what, err := range map[string]error{"Describe": planned, "Ensure": apply(t, p, jit.Ensure, a)} {
				if !errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s = %v, want a refusal that says %q", what, err, name)
				}
			}
			if _, writes := s.Calls(); writes != 0 {
				t.Errorf("%d writes, want none", writes)
			}
		})
	}
}

// The attributes fill several pages.
func TestAttributesArePaged(t *testing.T) {
	s, p := attributeSite(t)
	for i := range 200 {
		s.Edit("a-"+strings.Repeat("x", i), func(*hooptest.Attribute) bool { return true })
		s.Edit("z-"+strings.Repeat("x", i), func(*hooptest.Attribute) bool { return true })
	}
	a := groupAccess("paged")
	must(t, apply(t, p, jit.Ensure, a))
	gone := false
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.URL.Query().Get("page") == "3" && !gone {
			gone = true // and what follows moves up, past the reader
			s.Edit("a-", func(*hooptest.Attribute) bool { return false })
		}
		return hooptest.Through
	})
	snap, err := p.Read(t.Context(), db)
	if err != nil || len(snap.Ours) != 1 {
		t.Errorf("Read = %+v, %v; want one", snap.Ours, err)
	}
	scopes, err := p.Scopes(t.Context())
	if err != nil || len(scopes) != 1 || scopes[0] != db {
		t.Errorf("Scopes = %q, %v", scopes, err)
	}
	// The access control of the connection is standing access too.
	s.Put(hooptest.Connection{Name: db, Groups: []string{"support"}})
	snap, err = p.Read(t.Context(), db)
	if err != nil || len(snap.Standing) != 1 || snap.Standing[0].Principal != "group:support" {
		t.Errorf("Read = %+v, %v; want the access control", snap.Standing, err)
	}
}

// A grant that was removed and made again, with a lost answer, does not delay its next removal once it is listed.
func TestALostAnswerAfterARemoval(t *testing.T) {
	s := newSite(t, nil)
	s.Put(hooptest.Connection{Name: db})
	p, a := s.open(t, Config{Mode: modeAttribute}, 0), groupAccess("again")
	must(t, apply(t, p, jit.Ensure, a))
	must(t, apply(t, p, jit.Remove, a))
	s.loseFirst("attributes", hooptest.Unanswered, func() {})
	must(t, apply(t, p, jit.Ensure, a))
	began := time.Now()
	must(t, apply(t, p, jit.Remove, a))
	if took := time.Since(began); took > listPatience/2 {
		t.Errorf("the removal took %s", took)
	}
}
