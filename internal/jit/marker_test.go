package jit

import (
	"strings"
	"testing"
	"time"
)

func TestMarker(t *testing.T) {
	const id, text = "3f2b8c1e-0000-8000-8000-00000000abcd",
		"jit:payments:3f2b8c1e-0000-8000-8000-00000000abcd:20261123T180000Z:20261123T200000Z"
	start := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	m := Marker{Owner: "payments", ID: id, Window: Window{start, start.Add(2 * time.Hour)}}
	if m.String() != text {
		t.Errorf("String = %q, want %q", m, text)
	}
	if got, ok := ParseMarker(text); !ok || got != m {
		t.Errorf("ParseMarker = %+v, %t; want %+v", got, ok, m)
	}
	berlin := Marker{m.Owner, m.ID, Window{start.In(time.FixedZone("", 3600)), m.Window.End}}
	if berlin.String() != text {
		t.Errorf("String in another zone = %q", berlin)
	}
	for _, s := range []string{
		"", "jit", text + ":", text + " ", " " + text, text + "\n", ":" + text, strings.ToUpper(text),
		strings.Replace(text, "jit", "jot", 1),
		strings.Replace(text, "payments", "", 1), strings.Replace(text, "payments", "Payments", 1),
		strings.Replace(text, "payments", "pay ments", 1),
		strings.Replace(text, "abcd", "ABCD", 1), strings.Replace(text, "abcd", "abc", 1),
		strings.Replace(text, "180000Z", "180000", 1),
		strings.Replace(text, "180000Z", "250000Z", 1), strings.Replace(text, "20261123T18", "20261131T18", 1),
		strings.Replace(text, "180000Z", "180000.5Z", 1),
		strings.Replace(text, "180000Z", "180000+0000", 1), strings.Replace(text, ":2026", ":12026", 1),
	} {
		if got, ok := ParseMarker(s); ok {
			t.Errorf("ParseMarker(%q) = %+v, %t", s, got, ok)
		}
	}
}

func FuzzParseMarker(f *testing.F) {
	f.Add("jit:payments:3f2b8c1e-0000-8000-8000-00000000abcd:20261123T180000Z:20261123T200000Z")
	f.Add("jit:a:3f2b8c1e-0000-8000-8000-00000000abcd:00010101T000000Z:99991231T235959Z")
	f.Add("jit:payments:3f2b8c1e:2026:2027")
	f.Fuzz(func(t *testing.T, s string) {
		m, ok := ParseMarker(s)
		if !ok {
			return
		}
		if m.String() != s {
			t.Errorf("%q is read as %+v and written as %q", s, m, m)
		}
		if CheckOwner(m.Owner) != nil || strings.ContainsFunc(s,
			func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'/\`, r) }) {
			t.Errorf("ParseMarker accepts %q", s)
		}
		if _, err := ParseID(string(m.ID)); err != nil {
			t.Error(err)
		}
	})
}
