package ssh

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestSnapshot(t *testing.T) {
	m := grantOf(alice, "login", "x").Marker.String()
	const end = `expiry-time="20261123125959Z"`
	type observed struct{ role, end, damage string }
	const at = "2026-11-23T13:00:00Z"
	ours := map[string]observed{
		end + " " + alice + " " + m:                               {"login", at, ""},
		" " + end + " " + alice + " " + m + " ":                   {"login", at, ""},
		end + "\t" + alice + "\t" + m + "\r":                      {"login", at, ""},
		alice + " " + m:                                           {"login", "", ""},
		`expiry-time="20261123125959" ` + alice + " " + m:         {"login", local(t, "20261123125959"), "its options"},
		`expiry-time="later" ` + alice + " " + m:                  {"login", "", "ignores"},
		"no-pty," + end + " " + alice + " " + m:                   {"login", at, "its options"},
		"sudo," + end + " " + alice + " " + m:                     {"login", "", "ignores"},
		end + ` ssh-ed25519 AAAA= ` + m:                           {"login", at, "cannot be read"},
		`command="a",` + end + " " + alice + " " + m:              {"command:a", at, "its options"},
		`restrict,command="a",` + end + " " + alice + " " + m:     {"command:a", at, ""},
		`restrict,pty,command="a",` + end + " " + alice + " " + m: {"command:a", at, "its options"},
		`environment="A=b",` + end + " " + alice + " " + m:        {"login", at, "its options"},
		`expiry-time="20200101Z",` + end + " " + alice + " " + m:  {"login", "2020-01-01T00:00:01Z", "its options"},
	}
	for file, want := range ours {
		s := parseKeys([]byte(file)).snapshot()
		if len(s.Ours) != 1 || len(s.Standing) != 0 {
			t.Errorf("%q is read as %+v", file, s)
			continue
		}
		o := s.Ours[0]
		if gives := want.damage != "ignores" && want.damage != "cannot be read"; gives != (o.Principal == alice) ||
			gives == (o.Principal == "") || o.Detail != "line 1" {
			t.Errorf("%q is read as of %q at %q", file, o.Principal, o.Detail)
		}
		if o.Role != want.role || jit.FormatTime(o.End) != want.end || (o.Damage == "") != (want.damage == "") ||
			!strings.Contains(o.Damage, want.damage) {
			t.Errorf("%q is read as %q until %q, damage %q; want %+v",
				file, o.Role, jit.FormatTime(o.End), o.Damage, want)
		}
	}
	standing := map[string]jit.Standing{
		alice:                           {Principal: alice, Role: "login", Detail: "line 1"},
		"\n# x\n\t" + alice + " me\r\n": {Principal: alice, Role: "login", Detail: "line 3"},
		`command="x \"y\"" ` + alice:    {Principal: alice, Role: `command:x "y"`, Detail: "line 1"},
		alice + " two " + m:             {Principal: alice, Role: "login", Detail: "line 1"},
		"cert-authority " + alice: {Principal: alice, Role: "login",
			Detail: "line 1, every certificate of this authority"},
		`NO-PTY,From="10.0.0.1" ` + alice:   {Principal: alice, Role: "login", Detail: "line 1"},
		`environment="x",tunnel="0" ` + bob: {Principal: bob, Role: "login", Detail: "line 1"},

		end + " " + alice: {Principal: alice, Role: "login", Detail: "line 1",
			End: utc(2026, 11, 23, 13, 0, 0)},
		`expiry-time="99991231235959Z" ` + alice: {Principal: alice, Role: "login", Detail: "line 1",
			End: utc(9999, 12, 31, 23, 59, 59)},
		`expiry-time="20990230Z" ` + alice: {Principal: alice, Role: "login", Detail: "line 1",
			End: utc(2099, 3, 2, 0, 0, 1)},
		`expiry-time="2099 1 2 3 4 5utc" ` + alice: {Principal: alice, Role: "login", Detail: "line 1",
			End: utc(2099, 1, 2, 3, 4, 6)},
		"ssh-ed25519 \v" + alice[12:30] + "\f\r" + alice[30:]: {Principal: alice, Role: "login", Detail: "line 1"},
		alice + "\v": {Principal: alice, Role: "login", Detail: "line 1"},
		strings.Replace(rsaKey, "ssh-rsa", "rsa-sha2-512", 1): {Principal: rsaKey, Role: "login", Detail: "line 1"},
	}
	for file, want := range standing {
		s := parseKeys([]byte(file)).snapshot()
		if len(s.Ours) != 0 || len(s.Standing) != 1 || s.Standing[0] != want {
			t.Errorf("%q is read as %+v, want standing %+v", file, s, want)
		}
	}
	for _, nothing := range []string{
		"", "#" + alice + " " + m, "# " + alice + " " + m, " # " + alice, "ssh-ed25519", "ssh-ed25519 AAAA",
		"hello world " + alice, `expiry-time="?" ` + alice,
		`command="open ` + alice + " " + m, "sudo " + alice, "\x00" + alice,
		`expiry-time="19700101000000Z" ` + alice, `expiry-time="20991301Z" ` + alice,
		`expiry-time="2099010203+4Z" ` + alice, `expiry-time="209901020304 5 Z" ` + alice,
	} {
		if s := parseKeys([]byte(nothing)).snapshot(); len(s.Ours)+len(s.Standing) != 0 {
			t.Errorf("%q is read as %+v, want nothing", nothing, s)
		}
	}
}

// utc is a moment.
func utc(year, month, day, hour, minute, second int) time.Time {
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
}

// TestAMarkerDoesNotSetTheEnd: the reported end is sshd's, whatever the account has written into the marker or beside
// it.
func TestAMarkerDoesNotSetTheEnd(t *testing.T) {
	forged := "jit:zzz:3f2b8c1e-0000-8000-8000-000000000000:20260101T000000Z:99991231T235959Z"
	for options, end := range map[string]time.Time{
		"":                                   {},
		"restrict,pty ":                      {},
		`expiry-time="20261123125959Z" `:     utc(2026, 11, 23, 13, 0, 0),
		`expiry-time="99991231235959Z" `:     utc(9999, 12, 31, 23, 59, 59),
		`pty,EXPIRY-TIME="20300101000000Z" `: utc(2030, 1, 1, 0, 0, 1),
	} {
		file := options + alice + " " + forged + "\n" + alice + " by hand\n"
		s := parseKeys([]byte(file)).snapshot()
		if len(s.Ours) != 1 || s.Ours[0].Principal != alice || !s.Ours[0].End.Equal(end) {
			t.Errorf("%q is read as %+v, want the end %s", file, s.Ours, end)
		}
		if len(s.Standing) != 1 || s.Standing[0].Principal != alice || !s.Standing[0].End.IsZero() ||
			s.Standing[0].Detail != "line 2" {
			t.Errorf("%q has the standing access %+v, want that of line 2", file, s.Standing)
		}
		now := utc(2026, 11, 23, 12, 0, 0)
		found := jit.Records{Now: now, MaxTTL: 24 * time.Hour}.Standing(s, "/keys")
		if want := map[bool]int{true: 1, false: 2}[!end.IsZero() &&
			end.Before(now.Add(24*time.Hour))]; len(found) != want {
			t.Errorf("%q: standing access %+v, want %d", file, found, want)
		}
		if text, err := json.Marshal(s.Ours); err != nil {
			t.Errorf("%q cannot be encoded: %v, %s", file, err, text)
		}
	}
}

// local is the end that a time without a zone has here.
func local(t *testing.T, last string) string {
	t.Helper()
	at, err := time.ParseInLocation("20060102150405", last, time.Local)
	if err != nil {
		t.Fatal(err)
	}
	return jit.FormatTime(at.Add(time.Second))
}
