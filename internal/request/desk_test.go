package request

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// room has a folder of configuration, and a ledger and a target in memory.
type room struct {
	t      *testing.T
	dir    string
	now    time.Time
	ledger *jittest.Ledger
	target *jittest.Platform
}

func newRoom(t *testing.T, text string) *room {
	t.Helper()
	r := &room{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC), ledger: &jittest.Ledger{}}
	r.target = &jittest.Platform{Now: r.clock, Traits: jit.Traits{Enforcement: jit.Native}}
	r.write(text)
	return r
}

func (r *room) clock() time.Time { return r.now }

func (r *room) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "main.tf"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) broker(target jit.Platform) *broker.Broker {
	return &broker.Broker{Ledger: r.ledger, Owner: "jit", MaxTTL: 24 * time.Hour, Now: r.clock,
		Planned: &broker.Planned{}, Actor: jit.Actor{Name: "alice", Source: jit.FromCLI},
		Targets: map[string]jit.Platform{"db": target}}
}

// open opens a desk for the folder.
func (r *room) open() (*Desk, error) {
	silence := &broker.Silence{}
	d := &Desk{Broker: r.broker(silence.Wrap("db", r.target)), Silence: silence, Dir: r.dir}
	return d, d.Open(r.t.Context())
}

func (r *room) desk() *Desk {
	r.t.Helper()
	d, err := r.open()
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// granted grants a request, without the policies of the folder.
func (r *room) granted(a Asked) jit.Grant {
	r.t.Helper()
	asked, err := a.Request()
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := r.broker(r.target).Grant(r.t.Context(), asked)
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

func wish(change ...func(*Asked)) Asked {
	a := Asked{Target: "db", Principal: "bob", Role: "reader", Scope: "all", Reason: "INC-1: look", TTL: "1h"}
	for _, c := range change {
		c(&a)
	}
	return a
}

const (
	hour = "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n" +
		"  match = [{ roles = [\"reader\"] }]\n  max_ttl = \"1h\"\n}\n"
	lea   = "resource \"jit_person\" \"lea\" {\n  name = \"lea\"\n  principals = [\"a\", \"b\"]\n}\n"
	block = "resource \"jit_grant\" \"g\" {\n  target = \"db\"\n  principal = \"bob\"\n  role = \"reader\"\n" +
		"  scope = \"all\"\n  reason = \"INC-1: look\"\n  ttl = \"1h\"\n}\n"
)

// A request is judged by what the folder says, and the nearest form that passes is told.
func TestJudgeByTheFolder(t *testing.T) {
	lasts := func(ttl string) Asked { return wish(func(a *Asked) { a.TTL = ttl }) }
	from := func(name string) Asked { return wish(func(a *Asked) { a.Requester = name }) }
	policy := func(name, body string) string {
		return "resource \"jit_policy\" \"" + name + "\" {\n  name = \"" + name + "\"\n  " + body + "\n}\n"
	}
	for name, tc := range map[string]struct {
		text    string
		ask     Asked
		want    jit.Outcome
		nearest string
	}{
		"permitted":   {hour, wish(), jit.Permitted, ""},
		"longer":      {hour, lasts("2h"), jit.Refused, "reader 1h"},
		"not literal": {policy("p", "match = [{ roles = var.roles }]\n  max_ttl = \"1h\""), wish(), jit.Permitted, ""},
		"not literal, longer": {policy("p", "match = [{}]\n  max_ttl = \"1h\"\n  condition = var.c"), lasts("2h"),
			jit.Refused, "reader 1h"},
		"a person":       {lea, from("lea"), jit.Permitted, ""},
		"no such person": {lea, from("eve"), jit.Refused, ""},
		"the nearest form is forbidden": {policy("w", "match = [{ roles = [\"writer\"] }]\n  max_ttl = \"1h\"") +
			policy("no", "effect = \"forbid\"\n  match = [{ roles = [\"writer\"] }]") +
			policy("r", "match = [{ roles = [\"reader\"] }]"),
			wish(func(a *Asked) { a.Role, a.TTL = "writer", "2h" }), jit.Refused, "reader 2h"},
		"the same role is nearer": {policy("a", "match = [{ roles = [\"admin\"] }]") + hour, lasts("2h"), jit.Refused,
			"reader 1h"},
		"the second entry": {policy("p", "match = [{ roles = [\"admin\"], targets = [\"x\"] }, "+
			"{ roles = [\"reader\"], targets = [\"d*\"] }]"), wish(func(a *Asked) { a.Role = "writer" }), jit.Refused,
			"reader 1h"},
		"lists of two entries": {policy("p", "match = [{ roles = [\"reader\"], targets = [\"x\"] }, "+
			"{ roles = [\"admin\"], targets = [\"d*\"] }]"), wish(), jit.Refused, "admin 1h"},
		"the longer time is nearer": {hour + policy("q", "match = [{ roles = [\"reader\"] }]\n  max_ttl = \"4h\""),
			lasts("9h"), jit.Refused, "reader 4h"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := newRoom(t, tc.text).desk().Judge(t.Context(), tc.ask)
			if err != nil {
				t.Fatal(err)
			}
			nearest := ""
			if v.Nearest != nil {
				nearest = v.Nearest.Asked.Role + " " + v.Nearest.Asked.TTL
			}
			if v.Outcome() != tc.want || nearest != tc.nearest {
				t.Errorf("%s (%s), nearest %q; want %s, %q", v.Outcome(), v.Rule(), nearest, tc.want, tc.nearest)
			}
		})
	}
	d := newRoom(t, policy("p", "match = [{}]\n  condition = var.c")).desk()
	if v, err := d.Judge(t.Context(), wish()); err != nil || !v.Decision.Provisional || len(d.Notes) == 0 {
		t.Errorf("a policy that is not literal permits for good: %+v, %v", v, err)
	}
	if _, err := newRoom(t, policy("p", "match = [{}]\n  reason_pattern = \"(\"")).open(); err == nil {
		t.Error("a policy that no plan accepts is judged by")
	}
	r := newRoom(t, "")
	r.granted(wish())
	r.now = r.now.Add(2 * time.Hour)
	v, err := r.desk().Judge(t.Context(), wish())
	if err != nil || !errors.Is(v.Refusal, jit.ErrOver) || v.Nearest != nil {
		t.Errorf("what is over is %+v, %v", v, err)
	}
}

// Only a literal block is known to ask for a grant.
func TestBlocksOfGrants(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		known int
	}{
		"literal":    {block, 1},
		"a reason":   {strings.Replace(block, `"INC-1: look"`, "var.reason", 1), 0},
		"a provider": {strings.Replace(block, "{\n", "{\n  provider = jit.other\n", 1), 0},
		"count":      {strings.Replace(block, "{\n", "{\n  count = 2\n", 1), 0},
		"a policy":   {strings.Replace(block, "{\n", "{\n  policy = var.policy\n", 1), 1},
	} {
		if d := newRoom(t, tc.text).desk(); len(d.grants) != tc.known || len(d.open) != 1-tc.known {
			t.Errorf("%s: %d known, %d open", name, len(d.grants), len(d.open))
		}
	}
	d := newRoom(t, block).desk()
	other, err := d.Judge(t.Context(), wish(func(a *Asked) { a.TTL = "30m" }))
	if err != nil {
		t.Fatal(err)
	}
	if w, err := d.Write(other, HCL, "jit.hcl", true); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("another length of a grant that is there: %+v, %v", w, err)
	}
}

// What is refused changes no file.
func TestExtendAndRenew(t *testing.T) {
	r := newRoom(t, hour+block)
	g := r.granted(wish())
	id := string(g.ID)
	extend := func(prefix, ttl string) (Verdict, Edit, error) {
		return r.desk().Extend(t.Context(), prefix, Length{TTL: ttl})
	}
	if v, e, err := extend(id, "2h"); err != nil || v.Refusal == nil || e.Path != "" {
		t.Errorf("longer than permitted: %+v, %+v, %v", v.Refusal, e, err)
	}
	r.now = r.now.Add(30 * time.Minute)
	if v, e, err := extend(id, "10m"); err != nil || v.Refusal == nil || e.Path != "" {
		t.Errorf("an end in the past: %+v, %+v, %v", v.Refusal, e, err)
	}
	if v, e, err := extend(id, "50m"); err != nil || v.Refusal != nil || !strings.Contains(string(e.after), `"50m"`) {
		t.Errorf("shorter: %+v, %+v, %v", v.Refusal, e, err)
	}
	renew := func() (Verdict, Edit, error) { return r.desk().Renew(t.Context(), id, Length{}) }
	if _, e, err := renew(); !errors.Is(err, jit.ErrDenied) || e.Path != "" {
		t.Errorf("a live grant is renewed: %+v, %v", e, err)
	}
	r.now = r.now.Add(2 * time.Hour)
	r.granted(wish(func(a *Asked) { a.Renewal = 2 }))
	r.now = r.now.Add(2 * time.Hour)
	if v, e, err := renew(); err != nil || v.Asked.Renewal != 3 || e.Path == "" {
		t.Errorf("the next renewal: %+v, %+v, %v", v, e, err)
	}
	r.write(strings.Replace(hour, "1h", "30m", 1) + block)
	if v, e, err := renew(); err != nil || v.Refusal == nil || e.Path != "" {
		t.Errorf("a refused renewal: %+v, %+v, %v", v, e, err)
	}
	r.write(block + strings.NewReplacer(`"g"`, `"h"`, "INC-1", "INC-2").Replace(block))
	if _, e, err := extend("", "30m"); !errors.Is(err, jit.ErrInvalid) || e.Path != "" {
		t.Errorf("an id of two grants: %+v, %v", e, err)
	}
	r.write("")
	r.ledger.Alter(g.ID, func(g *jit.Grant) { g.Reason = "" })
	if v, _, err := renew(); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("a lost reason: %+v, %v", v, err)
	}
}

// An edit follows no link.
func TestExtendThroughALink(t *testing.T) {
	r := newRoom(t, "")
	elsewhere := filepath.Join(t.TempDir(), "g.tf")
	if err := os.WriteFile(elsewhere, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(r.dir, "g.tf")); err != nil {
		t.Skip(err)
	}
	id := string(r.granted(wish()).ID)
	_, e, err := r.desk().Extend(t.Context(), id, Length{TTL: "2h"})
	if !errors.Is(err, jit.ErrDenied) || e.after != nil {
		t.Errorf("%+v, %v", e, err)
	}
}

// A person with two principals must say which one is meant.
func TestWhoOfSeveral(t *testing.T) {
	a := wish(func(a *Asked) { a.Principal, a.Requester = "", "lea" })
	if got, _, err := newRoom(t, lea).desk().Who(a, t.TempDir()); !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("got %q, %v", got.Principal, err)
	}
}
