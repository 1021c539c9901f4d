package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestListTellsWhoHasWhatWhyAndForHowLong(t *testing.T) {
	w := newWorld(t)
	w.run("list").wantCode(exitDone).wantErr("No grant matches.")
	long := w.grant("INC-1: long", "8h")
	soon := w.grant("INC-2: short", "30m")
	w.now = w.now.Add(10 * time.Minute)

	out := w.run("list").wantCode(exitDone).wantOut("ID ", "STATE", string(long.ID), string(soon.ID), "7h50m left",
		"20m left", "INC-1: long", "bastion", "active").out
	if strings.Index(out, string(soon.ID)) > strings.Index(out, string(long.ID)) {
		t.Errorf("the list does not begin with the grant that ends first:\n%s", out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines[1:] {
		if strings.Index(line, "INC-") != strings.Index(lines[0], "REASON") && !strings.Contains(line, "…") {
			t.Errorf("columns are not aligned:\n%s", out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours without a terminal: %q", out)
	}

	// The grant has expired and is still on its target.
	w.now = w.now.Add(time.Hour)
	w.run("list").wantCode(exitDone).wantOut("expired (not removed yet)", "ended 40m ago", "6h50m left")
	// The grant has expired and is gone from its target.
	w.run("sweep").wantCode(exitDone)
	w.wantAccess(soon, false)
	w.run("list").wantCode(exitDone).wantOut(string(long.ID)).wantNotOut(string(soon.ID))
	w.run("list", "--all").wantCode(exitDone).wantOut(string(long.ID), string(soon.ID), "expired ")
	w.run("list", "--state", "expired").wantCode(exitDone).wantOut(string(soon.ID)).wantNotOut(string(long.ID))
}

func TestListFilters(t *testing.T) {
	w := newWorld(t)
	a := w.grant("INC-1: a", "1h")
	b := w.grant("INC-2: b", "2h")
	later := w.request(broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: a.Principal, Role: "login"}, Reason: "CHG-3: later",
		Renewal: 1,
		TTL:     jit.RecordedTTL("1h"), StartsAt: w.now.Add(3 * time.Hour),
	})
	ids := func(args ...string) []jit.ID {
		t.Helper()
		var views []struct{ ID jit.ID }
		w.run(append([]string{"list", "--json"}, args...)...).wantCode(exitDone).decode(&views)
		got := []jit.ID{}
		for _, v := range views {
			got = append(got, v.ID)
		}
		return got
	}
	for _, tt := range []struct {
		args []string
		want []jit.ID
	}{
		{nil, []jit.ID{a.ID, b.ID, later.ID}},
		{[]string{"--principal", a.Principal}, []jit.ID{a.ID, later.ID}},
		{[]string{"--principal", "ssh-rsa *"}, nil},
		{[]string{"--target", "bast*", "--state", "active"}, []jit.ID{a.ID, b.ID}},
		{[]string{"--state", "scheduled"}, []jit.ID{later.ID}},
		{[]string{"--owner", "search"}, nil},
		{[]string{"--owner", "*"}, []jit.ID{a.ID, b.ID, later.ID}},
	} {
		got := ids(tt.args...)
		if len(got) != len(tt.want) {
			t.Errorf("list %q: %v, want %v", tt.args, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("list %q: %v, want %v", tt.args, got, tt.want)
			}
		}
	}
	// An unknown target never looks like an empty list.
	for _, target := range []string{"prod*", "bastoin"} {
		r := w.run("list", "--json", "--target", target).wantCode(exitUnknown).wantErr("no target matches", target)
		if r.out != "" {
			t.Errorf("%s: stdout has %q", r.line, r.out)
		}
	}
	// The ledger also knows targets that are no longer configured.
	w.write("jit.hcl",
		fmt.Sprintf("ledger = \"sqlite://ledger.db\"\ntargets = {\n  other = { ssh = { authorized_keys = %q } }\n}\n",
			w.keys))
	if got := ids("--target", "bastion", "--principal", "ssh-rsa *"); len(got) != 0 {
		t.Errorf("list of a former target: %v", got)
	}
}

// Tables show an SSH key as its comment and its last characters. Other output has the whole key.
func TestListShowsTheCommentOfAKey(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	g := w.request(broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: key + " alice@laptop (work)", Role: "login"},
		Reason:  "INC-1: a", Renewal: 1, TTL: jit.RecordedTTL("1h"), Terms: jit.Terms{Requester: "Alice Smith"},
	})
	other := w.grant("INC-2: b", "1h")
	name := "alice@laptop (work) (…" + key[len(key)-6:] + ")"
	w.run("list").wantCode(exitDone).wantOut(name, other.Principal).wantNotOut(key)
	w.run("list", "--principal", "alice@*").wantCode(exitDone).wantOut(name).wantNotOut(other.Principal)
	w.run("list", "--json").wantCode(exitDone).
		wantOut(`"principal": "`+key+`"`, `"principal_name": "alice@laptop (work)"`, `"requester": "Alice Smith"`)
	w.run("show", string(g.ID)).wantCode(exitDone).wantOut(key, "alice@laptop (work)", "Alice Smith")
	w.run("sweep", "--dry-run").wantCode(exitDone)
	w.run("audit", "verify").wantCode(exitDone)
	w.run("revoke", "--principal", "alice@laptop (work)", "--yes", "--reason", "done").wantCode(exitDone).
		wantOut(name, "revoked").wantNotOut(key)
	w.wantAccess(g, false)
	w.wantAccess(other, true)
}

// A principal's name selects all records of its key, also those without the name. A principal without records is
// unknown.
func TestPrincipalByANameInAnotherRecord(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	ask := func(principal, role, reason string) jit.Grant {
		return w.request(broker.Request{
			Binding: jit.Binding{Target: "bastion", Principal: principal, Role: role},
			Reason:  reason, Renewal: 1, TTL: jit.RecordedTTL("1h"),
		})
	}
	unnamed, other := ask(key, "login", "INC-1: a"), w.grant("INC-2: b", "1h")
	for _, args := range [][]string{{"list"}, {"revoke", "--yes", "--reason", "stop"}, {"report", "-o", "-"}} {
		w.run(append(args, "--principal", "alice@laptop")...).wantCode(exitUnknown).
			wantErr(`--principal: no grant in the ledger is to "alice@laptop"`, "principal_name")
		w.run(append(args, "--principal", "alice@*")...).wantCode(exitDone)
	}
	named := ask(key+" alice@laptop", "command:/bin/true", "INC-3: c")
	w.run("list", "--principal", "alice@laptop").wantCode(exitDone).
		wantOut(string(named.ID), string(unnamed.ID)).wantNotOut(string(other.ID))
	w.run("revoke", string(named.ID), "--reason", "done").wantCode(exitDone)
	w.run("sweep").wantCode(exitDone)
	w.run("report", "--principal", "alice@laptop", "-o", "-").wantCode(exitDone).wantOut("INC-1: a", "INC-3: c").
		wantNotOut("INC-2: b")
	w.run("revoke", "--principal", "alice@laptop", "--yes", "--reason", "SEC-1: stolen").wantCode(exitDone).
		wantOut(string(unnamed.ID), "revoked").wantNotOut(string(named.ID), string(other.ID))
	w.wantAccess(unnamed, false)
	w.wantAccess(other, true)
	w.run("revoke", "--principal", "alice@laptop", "--yes", "--reason", "again").wantCode(exitDone).
		wantErr("nothing is left to revoke")
}

func TestListJSONHasStableNames(t *testing.T) {
	w := newWorld(t)
	if out := w.run("list", "--json").wantCode(exitDone).out; strings.TrimSpace(out) != "[]" {
		t.Errorf("an empty list is %q, want []", out)
	}
	g := w.grant("INC-1: <b> & co", "1h")
	w.now = w.now.Add(time.Minute)
	r := w.run("list", "--json").wantCode(exitDone).wantOut("INC-1: <b> & co")
	var views []map[string]any
	r.decode(&views)
	if len(views) != 1 {
		t.Fatalf("got %d grants, want 1", len(views))
	}
	for name, want := range map[string]any{
		"id": string(g.ID), "owner": "payments", "target": "bastion", "principal": g.Principal, "role": "login",
		"scope":  w.keys,
		"reason": "INC-1: <b> & co", "renewal": 1.0, "ttl": "1h", "state": "active", "remaining_seconds": 3540.0,
		"outstanding": false,
		"expires_at":  jit.FormatTime(g.End), "starts_at": jit.FormatTime(g.Start), "enforcement": "native",
		"session_tail": "unlimited",
	} {
		if got := views[0][name]; got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestColoursOnATerminalOnly(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "1h")
	t.Setenv("TERM", "xterm")
	list := func() string {
		var out, errs bytes.Buffer
		o := w.options()
		o.Terminal = true
		if code := Run(t.Context(), []string{"list"}, strings.NewReader(""), &out, &errs, o); code != exitDone {
			t.Fatalf("exit code %d: %s", code, errs.String())
		}
		return out.String()
	}
	t.Setenv("NO_COLOR", "")
	coloured := list()
	if !strings.Contains(coloured, "\x1b[32mactive\x1b[0m") {
		t.Errorf("no colour on a terminal: %q", coloured)
	}
	t.Setenv("NO_COLOR", "1")
	plain := list()
	if strings.Contains(plain, "\x1b") {
		t.Errorf("colour with NO_COLOR: %q", plain)
	}
	for _, code := range []string{"\x1b[32m", "\x1b[39m", "\x1b[0m"} {
		coloured = strings.ReplaceAll(coloured, code, "")
	}
	head := func(s string) int { return strings.Index(s, "REASON") - strings.Index(s, "STATE") }
	row := func(s string) int { return strings.Index(s, "INC-1") - strings.Index(s, "active") }
	if head(coloured)-head(plain) != row(coloured)-row(plain) {
		t.Errorf("colours shift the columns:\n%s\n%s", coloured, plain)
	}
}

func TestColourOf(t *testing.T) {
	const red, green, yellow, grey = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[90m"
	for cell, want := range map[string]string{
		"active": green, "done": green, "scheduled": yellow, "pending": yellow, "planned": yellow, "look": yellow,
		"expired": grey, "revoked": grey, "over": grey, "failed": red, "expired (not removed yet)": red,
		"revoked (not removed yet)": red,
	} {
		if got := colourOf(cell, false); got != want {
			t.Errorf("colourOf(%q) = %q, want %q", cell, got, want)
		}
	}
}

func TestShowTellsTheStory(t *testing.T) {
	w := newWorld(t)
	t.Setenv("JIT_CHANGE", "CHG-77")
	g := w.grant("INC-1: look", "1h")
	other := w.grant("INC-2: other", "1h")
	w.run("revoke", string(g.ID), "--reason", "done early").wantCode(exitDone)

	w.run("show", strings.ToUpper(string(g.ID))).wantCode(exitDone).
		wantOut(string(g.ID), "revoked, ended 0s ago", "INC-1: look", "revoked_by", "alice", "done early", "requested",
			"granted", "revoke_requested", "CHG-77", "terraform", "cli").
		wantNotOut(string(other.ID), "\x1b")

	var shown struct {
		ID     jit.ID
		State  jit.State
		Events []jit.Event
	}
	w.run("show", string(g.ID), "--json").wantCode(exitDone).decode(&shown)
	if shown.ID != g.ID || shown.State != jit.StateRevoked {
		t.Errorf("got %s, %s", shown.ID, shown.State)
	}
	kinds := map[jit.EventKind]bool{}
	for _, e := range shown.Events {
		kinds[e.Kind] = true
		if e.Grant != g.ID {
			t.Errorf("event %d belongs to grant %s", e.Seq, e.Grant)
		}
	}
	for _, kind := range []jit.EventKind{jit.EventRequested, jit.EventGranted, jit.EventRevokeAsked, jit.EventRevoked} {
		if !kinds[kind] {
			t.Errorf("no event %s among %v", kind, shown.Events)
		}
	}
}

// Control characters in recorded texts do not reach the terminal.
func TestTablesShowNoControlCharacters(t *testing.T) {
	var out bytes.Buffer
	p := &program{out: &out}
	tbl := p.table(&out)
	tbl.row("A", "B", "C")
	tbl.row("x\x1b[2J", "y\tz", "w\u202e\n")
	tbl.flush()
	if got := out.String(); strings.ContainsAny(got, "\x1b\t\u202e") || strings.Count(got, "\n") != 2 {
		t.Errorf("got %q", got)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 45 * time.Second: "45s", 4*time.Minute + 3*time.Second: "4m3s", 12*time.Minute + 9*time.Second: "12m",
		92*time.Minute + time.Second: "1h32m", 76*time.Hour + 30*time.Minute: "3d4h", 24 * time.Hour: "1d",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestEveryJSONListingIsJSON(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "1h")
	for _, args := range [][]string{
		{"list", "--json"}, {"sweep", "--json"}, {"sweep", "--json", "--dry-run"}, {"version", "--json"},
		{"audit", "verify", "--json"},
		{"revoke", "--all", "--yes", "--reason", "done", "--json"},
		{"revoke", "--all", "--yes", "--reason", "done", "--json"},
	} {
		if r := w.run(args...).wantCode(exitDone); !json.Valid([]byte(r.out)) {
			t.Errorf("%s: %q", r.line, r.out)
		}
	}
}
