package cli

import (
	"context"
	"strings"
	"testing"
)

// On a terminal, jit request asks for what is missing, shows the verdict, and writes only after a yes.
func TestRequestAsks(t *testing.T) {
	d := newDesk(t)
	d.write("rules.tf", rules)
	o := &office{world: d.world}
	for _, tt := range []struct {
		args   []string
		last   string
		code   int
		writes int
	}{
		{nil, "n", exitNotDone, 0},
		{[]string{"bastion"}, "y", exitDone, 1},
	} {
		c := o.atTerminal(t.Context(), append([]string{"request", "--for", d.principal}, tt.args...)...)
		if len(tt.args) == 0 {
			c.types(t, "1  bastion\r\nTarget: ", "1", true)
		}
		c.types(t, "1  login\r\nRole: ", "lo\t", true)
		c.types(t, "Scope (leave it empty if the target has only one): ", "", true)
		c.types(t, "How long, such as 2h: ", "1h", true)
		c.types(t, "Why: ", "INC-1: ${look}", true)
		c.types(t, "Write the request? Type y: ", tt.last, false)
		code, out := <-c.exit, c.out.String()
		if code != tt.code || !strings.Contains(out, "permitted: ") || !c.shows(t) {
			t.Errorf("exit code %d\n%s%s", code, out, c.err.String())
		}
		if files := d.files(); len(files) != tt.writes ||
			tt.writes > 0 && !strings.Contains(d.read(files[0]), "INC-1: $${look}") {
			t.Errorf("files %v", files)
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	c := o.atTerminal(ctx, "request")
	eventually(t, "the question", func() bool { return !c.shows(t) })
	interrupt()
	if code := <-c.exit; code != exitInterrupted || !c.shows(t) {
		t.Errorf("interrupted: exit code %d, the terminal shows what is typed: %t", code, c.shows(t))
	}
	c = o.atTerminal(t.Context(), "request")
	c.types(t, "Target: ", "\x03", true)
	if code := <-c.exit; code != exitNotDone || !c.shows(t) {
		t.Errorf("Ctrl-C: exit code %d\n%s", code, c.err.String())
	}
	c = o.atTerminal(t.Context(), "request", "--json")
	if code := <-c.exit; code != exitUsage ||
		!strings.Contains(c.err.String(), "lacks TARGET, ROLE, --ttl, --reason") {
		t.Errorf("--json asks: exit code %d\n%s", code, c.err.String())
	}
}
