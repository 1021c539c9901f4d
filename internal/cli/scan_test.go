package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
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

	r := w.run("scan").wantCode(exitNotDone).wantOut("PRINCIPAL", "SHADOWS", string(g.ID), "line").
		wantErr("2 findings of standing access")
	if lines := strings.Split(r.out, "\n"); !strings.Contains(lines[1], string(g.ID)) {
		t.Errorf("the binding that shadows a grant is not listed first:\n%s", r.out)
	}
	var found struct {
		Standing []standingView `json:"standing"`
		Unread   []string       `json:"unread"`
	}
	w.run("scan", "--json").wantCode(exitNotDone).decode(&found)
	if len(found.Standing) != 2 || found.Standing[0].Principal != g.Principal || found.Standing[0].Shadows != g.ID ||
		found.Standing[1].Principal != standingKey || found.Standing[1].Shadows != "" ||
		found.Standing[1].Target != "bastion" {
		t.Errorf("found %+v", found.Standing)
	}
	if now, err := os.ReadFile(w.keys); err != nil || !strings.Contains(string(now), "promoted") {
		t.Errorf("the scan wrote: %v\n%s", err, now)
	}

	// After the grant's end, the binding that shadowed it is ordinary standing access.
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
	r := w.run("scan").wantCode(exitUnreadable).wantErr("bastion", "not a regular file",
		"target bastion: 0 scopes read, 1 not", "No standing access in the scopes that could be read.")
	if strings.Contains(r.err, "No standing access.") {
		t.Errorf("the incomplete scan reports no standing access: %s", r.err)
	}
	var told struct {
		Complete bool           `json:"complete"`
		Targets  []coverageView `json:"targets"`
	}
	w.run("scan", "--json").wantCode(exitUnreadable).wantOut("not a regular file").decode(&told)
	if told.Complete || len(told.Targets) != 1 || told.Targets[0].Complete || len(told.Targets[0].Unread) != 1 ||
		told.Targets[0].Unread[0].Scope != w.keys {
		t.Errorf("got %+v", told)
	}
	if r := w.run("sweep").wantCode(exitUnreadable); strings.Contains(r.err, "Nothing to do") {
		t.Errorf("the incomplete sweep reports nothing to do: %s", r.err)
	}
}

// A scan or a sweep that cannot read the ledger does not report success.
func TestScanWithoutTheLedger(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: look", "1h")
	w.wantAccess(g, true)
	unreadableLedger(w)
	r := w.run("scan").wantCode(exitUnreadable)
	s := w.run("sweep").wantCode(exitUnreadable)
	if strings.Contains(r.err, "No standing access.") || strings.Contains(s.err, "Nothing to do") {
		t.Errorf("output: %s%s", r.err, s.err)
	}
}

// Anyone who can write to a target can write a marker. A forged marker hides no access, whatever owner and end it
// names.
func TestAMarkerHidesNothing(t *testing.T) {
	const id = "3f2b8c1e-0000-8000-8000-000000000000"
	for name, line := range map[string]string{
		"another owner, for ever":     standingKey + " jit:zzz:" + id + ":20260101T000000Z:99991231T235959Z\n",
		"another owner, long over":    standingKey + " jit:ghost:" + id + ":20250101T000000Z:20250101T000100Z\n",
		"our own owner, for ever":     standingKey + " jit:payments:" + id + ":20260101T000000Z:99991231T235959Z\n",
		"our own owner, sshd in 2099": `expiry-time="20990101000000Z" ` + standingKey + " jit:payments:" + id + ":20260101T000000Z:20990101T000000Z\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("authorized_keys", foreignLine+line)
			w.run("scan").wantCode(exitNotDone).
				wantOut("critical", standingKey[:20], "bears the marker of grant "+id, "no such grant")
			code := exitDone // another owner's grants may be in another ledger
			if strings.HasPrefix(name, "our own") {
				code = exitNotDone
			}
			w.run("sweep").wantCode(code).wantOut("report", "critical", id, "no such grant")
			w.run("adopt").wantCode(code).wantErr(id)
			var found struct {
				Standing []standingView `json:"standing"`
			}
			w.run("scan", "--json").wantCode(exitNotDone).decode(&found)
			if len(found.Standing) != 1 || found.Standing[0].ClaimsGrant != id || found.Standing[0].ClaimsOwner == "" {
				t.Errorf("found %+v", found.Standing)
			}
			// A baseline accepts it like any other finding.
			until := w.now.Add(48 * time.Hour).Format(time.RFC3339)
			w.run("scan", "--write-baseline", "accepted.hcl", "--until", until, "--reason",
				"CHG-7: another team's ledger").wantCode(exitDone)
			w.run("scan", "--baseline", "accepted.hcl").wantCode(exitDone)
		})
	}
	// Recorded grants are not findings, nor are lines that sshd ends soon.
	w := newWorld(t)
	g := w.grant("INC-1: look", "1h")
	w.run("scan").wantCode(exitDone).wantErr("No standing access.", "target bastion: 1 scope read")
	w.run("sweep").wantCode(exitDone).wantErr("Nothing to do.")
	text, err := os.ReadFile(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	w.write("authorized_keys", strings.ReplaceAll(string(text), "jit:payments:", "jit:zzz:"))
	w.run("scan").wantCode(exitDone).wantNotOut(g.Principal)
	// A live grant's marker is copied to somebody else's key, and to the same key without an end.
	for _, forged := range []string{standingKey + " " + g.Marker().String(), g.Principal + " " + g.Marker().String()} {
		w.write("authorized_keys", string(text)+forged+"\n")
		w.run("scan").wantCode(exitNotDone).wantOut("critical", "bears the marker of grant "+string(g.ID))
	}
}

// Accepted findings do not count until their acceptance ends. Every acceptance needs an end.
func TestScanBaseline(t *testing.T) {
	w := newWorld(t)
	w.write("authorized_keys", standingKey+" by hand\n")
	until := w.now.Add(48 * time.Hour).Format(time.RFC3339)
	w.run("scan", "--write-baseline", "accepted.hcl", "--until", until, "--reason", "CHG-7: break-glass").
		wantCode(exitDone).wantErr("1 finding accepted until")
	w.run("scan").wantCode(exitNotDone)
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitDone).wantOut("ACCEPTED UNTIL", until[:10])

	first, err := os.ReadFile("accepted.hcl")
	if err != nil {
		t.Fatal(err)
	}
	w.write(
		"authorized_keys",
		standingKey+" by hand\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG another\n",
	)
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitNotDone).wantErr("1 finding of standing access")
	w.run("scan", "--baseline", "accepted.hcl", "--write-baseline", "accepted.hcl", "--until", until, "--reason",
		"CHG-8: it too").wantCode(exitDone).wantErr("1 finding accepted")
	both, err := os.ReadFile("accepted.hcl")
	if err != nil || !strings.HasPrefix(string(both), string(first)) || strings.Count(string(both), "accept {") != 2 {
		t.Errorf("the baseline is now\n%s, %v; it was\n%s", both, err, first)
	}
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitDone)

	w.write("authorized_keys", "")
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitDone).
		wantOut("note: the baseline accepts access that is gone")
	w.write("authorized_keys", standingKey+" by hand\n")
	w.now = w.now.Add(49 * time.Hour)
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitNotDone).wantOut("ended " + until[:10])
	w.run("scan", "--write-baseline", "accepted.hcl", "--until", w.now.Add(time.Hour).Format(time.RFC3339), "--reason",
		"again").wantCode(exitUsage).wantErr("the acceptance of", "ended at", "move its until")
}

func TestScanRefusesABaseline(t *testing.T) {
	w := newWorld(t)
	block := func(until, reason string) string {
		return fmt.Sprintf(
			"accept {\n  target = \"a\"\n  scope = \"b\"\n  principal = \"c\"\n  role = \"d\"\n  until = %q\n  reason = %q\n}\n",
			until,
			reason,
		)
	}
	soon := w.now.Add(time.Hour).Format(time.RFC3339)
	for text, want := range map[string]string{
		"accept {\n  target = \"a\"\n}\n":                           "bad.hcl:1: ",
		block("never", "CHG-1"):                                     `until: "never" is not an RFC 3339 time`,
		block(w.now.AddDate(2, 0, 0).Format(time.RFC3339), "CHG-1"): "is more than a year away",
		block(soon, ""):                                             "the reason is empty",
		block(soon, "CHG-1") + block(soon,
			"CHG-2"): "bad.hcl:9: accept: d for c on b of target \"a\" is accepted twice",
		"ignore {\n}\n": "bad.hcl:1: ",
	} {
		w.write("bad.hcl", text)
		w.run("scan", "--baseline", "bad.hcl").wantCode(exitUsage).wantErr(want)
	}
	w.run("scan", "--baseline", "absent.hcl").wantCode(exitUsage).wantErr(`there is no file "absent.hcl"`)
	w.run("scan", "--write-baseline", "x.hcl").wantCode(exitUsage).wantErr("--until", "needs an end")
	// A scan of no target is not a clean result.
	for _, command := range []string{"scan", "adopt"} {
		w.run(command, "--target", "bastoin").wantCode(exitUnknown).
			wantErr("--target", "no target matches \"bastoin\"; the targets are bastion; did you mean bastion?")
		w.run(command, "--target", "prod*").wantCode(exitUnknown).wantErr("no target matches")
	}
	w.run("scan", "--until", soon).wantCode(exitUsage).wantErr("--write-baseline")
	w.run("scan", "--write-baseline", "x.hcl", "--until", soon).wantCode(exitUsage).wantErr("the reason is empty")
	// No target is read if the baseline cannot be written.
	for until, want := range map[string]string{
		w.now.Add(-time.Hour).Format(time.RFC3339):  "is already past",
		w.now.AddDate(2, 0, 0).Format(time.RFC3339): "is more than a year away",
		"never": "is not an RFC 3339 time",
	} {
		r := w.run("scan", "--write-baseline", "x.hcl", "--until", until, "--reason", "CHG-1").wantCode(exitUsage).
			wantErr(want)
		if exists("x.hcl") || r.out != "" {
			t.Errorf("until %s: file exists %t, standard output: %s", until, exists("x.hcl"), r.out)
		}
	}
	w.write("bad.hcl", "accept {\n")
	if r := w.run("scan", "--write-baseline", "bad.hcl", "--until", soon, "--reason", "CHG-1").wantCode(exitUsage).
		wantErr("bad.hcl:"); r.out != "" {
		t.Errorf("the targets were read: %s", r.out)
	}
}

// A baseline belongs to a repository. Appending keeps its content, its mode and a link to it, also without a final line
// feed.
func TestScanAppendsToABaseline(t *testing.T) {
	w := newWorld(t)
	w.write("authorized_keys", standingKey+" by hand\n")
	until := w.now.Add(48 * time.Hour).Format(time.RFC3339)
	before := fmt.Sprintf(
		"# mine\naccept {\n  target=\"a\"\n  scope=\"b\"\n  principal=\"${1}\"\n  role=\"d\"\n  until=%q\n  reason=\"CHG-1\"\n} # no line feed",
		until,
	)
	w.write("real.hcl", before)
	if err := os.Chmod("real.hcl", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.hcl", "accepted.hcl"); err != nil {
		t.Skip(err)
	}
	w.run("scan", "--write-baseline", "accepted.hcl", "--until", until, "--reason", "CHG-2: ${not} a %{template}").
		wantCode(exitDone)
	after, err := os.ReadFile("real.hcl")
	if err != nil || !strings.HasPrefix(string(after), before+"\naccept {") {
		t.Errorf("the file is now\n%s, %v", after, err)
	}
	for name, want := range map[string]os.FileMode{"accepted.hcl": os.ModeSymlink, "real.hcl": 0o644} {
		if info, err := os.Lstat(name); err != nil || info.Mode()&^0o777 != want&^0o777 ||
			want.IsRegular() && info.Mode() != want {
			t.Errorf("%s has the mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	w.run("scan", "--baseline", "accepted.hcl", "--json").wantCode(exitDone).wantOut("CHG-2: ${not} a %{template}")
}

// The scan names acceptances without a matching finding, also for a missing target or scope.
func TestScanNamesWhatIsAcceptedForNothing(t *testing.T) {
	w := newWorld(t)
	block := func(target, scope string) string {
		return fmt.Sprintf(
			"accept {\n  target = %q\n  scope = %q\n  principal = \"p\"\n  role = \"login\"\n  until = %q\n  reason = \"CHG-1\"\n}\n",
			target,
			scope,
			w.now.Add(time.Hour).Format(time.RFC3339),
		)
	}
	w.write("accepted.hcl", block("bastion", w.keys)+block("bastion", "/gone")+block("typo", "s"))
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitDone).
		wantOut(w.keys+" of target bastion", "/gone of target bastion", "s of target typo")
	w.run("scan", "--baseline", "accepted.hcl", "--target", "bastion").wantCode(exitDone).wantOut("/gone").
		wantNotOut("typo")
	// Acceptances for a scope that could not be read are not reported as gone.
	if err := os.Remove(w.keys); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.keys, 0o700); err != nil {
		t.Fatal(err)
	}
	w.run("scan", "--baseline", "accepted.hcl").wantCode(exitUnreadable).wantNotOut("not there any more")
}
