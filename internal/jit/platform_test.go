package jit

import "testing"

func TestStandingOf(t *testing.T) {
	narrowed := Binding{Principal: "user:alice", Role: `roles/viewer if resource.name == "x"`}
	for _, tt := range []struct {
		name     string
		standing Standing
		binding  Binding
		want     bool
	}{
		{"the same", Standing{Principal: "user:alice", Role: "roles/viewer"}, Binding{Principal: "user:alice",
			Role: "roles/viewer"}, true},
		{"somebody else", Standing{Principal: "user:bob", Role: "roles/viewer"}, Binding{Principal: "user:alice",
			Role: "roles/viewer"}, false},
		{"another role", Standing{Principal: "user:alice", Role: "roles/editor"}, Binding{Principal: "user:alice",
			Role: "roles/viewer"}, false},
		{"the role of which only a part is asked for", Standing{Principal: "user:alice", Role: "roles/viewer",
			Covers: "roles/viewer if "}, narrowed, true},
		{"a role whose name only begins so", Standing{Principal: "user:alice", Role: "roles/view",
			Covers: "roles/view if "}, narrowed, false},
		{"a part of the role", Standing{Principal: "user:alice", Role: narrowed.Role}, Binding{Principal: "user:alice",
			Role: "roles/viewer"}, false},
	} {
		_, got := Snapshot{Standing: []Standing{tt.standing}}.StandingOf(tt.binding)
		if got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
