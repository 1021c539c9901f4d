package cli

import (
	"context"
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// directory is a target that alone knows which name belongs to which id.
type directory struct {
	jit.Platform
	people map[string]string // names by id; nil while it does not answer
}

func (d directory) Given(_ context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g, written := jit.AsWritten(b), b.Principal
	g.Principal = jit.Named{Name: written, Unresolved: true}
	if written == malloryID || written == goneID {
		g.Principal = jit.Named{IDs: []string{written}, Unresolved: true}
	}
	if !ask {
		return g, nil
	}
	if d.people == nil {
		return g, errors.New("no answer")
	}
	for id, name := range d.people {
		if written == id || written == name {
			g.Principal = jit.Named{Name: name, IDs: []string{id}}
			return g, nil
		}
	}
	return g, jit.Invalid("principal", "list the users", "there is no user %q", written)
}

const (
	malloryID = "user:906700aaaa-11111111-2222-3333-4444-555555555555"
	goneID    = "user:906700aaaa-99999999-2222-3333-4444-555555555555"
)

// A grant to a name ends by the id of the person, and the other way round. If the target does not tell who has the id,
// revoking does not pass for done.
func TestRevokeByTheOtherName(t *testing.T) {
	for _, tt := range []struct {
		granted, asked string
		people         map[string]string
		code           int
		ended          bool
	}{
		{"user:mallory@example.com", malloryID, map[string]string{malloryID: "user:mallory@example.com"}, exitDone, true},
		{malloryID, "user:mallory@example.com", map[string]string{malloryID: "user:mallory@example.com"}, exitDone, true},
		{"user:mallory@example.com", goneID, map[string]string{goneID: "user:eve@example.com"}, exitDone, false},
		{"user:mallory@example.com", goneID, map[string]string{}, exitUnreadable, false},
		{"user:mallory@example.com", malloryID, nil, exitUnreadable, false},
		{"user:mallory@example.com", "user:nobody-else@example.org", map[string]string{}, exitDone, false},
	} {
		w := newWorld(t)
		w.configure(`{ aws_identity_center = { region = "eu-central-1" } }`, postgresqlTarget)
		g := w.grantOnPaper(jit.Binding{Target: "a", Principal: tt.granted, Role: "ReadOnly", Scope: "123456789012"})
		was := w.wrap
		w.wrap = func(name string, real jit.Platform) jit.Platform {
			if name != "a" {
				return real
			}
			return directory{was(name, real), tt.people}
		}
		got := w.revokeFrom(tt.asked).wantCode(tt.code)
		if tt.ended {
			got.wantOut(string(g.ID), "revoked")
		}
		state := map[bool]string{true: "revoked", false: "active"}[tt.ended]
		w.run("show", string(g.ID)).wantCode(exitDone).wantOut(state)
	}
}
