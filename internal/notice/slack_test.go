package notice

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func slackNotice(kind jit.EventKind, change func(*jit.Grant, *jit.Event)) slackMessage {
	start := time.Date(2026, time.November, 23, 9, 0, 0, 0, time.UTC)
	g := jit.Grant{
		Binding: jit.Binding{Target: "payments-db", Principal: "alice@example.com", Role: "payments_read",
			Scope: "cluster"},
		Reason: "INC-4211: fail over",
		Window: jit.Window{Start: start, End: start.Add(2 * time.Hour)},
	}
	e := jit.Event{Kind: kind, Grant: "4711", Policy: "prod-oncall",
		Actor: jit.Actor{Name: "carol", Change: "commit abc", Source: jit.FromTerraform}, Detail: map[string]string{}}
	if change != nil {
		change(&g, &e)
	}
	v := g.View(start.Add(time.Hour), "the-ledger")
	return notice{event: e, grant: &v}.slack()
}

// A notice about a decision names the deciders, the requester and the command.
func TestSlackAboutDecisions(t *testing.T) {
	for _, tt := range []struct {
		kind jit.EventKind
		says []string
	}{
		{jit.EventApprovalWanted, []string{
			"*Approval wanted*", "Needs: `1 of: lea, leo`", "Approve with: `jit approve 4711`", "Requester: `bob`",
		}},
		{jit.EventBreakGlass, []string{
			"*Glass broken", "Skipped: `1 of: lea, leo`", "Sign off with: `jit approve 4711`", "Requester: `bob`",
		}},
		{jit.EventApproved, []string{"*Request approved*", "Person: `lea`", "Requester: `bob`", "Comment: `fine &lt;me&gt;`"}},
		{jit.EventDenied, []string{"*Request denied*", "Person: `lea`"}},
		{jit.EventSignedOff, []string{"signed off*", "Person: `lea`"}},
		{jit.EventLapsed, []string{
			"*Request lapsed*", "Waited for: `1 of: lea, leo`", "Lapsed because: `it had to begin by noon`", "Requester: `bob`",
		}},
	} {
		m := slackNotice(tt.kind, func(_ *jit.Grant, e *jit.Event) {
			e.Detail = map[string]string{
				"awaits": "1 of: lea, leo", "skipped": "1 of: lea, leo", "command": "jit approve 4711", "requester": "bob",
				"person": "lea", "comment": "fine <me>", "why": "it had to begin by noon", "signature": "-----BEGIN",
			}
		})
		for _, want := range tt.says {
			if !strings.Contains(m.Text, want) {
				t.Errorf("%s: %s\ndoes not say %s", tt.kind, m.Text, want)
			}
		}
		if strings.Contains(m.Text, "BEGIN") {
			t.Errorf("%s: the signature is shown", tt.kind)
		}
		r, err := NewReceiver("ops", Config{URL: "https://example.com", Format: "slack"})
		if err != nil || !r.Wants(tt.kind) {
			t.Errorf("a receiver of every topic does not want %s, %v", tt.kind, err)
		}
	}
}

func TestSlackNamesWhoAndWhy(t *testing.T) {
	m := slackNotice(jit.EventGranted, nil)
	want := strings.Join([]string{"*Access granted*", "Who: `alice@example.com`", "What: `payments_read`",
		"Where: `payments-db` `cluster`", "Why: `INC-4211: fail over`", "From: `2026-11-23T09:00:00Z`",
		"Until: `2026-11-23T11:00:00Z`", "Policy: `prod-oncall`", "By: `carol`", "Change: `commit abc`",
		"Grant: `4711`"}, "\n")
	if m.Text != want || len(m.Blocks) != 1 || m.Blocks[0].Text.Text != want || m.Blocks[0].Type != "section" ||
		m.Blocks[0].Text.Type != "mrkdwn" {
		t.Errorf("got %+v, want\n%s", m, want)
	}
	m = slackNotice(jit.EventRevoked, func(g *jit.Grant, e *jit.Event) {
		g.RevokedAt, g.EndedAt = g.Start.Add(time.Minute), g.Start.Add(2*time.Minute)
		e.Source, e.Detail["reason"], e.Detail["by"] = jit.FromSweeper, "SEC-12: laptop stolen", "dave"
	})
	for _, want := range []string{
		"*Access revoked*", "Until: `2026-11-23T11:00:00Z`", "Ended: `2026-11-23T09:02:00Z`",
		"Revoked because: `SEC-12: laptop stolen`", "Revoked by: `dave`",
	} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("%s\ndoes not say %s", m.Text, want)
		}
	}
	if strings.Contains(m.Text, "carol") {
		t.Errorf("the notice names the sweeper's user:\n%s", m.Text)
	}
	stray := notice{
		event: jit.Event{
			Kind: jit.EventDrift,
			Detail: map[string]string{"target": "prod", "scope": "all", "principal": "mallory",
				"role": "root", "drift": "nobody knows it", "done": "removed"},
		},
	}.slack()
	for _, want := range []string{
		"*Access drifted*", "Who: `mallory`", "What: `root`", "Where: `prod` `all`", "Found: `nobody knows it`",
		"Done: `removed`",
	} {
		if !strings.Contains(stray.Text, want) {
			t.Errorf("%s\ndoes not say %s", stray.Text, want)
		}
	}
}

// Every selectable kind has its own headline.
func TestSlackHeadlines(t *testing.T) {
	all := append([]jit.EventKind{eventTest}, kinds...)
	for _, k := range slices.Concat(append(slices.Collect(maps.Values(topics)), all)...) {
		if headlines[k] == "" {
			t.Errorf("%s has no headline", k)
		}
	}
}

// A reason or a name is shown literally. It mentions nobody, links nowhere and adds no line.
func TestSlackDefuses(t *testing.T) {
	for written, want := range map[string]string{
		"<!channel> & <@U123>":         "`&lt;!channel&gt; &amp; &lt;@U123&gt;`",
		"<https://evil.example|here>":  "`&lt;https://evil.example|here&gt;`",
		"*bold* _it_ ~no~ @here #ops":  "`*bold* _it_ ~no~ @here #ops`",
		"out` of ```code <!here> `":    `'out\u{60} of \u{60}\u{60}\u{60}code &lt;!here&gt; \u{60}'`,
		"one\nWho: `root`\r\n\ttwo":    `'one\u{a}Who: \u{60}root\u{60}\u{d}\u{a}\u{9}two'`,
		"turned \u202earound\x00\x1b[": `'turned \u{202e}around\u{0}\u{1b}['`,
		"naïve 日本":                     "`naïve 日本`",
	} {
		want = strings.ReplaceAll(want, "'", "`")
		m := slackNotice(jit.EventGranted, func(g *jit.Grant, _ *jit.Event) { g.Reason = written })
		if !strings.Contains(m.Text, "\nWhy: "+want+"\n") {
			t.Errorf("%q: got\n%s\nwant %s", written, m.Text, want)
		}
	}
}

// With any text, no block exceeds Slack's limit, and blocks begin and end with whole lines.
func TestSlackIsNotTooLong(t *testing.T) {
	for _, text := range []string{strings.Repeat("<", 5000), strings.Repeat("日本", 5000), strings.Repeat("a b ", 5000)} {
		m := slackNotice(jit.EventRevokeFailed, func(g *jit.Grant, e *jit.Event) {
			g.Principal, g.Role, g.Scope, g.Reason = text, text, text, text
			e.Detail["error"], e.Policy, e.Change, e.Name = text, text, text, text
		})
		if len(m.Blocks) > 50 || utf8.RuneCountInString(m.Text) > 16000 {
			t.Errorf("%d blocks, %d characters", len(m.Blocks), utf8.RuneCountInString(m.Text))
		}
		var all []string
		for _, b := range m.Blocks {
			if n := len(b.Text.Text); n > maxBlock || n == 0 || !utf8.ValidString(b.Text.Text) {
				t.Errorf("a block of %d bytes", n)
			}
			all = append(all, b.Text.Text)
		}
		if strings.Join(all, "\n") != m.Text || strings.Count(m.Text, "`")%2 != 0 || strings.Count(m.Text, "…`") != 8 {
			t.Errorf("blocks and text differ, or a value is not closed:\n%.300s", m.Text)
		}
	}
}

// A Slack webhook receives JSON without a signature, because its URL is the secret.
func TestSlackDelivery(t *testing.T) {
	inWorld(t, func(w *world) {
		var body slackMessage
		w.config = Config{URL: "https://hooks.slack.com/services/T000/hush", Format: "slack"}
		s := w.sender("a")
		s.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("webhook-signature") != "" || r.Header.Get("webhook-id") != "" ||
				r.Header.Get("Content-Type") != "application/json" ||
				r.URL.Path != "/services/T000/hush" {
				w.Errorf("%s %v", r.URL.Path, r.Header)
			}
			content, err := io.ReadAll(r.Body)
			if err != nil || json.Unmarshal(content, &body) != nil {
				w.Errorf("%s: %v", content, err)
			}
			answer := httptest.NewRecorder()
			_, _ = answer.WriteString("ok")
			return answer.Result(), nil
		})
		w.flush(s)
		w.granted(1, nil)
		w.flush(s)
		if !strings.HasPrefix(body.Text, "*Access granted*\nWho: `user:alice@example.com`\n") || len(body.Blocks) != 1 {
			w.Errorf("got %+v", body)
		}
	})
}
