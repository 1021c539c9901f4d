package review

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"

	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// ordinary is what a reviewer sees on an ordinary day: two grants, and one access without an end.
func ordinary() Report {
	of := func(s string) Text { return Text{Text: s} }
	return Report{
		Outcome: Decide,
		Grants: []Grant{
			{Address: "jit_grant.alice_failover", Action: Create, Target: of("payments-db"),
				Principal: of("alice@example.com"),
				Role:      of("payments_read"), Scope: of("cluster"), Length: of("2h"),
				Reason:      of("INC-4211: fail over the primary"),
				Enforcement: "native", SessionTail: "0s", Renewal: 1, Judged: true, Outcome: Decide,
				Verdict: jit.Verdict{Outcome: jit.NeedsApproval, Policy: "payments"},
				Awaits:  "1 of: carol@example.com, erin@example.com"},
			{Address: "jit_grant.bob_logs", Action: Create, Target: of("prod-cluster"),
				Principal: of("bob@example.com"),
				Role:      of("ClusterRole/view"), Scope: of("namespace/payments"), Length: of("30m"),
				Reason:      of("INC-4211: read the logs"),
				Enforcement: "sweeper", SessionTail: "0s", Renewal: 1, Judged: true,
				Verdict: jit.Verdict{Outcome: jit.Permitted, Policy: "read-logs"}},
		},
		Access: []Access{{Address: "aws_iam_user_policy_attachment.eve", Type: "aws_iam_user_policy_attachment",
			Action: Create,
			Gives:  true, Outcome: Decide, Access: catalog.Access{Class: catalog.Standing, Principal: of("eve"),
				Role: of("arn:aws:iam::aws:policy/AdministratorAccess"), Why: "the type has no end of its own"}}},
		Commands: []string{"jit approve --plan plan.json"},
		Others:   4,
	}
}

// githubStyle sets a comment as GitHub does in a window of 1280 pixels.
const githubStyle = `<!doctype html><meta charset="utf-8"><style>
body { margin: 16px; width: 806px; font: 14px/1.5 "DejaVu Sans", Arial, sans-serif; color: #1f2328 }
#comment { border: 1px solid #d1d9e0; border-radius: 6px; padding: 16px; overflow-wrap: break-word }
h3 { font-size: 1.25em; margin: 0 0 16px; line-height: 1.25 }
p, table, pre, ul, details { margin: 0 0 16px }
ul { padding-left: 2em }
code { font: 85% ui-monospace, "Liberation Mono",
	monospace; padding: .2em .4em; background: #818b981f; border-radius: 6px;
  white-space: break-spaces }
pre { background: #f6f8fa; padding: 16px; border-radius: 6px; overflow: auto }
pre code { background: none; padding: 0; white-space: pre }
table { display: block; width: max-content; max-width: 100%; overflow: auto; border-collapse: collapse }
th, td { padding: 6px 13px; border: 1px solid #d1d9e0 }
tr:nth-child(2n) { background: #f6f8fa }
</style><div id="comment">`

// A reviewer decides at one look: an ordinary comment fits on a screen of 1280 by 800, where it is 838 wide, without
// unfolding, and no table scrolls.
func TestCommentInABrowser(t *testing.T) {
	o := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(testenv.Chromium(t)), chromedp.NoSandbox)
	ctx, stopAllocator := chromedp.NewExecAllocator(t.Context(), o...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	page := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))
	for name, r := range map[string]Report{"ordinary": ordinary(), "everything": everything(asIs)} {
		b := bytes.NewBufferString(githubStyle)
		if err := page.Convert([]byte(markdownOf(t, r)), b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+".html")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(838, 672), chromedp.Navigate("file://"+file)); err != nil {
			t.Fatal(err)
		}
		if dir := os.Getenv("JIT_TEST_SHOTS"); dir != "" {
			picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil || os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600) != nil {
				t.Errorf("%s: no picture: %v", name, err)
			}
		}
		height, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelector("#comment").offsetHeight`))
		if err != nil || name == "ordinary" && height > 700 {
			t.Errorf("%s: the comment is %d pixels high (%v)", name, height, err)
		}
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool](
			`[...document.querySelectorAll("table")].some(e => e.scrollWidth > e.clientWidth)`))
		if err != nil || wide {
			t.Errorf("%s: a table scrolls: %t, %v", name, wide, err)
		}
	}
}
