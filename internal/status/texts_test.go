package status

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// texts returns the texts of a page outside of its script and style, as a browser parses them.
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

// Page and report show texts of people literally, and none of them runs as code.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{
		"INC-1: look", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "&lt;b&gt;", "\u202etxt\u200b",
		"a\nb\tc", "\x1b[2J\x7f", `\u{202e}`, "'", "{{.}}", "日本語 の", "\xff", "-->", "</td></table>",
	} {
		f.Add(s, "user:alice@example.com")
		f.Add("look", s)
	}
	f.Fuzz(func(t *testing.T, reason, principal string) {
		reason, principal = strings.ToValidUTF8(reason, "\uFFFD"), strings.ToValidUTF8(principal, "\uFFFD")
		if strings.Contains(reason+principal, "\x00") || reason == "" || principal == "" {
			return // a ledger cannot store this text
		}
		l := &jittest.Ledger{}
		g := record(t, l, "db", principal, reason, -time.Minute, time.Hour, nil)
		by := jit.Actor{Name: principal, Change: reason}
		write(t, l, nil, jit.Event{Kind: jit.EventRequested, Grant: g.ID, At: noon, Actor: by})
		_, report := reportOf(t, l, noon.Add(-time.Hour), noon.Add(time.Hour))
		page, _, _ := pageOf(t, l, sweeper.State{}, "/grants/"+string(g.ID))
		for name, page := range map[string]string{"report": report, "page of the grant": page} {
			shown := texts(t, []byte(page))
			for _, s := range []string{reason, principal} {
				if url := strings.Contains(s, "://"); !shown[s] && !url {
					t.Errorf("the %s does not show %q literally", name, s)
				}
			}
			if strings.ContainsFunc(page, func(r rune) bool { return jit.Hidden(r) && r != '\n' && r != '\t' }) {
				t.Errorf("the %s has hidden characters", name)
			}
		}
	})
}
