package status

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// hostileTexts are what a person may write into any field.
var hostileTexts = []string{
	"`code` | a | b ![x](y) <img src=x onerror=alert(1)> </td></table><script>alert(1)</script>",
	"@team [x](javascript:alert(1)) \u202egnp.exe\u200b\u2066x &lt;b&gt; ${x} %{y} {{.}}",
	strings.Repeat("W", 10_000), strings.Repeat("長い", 400), "a\nb\tc\x00\x1b[2J", "'\"><svg/onload=alert(1)>",
	"https://admin:hunter2@example.com/x", "run https://evil.example.com/x", "javascript:alert(1)",
}

// hostile returns a ledger in which every text is hostile, and one of its grants.
func hostile(t testing.TB) (*jittest.Ledger, jit.Grant) {
	l := &jittest.Ledger{}
	var last jit.Grant
	for i, s := range hostileTexts {
		p := jit.Policy{
			Name: "p-" + fmt.Sprint(i), Description: s, Effect: jit.Permit, ReasonPattern: s, Condition: s,
			Match:      jit.Matches{{Targets: []string{s, s}, Principals: []string{s}}},
			Approval:   []jit.Requirement{{Required: 1, From: []string{s, "group:x"}, Unless: s}},
			BreakGlass: &jit.BreakGlass{From: []string{s}, ReasonPattern: s},
		}
		if err := l.Write(t.Context(), []jit.Entry{{Policy: &p}})[0]; err != nil {
			t.Fatal(err)
		}
		for _, end := range []time.Duration{time.Hour, -time.Minute, -2 * time.Hour} {
			g := record(t, l, s, s, s+end.String(), -3*time.Hour, end, func(g *jit.Grant) {
				g.Role, g.Scope, g.PrincipalName, g.Requester, g.Policy = s, s, s, s, p.Name
				g.RevokedBy, g.RevokeReason, g.Remains, g.OpenDrift = s, s, s, jit.DriftMissing
				g.BreakGlass, g.Awaits = end > 0, s
				if end == -time.Minute {
					g.Owner = s
				}
				if end == -2*time.Hour {
					g.EndedAt = g.End
				}
			})
			detail := map[string]string{
				"person":     s,
				"comment":    s,
				"why":        s,
				"rule":       s,
				"error":      s,
				s:            s,
				"evidence":   s,
				"host":       s,
				"repository": s,
				"number":     s,
				"forge":      "github",
				"requester":  s,
				"source":     s,
			}
			for _, kind := range []jit.EventKind{
				jit.EventRequested, jit.EventDecided, jit.EventApproved, jit.EventDenied,
			} {
				write(t, l, nil, jit.Event{
					At: noon.Add(-3 * time.Hour), Kind: kind, Grant: g.ID, Policy: s,
					Actor: jit.Actor{Name: s, Change: s, Source: jit.Source(s)}, Detail: detail,
				})
			}
			if i == 0 && end > 0 {
				last = g
			}
		}
	}
	return l, last
}

// many returns a ledger with so many grants, from five minutes to a month.
func many(t testing.TB, n int) (l *jittest.Ledger, last jit.Grant) {
	l = &jittest.Ledger{}
	for i := range n {
		end := []time.Duration{5 * time.Minute, 3 * time.Hour, 30 * days}[i%3]
		start := -time.Duration(i%50) * time.Minute
		last = record(
			t,
			l,
			fmt.Sprint("db-", i%7),
			fmt.Sprintf("user:%d@example.com", i),
			"INC-1: look",
			start,
			end,
			nil,
		)
	}
	return l, last
}

// Every page fits every screen, light and dark, whatever the ledger holds: nothing is cut off, every text has contrast,
// every table its headings, and no text of people runs or links.
func TestEveryPageInABrowser(t *testing.T) {
	for name, make := range map[string]func(testing.TB) (*jittest.Ledger, jit.Grant){
		"none":  func(testing.TB) (*jittest.Ledger, jit.Grant) { return &jittest.Ledger{}, jit.Grant{} },
		"one":   storied,
		"fifty": func(t testing.TB) (*jittest.Ledger, jit.Grant) { return many(t, 50) },
		// More than a page or a report shows in full.
		"lots":    func(t testing.TB) (*jittest.Ledger, jit.Grant) { return many(t, 5_000) },
		"hostile": hostile,
	} {
		t.Run(name, func(t *testing.T) {
			l, g := make(t)
			seeEveryPage(newBrowser(t), l, g, name)
		})
	}
}

// seeEveryPage looks at each page of a ledger on each screen.
func seeEveryPage(b *browser, l *jittest.Ledger, g jit.Grant, name string) {
	t := b.t
	server := &Server{
		Source: sourceOf(l, atNoon, sweeper.State{}), Metrics: NewMetrics("test"), Log: slog.New(slog.DiscardHandler),
	}
	pages := httptest.NewServer(server.handler())
	t.Cleanup(pages.Close)
	report := filepath.Join(t.TempDir(), "report.html")
	_, text := reportOf(t, l, noon.Add(-days), noon.Add(time.Hour))
	if err := os.WriteFile(report, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for page, url := range map[string]string{
		"page": pages.URL + "/?owner=payments", "grant": pages.URL + "/grants/" + string(g.ID),
		"missing": pages.URL + "/grants/cccccccc", "policies": pages.URL + "/policies", "report": "file://" + report,
	} {
		for _, width := range []int64{1400, 800, 320} {
			if page == "grant" && g.ID == "" || name == "lots" && page == "report" && width < 1400 {
				continue // there is none, or it takes a browser very long
			}
			b.do(chromedp.EmulateViewport(width, 900), chromedp.Navigate(url))
			b.fits(fmt.Sprint(page, " of ", width))
			for _, scheme := range []string{"light", "dark"} {
				if name == "lots" {
					break
				}
				b.do(prefers(scheme))
				for _, fault := range append(value[[]string](b, faults), value[[]string](b, contrast)...) {
					t.Errorf("%s of %d, %s: %s", page, width, scheme, fault)
				}
				if os.Getenv("JIT_TEST_SHOTS") != "" {
					b.shot(fmt.Sprintf("%s-%s-%d-%s", name, page, width, scheme))
				}
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		if !strings.Contains(problem, "404") {
			t.Errorf("the browser says: %s", problem)
		}
	}
}

// faults lists what a page must not have.
const faults = `(() => {
  const all = [], say = (what, e) => all.push(what + ": " + e.outerHTML.slice(0, 120)), seen = {};
  for (const e of document.querySelectorAll(".scroll, .timeline, .timeline ol, dd, dt, td, h1, h2, h3, p, li"))
    if (e.clientWidth && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== "hidden")
      say("cut off", e);
  for (const e of document.querySelectorAll("th")) if (!e.scope) say("no scope", e);
  for (const e of document.querySelectorAll("img, iframe, [style], [onclick], [onerror], [onload]")) say("injected", e);
  for (const e of document.querySelectorAll("a")) {
    if (!e.textContent.trim()) say("a link without text", e);
    if (!/^(#|\/|https:\/\/github\.com\/acme\/access\/)/.test(e.getAttribute("href"))) say("a link out", e);
  }
  for (const e of document.querySelectorAll("input, select"))
    if (!e.labels.length) say("no label", e);
  let level = 0;
  for (const e of document.querySelectorAll("h1, h2, h3")) {
    if (e.tagName[1] - level > 1) say("skips a level", e);
    level = +e.tagName[1];
  }
  if (document.querySelectorAll("h1").length !== 1) all.push("not one h1");
  for (const e of document.querySelectorAll("[id]")) {
    if (seen[e.id]) say("an id twice", e);
    seen[e.id] = true;
  }
  if (/hunter2|\u202e|\u200b/.test(document.documentElement.innerHTML)) all.push("a secret, or a hidden character");
  return all;
})()`

// The beginning of an id leads to the page of its grant, and a link leads back with the filter, without a script.
func TestGrantInABrowser(t *testing.T) {
	l, g := storied(t)
	server := &Server{
		Source: sourceOf(l, atNoon, sweeper.State{}), Metrics: NewMetrics("test"), Log: slog.New(slog.DiscardHandler),
	}
	pages := httptest.NewServer(server.handler())
	t.Cleanup(pages.Close)
	b := newBrowser(t)
	b.do(chromedp.Navigate(pages.URL+"/?owner=payments"), chromedp.WaitVisible("#live"))
	b.do(chromedp.Click("#live ~ .scroll td.who a"), chromedp.WaitVisible("#events"))
	if at := value[string](b, "location.pathname + location.search"); at != "/grants/"+string(g.ID)+"?owner=payments" {
		t.Errorf("the row leads to %s", at)
	}
	value[bool](b, `document.querySelector("nav a").click() || true`)
	b.do(chromedp.WaitVisible("#live"))
	if way := value[string](b, "location.search + ' ' + document.querySelector('#owner').value"); way !=
		"?owner=payments payments" {
		t.Errorf("the way back is %s", way)
	}
	b.do(chromedp.Navigate(pages.URL+"/grants/"+string(g.ID)[:8]), chromedp.WaitVisible("#events"))
	b.clean(pages.URL)
}
