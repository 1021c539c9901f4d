package cli

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// onTerminal runs a command line on a terminal of that width.
func (w *world) onTerminal(width int, args ...string) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	o := w.options()
	o.Terminal, o.Width = true, width
	code := Run(w.t.Context(), args, strings.NewReader(""), &out, &errs, o)
	return result{w.t, "jit " + strings.Join(args, " "), code, out.String(), errs.String()}
}

func widest(text string) int {
	most := 0
	for line := range strings.Lines(text) {
		most = max(most, columnsOf(strings.TrimSuffix(line, "\n")))
	}
	return most
}

func TestTablesFitTheTerminal(t *testing.T) {
	w := newWorld(t)
	t.Setenv("NO_COLOR", "1")
	t.Setenv("COLUMNS", "")
	reason := "INC-4211: " + strings.Repeat("a long story ", 12) + "ends"
	g := w.request(broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"}, Reason: reason, Renewal: 1,
		TTL: jit.RecordedTTL("1h"),
	})
	other := w.grant("INC-4212: short", "2h")
	for _, width := range []int{90, 100, 120, 160, 250} {
		out := w.onTerminal(width, "list").wantCode(exitDone).
			wantOut("ID ", "STATE", "PRINCIPAL", "REASON", string(g.ID[:8]), string(other.ID[:8]), "active", "bastion",
				"login").out
		if widest(out) > width || strings.Count(out, "\n") != 3 {
			t.Errorf("on %d columns:\n%s", width, out)
		}
		if width < 100 && strings.Contains(out, string(g.ID)) {
			t.Errorf("on %d columns, the ids are not shortened:\n%s", width, out)
		}
		if owner := strings.Contains(out, "OWNER"); owner != (width >= 100) {
			t.Errorf("on %d columns, an OWNER column: %v", width, owner)
		}
		if out := w.onTerminal(width, "sweep", "--dry-run").wantCode(exitDone).out; widest(out) > width {
			t.Errorf("on %d columns:\n%s", width, out)
		}
		w.onTerminal(width, "show", string(g.ID[:8])).wantCode(exitDone).wantOut(reason, g.Principal, string(g.ID))
	}
	// A terminal too narrow for a table gets blocks with the full texts.
	blocks := w.onTerminal(50, "list").wantCode(exitDone).
		wantOut("ID         "+string(g.ID[:8]), "\n\nID  ", "STATE      active", "REASON     "+reason, g.Principal)
	if strings.Contains(blocks.out, "…") {
		t.Errorf("blocks are cut:\n%s", blocks.out)
	}
	// COLUMNS overrides the terminal's width, and has no effect elsewhere.
	t.Setenv("COLUMNS", "120")
	if out := w.onTerminal(250, "list").out; widest(out) > 120 {
		t.Errorf("COLUMNS is ignored:\n%s", out)
	}
	w.run("list").wantCode(exitDone).wantOut(reason, g.Principal, string(g.ID), string(other.ID)).wantNotOut("…")
	w.onTerminal(80, "list", "--json").wantCode(exitDone).
		wantOut(`"reason": "`+reason+`"`, `"principal": "`+g.Principal+`"`, string(g.ID))
	// The terminal does not report its width.
	t.Setenv("COLUMNS", "")
	w.onTerminal(0, "list").wantCode(exitDone).wantOut(reason, g.Principal, string(g.ID))
}

func TestShortIDsStayDifferent(t *testing.T) {
	var out bytes.Buffer
	table := &table{w: &out, width: 60}
	table.row("ID", "STATE", "REASON")
	for i := range 3 {
		table.row("3f2b8c1e-000"+strconv.Itoa(i)+"-8000-8000-000000000000", "active", strings.Repeat("x", 50))
	}
	table.flush()
	for i := range 3 {
		if id := "\n3f2b8c1e-000" + strconv.Itoa(i) + "  "; !strings.Contains(out.String(), id) {
			t.Errorf("no %q in\n%s", id, out.String())
		}
	}
}

func TestCuts(t *testing.T) {
	for _, tt := range []struct {
		text        string
		limit       int
		middle, end string
	}{
		{"abcdefghij", 10, "abcdefghij", "abcdefghij"},
		{"abcdefghijk", 10, "abcdef…ijk", "abcdefghi…"},
		{"日本語日本語", 8, "日本…語", "日本語…"},
		{"", 4, "", ""},
	} {
		if got := middleCut(tt.text, tt.limit); got != tt.middle {
			t.Errorf("middleCut(%q, %d) = %q, want %q", tt.text, tt.limit, got, tt.middle)
		}
		if got := endCut(tt.text, tt.limit); got != tt.end {
			t.Errorf("endCut(%q, %d) = %q, want %q", tt.text, tt.limit, got, tt.end)
		}
	}
}
