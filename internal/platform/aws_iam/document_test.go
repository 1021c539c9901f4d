package awsiam

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var (
	start  = time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	window = jit.Window{Start: start, End: start.Add(2 * time.Hour)}
)

// sources are documents with everything that a policy may have.
var sources = map[string]string{
	"one statement":      `{"Version":"2012-10-17","Statement":{"Sid":"One","Effect":"Allow","Action":"s3:*","Resource":"*"}}`,
	"a deny":             `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":["s3:Put*","iam:*"],"Resource":"*"}]}`,
	"all but":            `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*"],"NotResource":["arn:aws:s3:::secret/*"]}]}`,
	"a deny of all but":  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"s3:Get*","Resource":"*"}]}`,
	"conditions":         `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:username":["alice","bob"]},"Bool":{"aws:MultiFactorAuthPresent":true}}}]}`,
	"an earlier end":     `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-23T17:00:00Z"}}}]}`,
	"several ends":       `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"DateLessThan":{"AWS:currenttime":["2026-11-23T16:30:00Z","2026-11-23T17:00:00Z"]}}}]}`,
	"a later start":      `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"2026-11-23T17:00:00Z","aws:TokenIssueTime":"2026-11-23T15:00:00Z"}}}]}`,
	"a deny with an end": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:PutObject","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-23T17:00:00Z"}}}]}`,
	"two dates at once":  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-23T17:00:00Z"},"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T16:30:00Z"}}}]}`,
}

// standingDocument is the principal's standing access.
const standingDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","iam:GetUser"],"Resource":"*"}]}`

// Inside its window a copy decides every request as its source does. Outside it has no effect: no statement, not even a
// Deny, acts before the start or from the end on.
func TestACopyDecidesAsItsSourceInsideOfTheWindowOnly(t *testing.T) {
	for name, source := range sources {
		copied, err := timed(source, copyOfP(), window)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, when := range []time.Time{
			start.Add(-time.Hour), start.Add(-time.Second), start, start.Add(45 * time.Minute),
			start.Add(90 * time.Minute),
			window.End.Add(-time.Second), window.End, window.End.Add(time.Second), window.End.AddDate(1, 0, 0),
		} {
			for _, action := range []string{"s3:GetObject", "s3:PutObject", "iam:GetUser", "sts:GetCallerIdentity"} {
				for _, resource := range []string{"arn:aws:s3:::open/k", "arn:aws:s3:::secret/k"} {
					for _, who := range []string{"alice", "mallory"} {
						r := at(action, resource, when)
						r.context["aws:username"], r.context["aws:multifactorauthpresent"] = who, "true"
						r.context["aws:tokenissuetime"] = "2026-11-23T15:30:00Z"
						beside := []string{standingDocument}
						if window.Contains(when) {
							beside = append(beside, source)
						}
						if got, want := decides(t, []string{standingDocument, copied}, r), decides(t, beside,
							r); got != want {
							t.Errorf("%s: %s on %s as %s at %s: %t, want %t\n%s", name, action, resource, who,
								jit.FormatTime(when), got, want, copied)
						}
					}
				}
			}
		}
	}
}

// A policy of ours reads back exactly.
func TestReadBack(t *testing.T) {
	for name, source := range sources {
		for _, resources := range [][]string{nil, {"arn:aws:s3:::a", "arn:aws:s3:::a/*"}} {
			copied, err := timed(source, copyOfP(resources...), window)
			if err != nil {
				t.Errorf("%s on %v: %v", name, resources, err)
				continue
			}
			got := read(copied)
			if got.role != roleText("arn:aws:iam::aws:policy/P", resources) || !got.window.Equal(window) ||
				!got.end.Equal(window.End) || len(got.damage) != 0 {
				t.Errorf("%s on %v: read %+v of %s", name, resources, got, copied)
			}
		}
	}
	got := read(assumption("arn:aws:iam::123456789012:role/r", dates(window)))
	if got.role != "arn:aws:iam::123456789012:role/r" || !got.window.Equal(window) || !got.end.Equal(window.End) ||
		len(got.damage) != 0 {
		t.Errorf("read %+v of an assumption", got)
	}
}

// Every alteration of a policy of ours is detected.
func TestReadShowsWhatWasAltered(t *testing.T) {
	copied, err := timed(sources["a deny"], copyOfP(), window)
	if err != nil {
		t.Fatal(err)
	}
	end := jit.FormatTime(window.End)
	last := strings.LastIndex(copied, end)
	first := strings.Index(copied, `"Effect":"Allow"`)
	for name, altered := range map[string]string{
		"nothing":          "",
		"no JSON":          "{",
		"no statement":     `{"Version":"2012-10-17"}`,
		"another document": sources["one statement"],
		"one date moved":   copied[:last] + "2027-11-23T18:00:00Z" + copied[last+len(end):],
		"allow for deny":   strings.Replace(copied, `"Action":["s3:Put*","iam:*"]`, `"Action":["s3:Put*"]`, 1),
		"a statement more": strings.Replace(copied, `"Statement":[`,
			`"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},`, 1),
		"the marker turned":    strings.Replace(copied, `"Effect":"Deny"`, `"Effect":"Allow"`, 1),
		"the first allow gone": copied[:first] + `"Effect":"Deny"` + copied[first+len(`"Effect":"Allow"`):],
		"another action":       strings.Replace(copied, `"Action":"*"`, `"Action":"s3:*"`, 1),
		"assuming another role": strings.Replace(assumption("arn:aws:iam::123456789012:role/r", dates(window)), "}]",
			`},{"Effect":"Allow","Action":"*","Resource":"*"}]`, 1),
	} {
		if got := read(altered); len(got.damage) == 0 {
			t.Errorf("%s: read %+v, which shows no damage", name, got)
		}
	}
	if got := read(strings.ReplaceAll(copied, `"DateLessThan":{"aws:CurrentTime":"`+end+`"}`,
		`"DateLessThan":{}`)); !got.end.IsZero() {
		t.Errorf("without its dates it ends at %s", got.end)
	}
}

// Values of one condition key are alternatives: the latest ends the access and the earliest begins it. If one cannot be
// read, both are unknown.
func TestAlternativesEndWithTheLatest(t *testing.T) {
	const soon, late = `"2026-11-23T18:00:00Z"`, `"2026-11-23T19:00:00Z"`
	first, last := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC), time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC)
	for values, want := range map[string]struct{ start, end time.Time }{
		soon:                               {first, first},
		"[" + soon + "]":                   {first, first},
		"[" + soon + "," + late + "]":      {first, last},
		"[" + late + "," + soon + "]":      {first, last},
		"[" + soon + `,"4102444800"]`:      {},
		"[" + soon + `,4102444800]`:        {},
		`["4102444800",` + soon + "]":      {},
		"[" + soon + `,"2099-01-01"]`:      {},
		"[" + soon + `,"2099-01-01T00Z"]`:  {},
		"[" + soon + `,"2099"]`:            {},
		"[" + soon + `,"${aws:username}"]`: {},
		`4102444800`:                       {},
		`[]`:                               {},
	} {
		var s statement
		if err := decode([]byte(`{"Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":`+values+
			`},"DateLessThan":{"aws:currenttime":`+values+`}}}`), &s); err != nil {
			t.Fatal(err)
		}
		if start, end := bound(s, notBefore), bound(s, before); !start.Equal(want.start) || !end.Equal(want.end) {
			t.Errorf("%s: from %s until %s, want %s and %s", values, start, end, want.start, want.end)
		}
		if end := ends(s); !end.Equal(want.end) {
			t.Errorf("%s: access of others ends at %s, want %s", values, end, want.end)
		}
	}
	copied, err := timed(sources["one statement"], copyOfP(), window)
	if err != nil {
		t.Fatal(err)
	}
	end := jit.FormatTime(window.End)
	for _, document := range []string{copied, assumption("arn:aws:iam::123456789012:role/r", dates(window))} {
		longer := strings.ReplaceAll(document, `"DateLessThan":{"aws:CurrentTime":"`+end+`"}`,
			`"DateLessThan":{"aws:CurrentTime":["`+end+`","4102444800"]}`)
		if got := read(longer); longer == document || !got.end.IsZero() || len(got.damage) == 0 {
			t.Errorf("%s ends at %s, damage %q", longer, got.end, got.damage)
		}
	}
}

// A policy whose conditions leave no room for the dates is refused.
func TestNoRoomForTheDates(t *testing.T) {
	_, err := timed(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-23T17:00:00Z"},"DateLessThanIfExists":{"aws:CurrentTime":"2026-11-23T17:00:00Z"}}}}`, copyOfP(), window)
	var told *jit.Error
	if !errors.As(err, &told) || told.Attribute != "role" || told.Hint == "" {
		t.Errorf("%v, want an error about the role", err)
	}
}

func TestNarrow(t *testing.T) {
	const b, all = "arn:aws:s3:::b", "arn:aws:s3:::b/*"
	for _, tc := range []struct {
		name, statement string
		to              []string
		want            []string // resources; nil when nothing is left
		refused         bool
	}{
		{"everything", `"Action":"s3:*","Resource":"*"`, []string{b, all}, []string{b, all}, false},
		{"a wider pattern", `"Action":"s3:*","Resource":"arn:aws:s3:::*"`, []string{all}, []string{all}, false},
		{"a narrower one", `"Action":"s3:*","Resource":["arn:aws:s3:::b/logs/*","arn:aws:s3:::c"]`, []string{all},
			[]string{"arn:aws:s3:::b/logs/*"}, false},
		{"nothing in common", `"Action":"sqs:*","Resource":"arn:aws:sqs:*:*:q"`, []string{all}, nil, false},
		{"in part", `"Action":"s3:*","Resource":"arn:aws:s3:::*/public"`, []string{all}, nil, true},
		{"a variable within", `"Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*"`, []string{all},
			[]string{"arn:aws:s3:::b/${aws:username}/*"}, false},
		{"a variable around", `"Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}/*"`, []string{all}, nil, true},
		{"all but another", `"Action":"s3:*","NotResource":"arn:aws:s3:::c/*"`, []string{all}, []string{all}, false},
		{"all but that", `"Action":"s3:*","NotResource":"arn:aws:s3:::*"`, []string{all}, nil, false},
		{"all but part of it", `"Action":"s3:*","NotResource":"arn:aws:s3:::b/secret/*"`, []string{all}, nil, true},
		{"one character", `"Action":"s3:*","Resource":"arn:aws:s3:::?"`, []string{b, "arn:aws:s3:::bb"}, []string{b},
			false},
	} {
		var s statement
		if err := json.Unmarshal([]byte(`{"Effect":"Allow",`+tc.statement+`}`), &s); err != nil {
			t.Fatal(err)
		}
		err := narrow(s, tc.to)
		if (err != nil) != tc.refused {
			t.Errorf("%s: %v, refused should be %t", tc.name, err, tc.refused)
		}
		got, _ := s["Resource"].([]string)
		if !tc.refused && !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		if s["NotResource"] != nil && !tc.refused {
			t.Errorf("%s: NotResource is left", tc.name)
		}
	}
	if _, err := timed(`{"Statement":{"Effect":"Allow","Action":"sqs:*","Resource":"arn:aws:sqs:*:*:q"}}`,
		copyOfP(all), window); err == nil {
		t.Error("a copy that allows nothing was made")
	}
}

// copyOfP is access to a copy of a policy, on resources if there are any.
func copyOfP(resources ...string) access {
	return access{role: arn{kind: policy, text: "arn:aws:iam::aws:policy/P"}, resources: resources}
}

// A narrowed copy gives nothing beyond its source and nothing outside the resources.
func FuzzNarrow(f *testing.F) {
	for _, seed := range [][3]string{{"*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k"},
		{"arn:aws:s3:::b*", "arn:aws:s3:::?/k", "arn:aws:s3:::b/k"}, {"a*b?c", "a**c", "aXbYc"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, pattern, wanted, resource string) {
		if len(pattern)+len(wanted) > 40 || strings.Contains(pattern+wanted+resource, "$") ||
			strings.ContainsFunc(pattern+wanted+resource, func(r rune) bool { return r < ' ' || r > '~' }) {
			return
		}
		s := statement{"Effect": "Allow", "Action": "*", "Resource": pattern}
		if narrow(s, []string{wanted}) != nil {
			return
		}
		kept, _ := s["Resource"].([]string)
		got := anyMatch(kept, resource, false)
		if want := wildcard(pattern, resource) && wildcard(wanted, resource); got != want {
			t.Errorf("%q narrowed to %q is %q, which matches %q: %t, want %t", pattern, wanted, kept, resource, got,
				want)
		}
	})
}

func TestNames(t *testing.T) {
	for _, owner := range []string{"jit", "payments", "a-b-c", "0", "x-1234567890-1234567890-12345678"} {
		m := jit.Marker{Owner: owner, ID: jit.NewID(owner, jit.Binding{}, "why", 1), Window: window}
		if got, ok := markerOf(policyName(m)); !ok || got.ID != m.ID || got.Owner != owner {
			t.Errorf("%s reads as %+v, %t", policyName(m), got, ok)
		}
		if n := len(policyName(m)); n > 128 {
			t.Errorf("%s has %d characters", policyName(m), n)
		}
		if got, ok := markerOfSid(sidOf(m)); !ok || got.ID != m.ID || got.Owner != owner {
			t.Errorf("%s reads as %+v, %t", sidOf(m), got, ok)
		}
		if strings.ContainsFunc(sidOf(m),
			func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) {
			t.Errorf("the Sid %s is not of letters and digits", sidOf(m))
		}
	}
	for _, name := range []string{"", "jit-", "jit-is-a-colleague", "jit-12345678-1234-8234-8234-123456789012",
		"jit-12345678-1234-8234-8234-123456789012-", "jit-12345678-1234-8234-8234-123456789012-UPPER"} {
		if m, ok := markerOf(name); ok {
			t.Errorf("%q counts as ours: %+v", name, m)
		}
	}
	for _, sid := range []string{"", "Jit", "JitNobody", "Theirs", fmt.Sprintf("Jit%032dX", 0)} {
		if m, ok := markerOfSid(sid); ok {
			t.Errorf("%q counts as ours: %+v", sid, m)
		}
	}
}

func TestSizeLeavesOutWhiteSpace(t *testing.T) {
	if got := size("{ \"a\":\n\t\"é b\" }"); got != 10 {
		t.Errorf("size is %d, want 10", got)
	}
}
