package status

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// texts are the texts of a page outside of its script and style, as a browser reads them.
func texts(t *testing.T, page []byte) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for z := html.NewTokenizer(bytes.NewReader(page)); z.Next() != html.ErrorToken; {
		switch token := z.Token(); token.Type {
		case html.TextToken:
			all[jittest.Unprintable(token.Data)] = true
		case html.StartTagToken:
			if token.Data == "script" && !bytes.Contains(page, []byte("<script>"+script)) {
				t.Error("the page has another script")
			}
			for _, a := range token.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" {
					t.Errorf("the page has %s=%q", a.Key, a.Val)
				}
			}
		}
	}
	return all
}

// Whatever people wrote, page and report show it as it is, and it does nothing.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{"INC-1: look", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "&lt;b&gt;", "\u202etxt\u200b", "a\nb\tc", "\x1b[2J\x7f", `\u{202e}`, "'", "{{.}}", "日本語 の", "\xff", "-->", "</td></table>"} {
		f.Add(s, "user:alice@example.com")
		f.Add("look", s)
	}
	f.Fuzz(func(t *testing.T, reason, principal string) {
		reason, principal = strings.ToValidUTF8(reason, "\uFFFD"), strings.ToValidUTF8(principal, "\uFFFD")
		if strings.Contains(reason+principal, "\x00") || reason == "" || principal == "" {
			return // a ledger keeps no such text
		}
		l := &jittest.Ledger{}
		g := jit.Grant{ID: "3f2b8c1e-0000-8000-8000-00000000abcd", Owner: "payments", Binding: jit.Binding{Target: "db", Principal: principal, Role: "reader", Scope: "all"},
			Reason: reason, Renewal: 1, TTL: jit.RecordedTTL("1h"), Window: jit.Window{Start: noon.Add(-time.Minute), End: noon.Add(time.Hour)}, Enforcement: jit.Native,
			RequestedAt: noon, GrantedAt: noon, Holder: 1}
		if err := l.Write(t.Context(), []jit.Entry{jit.Rewrite(jit.Grant{}, g, jit.Event{Kind: jit.EventRequested, Grant: g.ID, At: noon, Actor: jit.Actor{Name: principal, Change: reason}})})[0]; err != nil {
			t.Fatal(err)
		}
		r, err := NewReport(t.Context(), l, "payments", Period{From: noon.Add(-time.Hour), To: noon.Add(time.Hour), Wanted: func(jit.Grant) bool { return true }}, Head{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		var report bytes.Buffer
		if err := r.WriteHTML(&report); err != nil {
			t.Fatal(err)
		}
		shown := texts(t, report.Bytes())
		for _, s := range []string{reason, principal} {
			if !shown[s] {
				t.Errorf("the report does not show %q as it is", s)
			}
		}
		if strings.ContainsFunc(report.String(), func(r rune) bool { return jit.Hidden(r) && r != '\n' && r != '\t' }) {
			t.Error("the report hides something")
		}
	})
}
