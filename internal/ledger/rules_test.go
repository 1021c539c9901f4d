package ledger_test

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A run whose changes somebody hides is found: it would be judged by them.
func TestHiddenRun(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		bob := jit.Person{Name: "bob"}
		detail := bob.Facts()
		detail[jit.RunDetail] = "a-run"
		write(t, l, jit.Entry{Person: &bob, Events: []jit.Event{{Kind: jit.EventPersonChanged, Detail: detail}}})
		if r := verify(t, l); !r.OK() {
			t.Fatalf("%v", r.Mismatches)
		}
		run(t, raw(t, url), "DELETE FROM jit_runs")
		if r := verify(t, l); len(r.Mismatches) != 1 || !strings.Contains(r.Mismatches[0].String(), `run "a-run"`) {
			t.Errorf("found %v", r.Mismatches)
		}
	})
}
