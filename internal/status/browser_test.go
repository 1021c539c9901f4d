package status

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// browser is a headless Chromium that records problems and requests.
type browser struct {
	context.Context
	t        *testing.T
	mu       sync.Mutex
	problems []string
	asked    []string
}

func newBrowser(t *testing.T) *browser {
	o := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(testenv.Chromium(t)), chromedp.NoSandbox)
	allocator, stopAllocator := chromedp.NewExecAllocator(t.Context(), o...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	b := &browser{Context: ctx, t: t}
	if err := chromedp.Listen(ctx, b.note); err != nil { // starts the browser; a timeout would end it
		t.Fatal(err)
	}
	bounded, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b.Context = bounded
	b.do(command(network.Enable, network.EnableParams{}), command(runtime.Enable, cdp.Empty{}))
	return b
}

// note records the problems and requests that an event reports.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			b.problems = append(b.problems, fmt.Sprint(e.Args))
		}
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *network.EventLoadingFailed:
		b.problems = append(b.problems, e.ErrorText+" "+string(e.BlockedReason))
	}
}

// command returns a protocol command as a step.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// get runs a step with a result.
func get[T any](b *browser, step chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b, step)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// shot saves a screenshot in the folder JIT_TEST_SHOTS; of a very long page its beginning.
func (b *browser) shot(name string) {
	b.t.Helper()
	step := chromedp.FullScreenshot(100)
	if value[int](b, "document.documentElement.scrollHeight") > 16_000 {
		step = chromedp.CaptureScreenshot()
	}
	picture := get(b, step)
	dir := os.Getenv("JIT_TEST_SHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil || len(picture) < 1000 {
		b.t.Errorf("a picture of %d bytes, %v", len(picture), err)
	}
}

// value evaluates an expression in the page.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](expression))
}

// until waits until an expression is true, also across a navigation.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if so, err := chromedp.Run(b, chromedp.Evaluate[bool](expression)); err == nil && so {
			return
		}
	}
	b.t.Fatalf("this did not become true: %s", expression)
}

// fits fails the test if the page is wider than the screen.
func (b *browser) fits(what string) {
	b.t.Helper()
	const root = "document.documentElement"
	if wide, screen := value[int](b, root+".scrollWidth"), value[int](b, root+".clientWidth"); wide > screen {
		b.t.Errorf("%s is %d wide on a screen of %d", what, wide, screen)
	}
}

// prefers sets the colour scheme that the user prefers.
func prefers(scheme string) chromedp.Action[chromedp.Void] {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// clean fails the test if something went wrong, or if the page asked another host.
func (b *browser) clean(origin string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Errorf("the browser says: %s", p)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, origin) {
			b.t.Errorf("the page requests %s", url)
		}
	}
}

// today returns the page at the time of this machine, which the browser uses as well.
func today(t *testing.T) (url string) {
	l := &jittest.Ledger{}
	now := time.Now().UTC()
	since := now.Sub(noon)
	record(t, l, "prod", "user:alice@example.com", "INC-1: fail over", since-time.Hour, since+90*time.Minute, nil)
	const attack = "INC-2: <img src=x onerror=alert(1)>"
	record(t, l, "prod", "user:bob@example.com", attack, since-time.Hour, since+2*time.Minute, nil)
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG"
	record(t, l, "bastion", key, strings.Repeat("reason ", 60), since-time.Minute, since+50*time.Hour, nil)
	_, state := day(t)
	server := &Server{Source: sourceOf(l, time.Now, state), Log: slog.New(slog.DiscardHandler)}
	page := httptest.NewServer(http.HandlerFunc(server.page))
	t.Cleanup(page.Close)
	return page.URL + "/"
}

func TestPageInABrowser(t *testing.T) {
	url := today(t)
	b := newBrowser(t)
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate(url), chromedp.WaitVisible("#live"))
	b.shot("light")

	// The countdown runs.
	const countdown = `document.querySelectorAll("[data-until]")[0]`
	first := value[string](b, countdown+".textContent")
	b.until(fmt.Sprintf("%s.textContent !== %q", countdown, first))
	second := value[string](b, countdown+".textContent")
	if !strings.HasSuffix(second, " s left") || !strings.HasPrefix(second, "1 min ") {
		t.Errorf("the countdown says %q after %q", second, first)
	}
	if !value[bool](b, countdown+`.classList.contains("soon")`) {
		t.Error("a grant that ends in two minutes is not highlighted")
	}

	// The filter works.
	b.do(chromedp.SendKeys("#principal", "alice"), chromedp.Submit("#principal"))
	b.until(`location.search.includes("principal=alice") && document.readyState === "complete"`)
	text := value[string](b, "document.body.innerText")
	checkText(t, "filtered", text, []string{"user:alice@example.com"}, []string{"user:bob@example.com"})

	// Light and dark, and the contrast of both: at least 4.5 for text (https://www.w3.org/TR/WCAG22/#contrast-minimum).
	b.do(chromedp.Navigate(url))
	for _, scheme := range []string{"light", "dark"} {
		b.do(prefers(scheme), chromedp.WaitVisible("#live"))
		for _, low := range value[[]string](b, contrast) {
			t.Errorf("%s: %s", scheme, low)
		}
	}
	b.shot("dark")

	// On every screen, nothing is cut off or scrolls sideways.
	for name, width := range map[string]int64{"wide": 1200, "middle": 800, "narrow": 360} {
		b.do(chromedp.EmulateViewport(width, 800), chromedp.Navigate(url))
		b.do(chromedp.WaitVisible("#live"))
		b.fits("the page")
		for _, cut := range value[[]string](b, cutOff) {
			t.Errorf("%s: cut off: %s", name, cut)
		}
		b.shot(name)
	}
	b.clean(url)
}

// cutOff lists the elements that are wider than their space.
const cutOff = `[...document.querySelectorAll(".scroll, .timeline, .timeline ol")]
	.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent.trim().slice(0, 60))`

// contrast lists the texts whose contrast with their background is too low.
const contrast = `(() => {
  const rgb = c => c.match(/[\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const lum = c => rgb(c).slice(0, 3).map(linear).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if ((rgb(c)[3] ?? 1) === 1) return c;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (e.closest("svg") || !e.checkVisibility() || !text) continue;
    const [a, b] = [lum(getComputedStyle(e).color), lum(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.push(e.tagName + " " + e.textContent.trim().slice(0, 40) + ": " + ratio.toFixed(2));
  }
  return low;
})()`

// Without scripts, everything can be read and the filter works.
func TestPageInABrowserWithoutScripts(t *testing.T) {
	url := today(t)
	b := newBrowser(t)
	noScripts := emulation.SetScriptExecutionDisabledParams{Value: true}
	b.do(command(emulation.SetScriptExecutionDisabled, noScripts), chromedp.Navigate(url+"?principal=alice"))
	text := get(b, chromedp.Text("body"))
	checkText(t, "without scripts", text,
		[]string{"user:alice@example.com", "left", "INC-1: fail over", "Timeline"}, []string{"user:bob@example.com"})
	b.clean(url)
}

// The report is a single file without requests.
func TestReportInABrowser(t *testing.T) {
	l, _ := day(t)
	_, report := reportOf(t, l, noon.Add(-48*time.Hour), noon.Add(time.Second))
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate("file://"+path), chromedp.WaitVisible("#grants"))
	if colour := value[string](b, "getComputedStyle(document.querySelector('section')).borderRadius"); colour == "0px" {
		t.Error("the report's style is not applied")
	}
	b.shot("report")
	b.do(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile))
	b.fits("the report")

	// The printed report still has the root to check it against.
	paper := emulation.SetEmulatedMediaParams{Media: "print"}
	b.do(chromedp.EmulateViewport(700, 900), command(emulation.SetEmulatedMedia, paper))
	text := value[string](b, "document.body.innerText")
	checkText(t, "printed", text, []string{"The record is intact. It had 9 events and the root the-root"}, nil)
	if !value[bool](b, "document.querySelector('#grants ~ .scroll thead').getBoundingClientRect().height > 10") {
		t.Error("printed, the columns have no headings")
	}
	for _, cut := range value[[]string](b, cutOff) {
		t.Errorf("too wide for paper: %s", cut)
	}
	b.shot("print")
	b.clean("file://" + path)
}

// The page's Content-Security-Policy is effective: an injected script does not run.
func TestPolicyInABrowser(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", contentPolicy)
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html data-now=x><script>%s</script>"+
			"<script>document.title = 'broken'</script><p onclick=1>x</p>", script)
	}))
	defer page.Close()
	b := newBrowser(t)
	b.do(chromedp.Navigate(page.URL))
	if title := value[string](b, "document.title"); title == "broken" {
		t.Error("a script that is not ours runs")
	}
}
