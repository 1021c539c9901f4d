package status

import (
	"context"
	"fmt"
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

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// browser is a headless Chromium that notes what goes wrong and where it asks.
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
	if err := chromedp.Listen(ctx, b.note); err != nil { // it starts the browser, whose life a timeout would end
		t.Fatal(err)
	}
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	b.Context = bounded
	b.do(command(network.Enable, network.EnableParams{}), command(runtime.Enable, cdp.Empty{}))
	return b
}

// note keeps what an event tells of trouble and of requests.
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

// command is a command of the protocol as a step.
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

// get runs a step that has a result.
func get[T any](b *browser, step chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b, step)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// shot keeps a picture where somebody can look at it.
func (b *browser) shot(name string) {
	b.t.Helper()
	picture := get(b, chromedp.FullScreenshot(100))
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

// until waits until an expression is true, also across a page that is just being left.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if so, err := chromedp.Run(b, chromedp.Evaluate[bool](expression)); err == nil && so {
			return
		}
	}
	b.t.Fatalf("waited in vain for %s", expression)
}

// clean fails the test on what went wrong, and on requests to anywhere else.
func (b *browser) clean(origin string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Errorf("the browser says: %s", p)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, origin) {
			b.t.Errorf("the page asks %s", url)
		}
	}
}

// today is the page at the time of this machine, which a browser shares.
func today(t *testing.T) (url string) {
	l := &jittest.Ledger{}
	now := time.Now().UTC()
	since := now.Sub(noon)
	record(t, l, "prod", "user:alice@example.com", "INC-1: fail over", since-time.Hour, since+90*time.Minute, nil)
	record(t, l, "prod", "user:bob@example.com", "INC-2: <img src=x onerror=alert(1)>", since-time.Hour, since+2*time.Minute, nil)
	record(t, l, "bastion", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG", strings.Repeat("reason ", 60), since-time.Minute, since+50*time.Hour, nil)
	_, state := day(t)
	page := httptest.NewServer(Page(sourceOf(l, time.Now, state)))
	t.Cleanup(page.Close)
	return page.URL + "/"
}

func TestPageInABrowser(t *testing.T) {
	url := today(t)
	b := newBrowser(t)
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate(url), chromedp.WaitVisible("#live"))
	b.shot("light")

	// The countdown goes on.
	first := value[string](b, `document.querySelectorAll("[data-until]")[0].textContent`)
	b.until(fmt.Sprintf(`document.querySelectorAll("[data-until]")[0].textContent !== %q`, first))
	if text := value[string](b, `document.querySelectorAll("[data-until]")[0].textContent`); !strings.HasSuffix(text, " s left") || !strings.HasPrefix(text, "1 min ") {
		t.Errorf("the countdown says %q after %q", text, first)
	}
	if !value[bool](b, `document.querySelectorAll("[data-until]")[0].classList.contains("soon")`) {
		t.Error("what ends in two minutes does not look so")
	}

	// The filter, by hand.
	b.do(chromedp.SendKeys("#principal", "alice"), chromedp.Submit("#principal"))
	b.until(`location.search.includes("principal=alice") && document.readyState === "complete"`)
	if text := value[string](b, "document.body.innerText"); !strings.Contains(text, "user:alice@example.com") || strings.Contains(text, "user:bob@example.com") {
		t.Errorf("filtered: %s", text)
	}

	// Light and dark, and the contrast of both: at least 4.5 for text (https://www.w3.org/TR/WCAG22/#contrast-minimum).
	b.do(chromedp.Navigate(url))
	for _, scheme := range []string{"light", "dark"} {
		b.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}), chromedp.WaitVisible("#live"))
		for _, low := range value[[]string](b, contrast) {
			t.Errorf("%s: %s", scheme, low)
		}
	}
	b.shot("dark")

	// A narrow screen: nothing but the timeline scrolls sideways.
	b.do(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile), chromedp.Navigate(url), chromedp.WaitVisible("#live"))
	if wide, narrow := value[int](b, "document.documentElement.scrollWidth"), value[int](b, "document.documentElement.clientWidth"); wide > narrow {
		t.Errorf("the page is %d wide on a screen of %d", wide, narrow)
	}
	b.shot("narrow")
	b.clean(url)
}

// contrast lists the texts whose contrast with what is behind them is too low.
const contrast = `(() => {
  const rgb = c => c.match(/[\d.]+/g).map(Number), lum = c => rgb(c).slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if ((rgb(c)[3] ?? 1) === 1) return c; } return "rgb(255, 255, 255)"; };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("svg") || !e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [lum(getComputedStyle(e).color), lum(behind(e))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.push(e.tagName + " " + e.textContent.trim().slice(0, 40) + ": " + ratio.toFixed(2));
  }
  return low;
})()`

// Without scripts everything can be read, and the filter works.
func TestPageInABrowserWithoutScripts(t *testing.T) {
	url := today(t)
	b := newBrowser(t)
	b.do(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.Navigate(url+"?principal=alice"))
	text := get(b, chromedp.Text("body"))
	for _, want := range []string{"user:alice@example.com", "left", "INC-1: fail over", "Timeline"} {
		if !strings.Contains(text, want) {
			t.Errorf("without scripts the page does not tell %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "user:bob@example.com") {
		t.Error("without scripts the filter does nothing")
	}
	b.clean(url)
}

// The report is one file that asks nobody.
func TestReportInABrowser(t *testing.T) {
	l, _ := day(t)
	r, err := NewReport(t.Context(), l, "payments", Period{From: noon.Add(-48 * time.Hour), To: noon.Add(time.Second), Wanted: func(jit.Grant) bool { return true }}, Head{Ledger: "l", Hash: "h", Seq: 1, Intact: true}, noon)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.html")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteHTML(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate("file://"+path), chromedp.WaitVisible("#grants"))
	if colour := value[string](b, "getComputedStyle(document.querySelector('section')).borderRadius"); colour == "0px" {
		t.Error("the style of the report is not in force")
	}
	b.shot("report")
	b.do(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile))
	if wide, narrow := value[int](b, "document.documentElement.scrollWidth"), value[int](b, "document.documentElement.clientWidth"); wide > narrow {
		t.Errorf("the report is %d wide on a screen of %d", wide, narrow)
	}

	// Printed, it still says what it can be checked against.
	b.do(chromedp.EmulateViewport(700, 900), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
	if text := value[string](b, "document.body.innerText"); !strings.Contains(text, "The record is intact. It ended with event 1") {
		t.Errorf("printed:\n%s", text)
	}
	if !value[bool](b, "document.querySelector('#grants ~ .scroll thead').getBoundingClientRect().height > 10") {
		t.Error("printed, the columns have no headings")
	}
	for _, cut := range value[[]string](b, "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent.trim().slice(0, 60))") {
		t.Errorf("too wide for paper: %s", cut)
	}
	b.shot("print")
	b.clean("file://" + path)
}

// The policy of the page is in force: what somebody manages to write into it does not run.
func TestPolicyInABrowser(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", contentPolicy)
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html data-now=x><script>%s</script><script>document.title = 'broken'</script><p onclick=1>x</p>", script)
	}))
	defer page.Close()
	b := newBrowser(t)
	b.do(chromedp.Navigate(page.URL))
	if title := value[string](b, "document.title"); title == "broken" {
		t.Error("a script that is not ours runs")
	}
}
