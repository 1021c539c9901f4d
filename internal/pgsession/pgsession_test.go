package pgsession

import "testing"

func TestParameter(t *testing.T) {
	for _, c := range []struct {
		parameters map[string]string
		want       string
	}{
		{nil, ""},
		{map[string]string{"role": "jit admin"}, "jit admin"},
		{map[string]string{"options": `-c geqo=off -c role=jit\ admin`}, "jit admin"},
		{map[string]string{"options": "--role=jit_admin --geqo=off"}, "jit_admin"},
		{map[string]string{"options": "-crole=jit_admin"}, "jit_admin"},
		{map[string]string{"options": "-c geqo=off", "user": "x"}, ""},
	} {
		if got := Parameter(c.parameters, "role"); got != c.want {
			t.Errorf("Parameter(%v) = %q, want %q", c.parameters, got, c.want)
		}
	}
}
