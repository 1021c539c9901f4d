package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const standingKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBEpMmcaQDa7RrvUdYgxFOd8cmZphQCfzkQ6jWvPM4P2"

func TestScanListsAccessWithoutAnEnd(t *testing.T) {
	w := newWorld(t)
	w.run("scan").wantCode(exitDone).wantErr("No standing access.")
	g := w.grant("INC-1: look", "1h")
	w.run("scan").wantCode(exitDone)
	keys, err := os.ReadFile(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	w.write("authorized_keys", string(keys)+standingKey+" by hand\n"+g.Principal+" promoted\n")

	r := w.run("scan").wantCode(exitNotDone).wantOut("PRINCIPAL", "SHADOWS", string(g.ID), "line").wantErr("standing access was found: 2")
	if lines := strings.Split(r.out, "\n"); !strings.Contains(lines[1], string(g.ID)) {
		t.Errorf("what shadows a grant is not the first:\n%s", r.out)
	}
	var found struct {
		Standing []standingView `json:"standing"`
		Unread   []string       `json:"unread"`
	}
	w.run("scan", "--json").wantCode(exitNotDone).decode(&found)
	if len(found.Standing) != 2 || found.Standing[0].Principal != g.Principal || found.Standing[0].Shadows != g.ID ||
		found.Standing[1].Principal != standingKey || found.Standing[1].Shadows != "" || found.Standing[1].Target != "bastion" {
		t.Errorf("found %+v", found.Standing)
	}
	if now, err := os.ReadFile(w.keys); err != nil || !strings.Contains(string(now), "promoted") {
		t.Errorf("the scan wrote: %v\n%s", err, now)
	}

	// When the grant is over its shadow is standing access like any other.
	w.now = g.End
	w.run("scan").wantCode(exitNotDone).wantNotOut(string(g.ID))
}

func TestScanTellsWhatItCouldNotRead(t *testing.T) {
	w := newWorld(t)
	if err := os.Remove(w.keys); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.keys, 0o700); err != nil {
		t.Fatal(err)
	}
	w.run("scan").wantCode(exitUnreadable).wantErr("bastion", "not a regular file")
	w.run("scan", "--json").wantCode(exitUnreadable).wantOut("not a regular file")
}

func TestFindingsAreInOrder(t *testing.T) {
	a, b := jit.Place{Target: "a", Scope: "1"}, jit.Place{Target: "b", Scope: "1"}
	live := []jit.Grant{{ID: "x", Binding: jit.Binding{Target: "b", Scope: "1", Principal: "user:bob", Role: "viewer if x"}}}
	standing, notes := findings(map[jit.Place]jit.Snapshot{
		b: {Standing: []jit.Standing{{Principal: "user:bob", Role: "viewer", Covers: "viewer if "}}, Notes: []jit.Note{{Text: "nearly full"}}},
		a: {Standing: []jit.Standing{{Principal: "user:eve", Role: "viewer"}, {Principal: "user:bob", Role: "viewer", Covers: "viewer if "}}},
	}, live)
	var order []string
	for _, s := range standing {
		order = append(order, s.Target+" "+s.Principal+" "+string(s.Shadows))
	}
	if got := strings.Join(order, ", "); got != "b user:bob x, a user:bob , a user:eve " {
		t.Errorf("the order is %s", got)
	}
	if len(notes) != 1 || notes[0].Text != "nearly full" || notes[0].Place != b {
		t.Errorf("the notes are %+v", notes)
	}
}
