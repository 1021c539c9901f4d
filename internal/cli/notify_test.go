package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
)

// hook is a receiver of notices. It answers with code.
type hook struct {
	url string

	mu    sync.Mutex
	code  int
	types []string
	// about are what the accepted notices of each id were about.
	about map[string]map[string]bool
}

// newHook starts a receiver and adds it to jit.hcl as ops, with more settings of the receiver and further lines.
func (w *world) newHook(more string, lines ...string) *hook {
	w.t.Helper()
	h := &hook{code: http.StatusOK, about: map[string]map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		var e struct {
			ID, Type string
			Data     struct{ Event jit.Event }
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &e) != nil || r.Header.Get("webhook-signature") == "" {
			w.t.Errorf("%s: %v", body, err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if answer.WriteHeader(h.code); h.code == http.StatusOK {
			h.types = append(h.types, strings.TrimPrefix(e.Type, "io.github.jitaccess."))
			if h.about[e.ID] == nil {
				h.about[e.ID] = map[string]bool{}
			}
			h.about[e.ID][e.Data.Event.Hash] = true
		}
	}))
	w.t.Cleanup(server.Close)
	h.url = server.URL + "/hush"
	w.t.Setenv("OPS_HOOK", h.url)
	w.t.Setenv("OPS_SECRET", "0123456789abcdef-hush")
	text, err := os.ReadFile("jit.hcl")
	if err != nil {
		w.t.Fatal(err)
	}
	receiver := fmt.Sprintf("notify = { ops = { url = env(\"OPS_HOOK\"), secret = env(\"OPS_SECRET\")%s } }\n", more)
	w.write("jit.hcl", string(text)+receiver+strings.Join(lines, "\n"))
	return h
}

func (h *hook) answer(code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code = code
}

// got returns the types of the accepted notices.
func (h *hook) got() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.types, " ")
}

func (h *hook) want(t *testing.T, types string) {
	t.Helper()
	if got := h.got(); got != types {
		t.Errorf("accepted %q, want %q", got, types)
	}
}

// A pass sends notices of what has happened and of what ends soon. The next pass sends what could not be delivered.
func TestSweepNotifies(t *testing.T) {
	w := newWorld(t)
	h := w.newHook("")
	w.run("sweep").wantCode(exitDone)
	w.now = w.now.Add(time.Second)
	w.grant("INC-1: a", "1h")
	w.run("sweep", "--dry-run").wantCode(exitDone)
	h.want(t, "")
	w.run("sweep").wantCode(exitDone)
	h.want(t, "granted")
	w.now = w.now.Add(45*time.Minute + time.Second)
	h.answer(http.StatusServiceUnavailable)
	r := w.run("sweep").wantCode(exitDone).
		wantErr("warning: not every notice was delivered; the next sweep tries again: notify ops: the receiver answered 503")
	if strings.Contains(r.err, "hush") {
		t.Errorf("the output has a secret: %s", r.err)
	}
	h.answer(http.StatusOK)
	w.now = w.now.Add(20 * time.Minute)
	w.run("sweep").wantCode(exitDone)
	h.want(t, "granted ends_soon expired")
}

// A notice that is refused for an hour is skipped, with a warning.
func TestSweepGivesUpANotice(t *testing.T) {
	w := newWorld(t)
	h := w.newHook(`, events = ["granted"]`)
	w.run("sweep").wantCode(exitDone)
	w.now = w.now.Add(time.Second)
	w.grant("INC-1: a", "3h")
	h.answer(http.StatusGone)
	w.now = w.now.Add(2 * time.Hour)
	w.run("sweep").wantCode(exitDone).
		wantErr("warning: notify ops: event payments/3 was skipped after 3 tries: the receiver answered 410")
	h.answer(http.StatusOK)
	w.run("sweep").wantCode(exitDone)
	h.want(t, "")
}

// The daemon sends notices within seconds, and announces ends.
func TestWatchNotifies(t *testing.T) {
	w := newWorld(t)
	h := w.newHook(`, events = ["granted", "ends_soon"]`, `notice_before = "20m"`)
	w.run("sweep").wantCode(exitDone)
	w.now = w.now.Add(time.Second)
	w.grant("INC-1: a", "40m")
	w.now = w.now.Add(21 * time.Minute)
	_, errs, stop := w.daemon()
	eventually(t, "both notices are sent", func() bool { return h.got() == "granted ends_soon" })
	if code := stop(); code != exitDone || strings.Contains(errs.String(), "hush") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestNotifyTest(t *testing.T) {
	w := newWorld(t)
	h := w.newHook(`, events = ["drift"], targets = ["nothing"]`)
	w.run("notify", "test", "ops").wantCode(exitDone).wantErr("ops accepted the notice.")
	h.want(t, "test")
	h.answer(http.StatusForbidden)
	r := w.run("notify", "test", "ops").wantCode(exitNotDone).wantErr("error: notify ops: the receiver answered 403")
	if strings.Contains(r.err, "hush") {
		t.Errorf("the output has a secret: %s", r.err)
	}
	w.run("notify", "test", "dev").wantCode(exitUnknown).wantErr(`error: NAME: "dev" is not a receiver`)
	w.run("notify", "test", "opps").wantCode(exitUnknown).wantErr("did you mean ops?")
	w.run("notify", "test").wantCode(exitUsage).wantErr("NAME is missing", "Usage: jit notify test NAME")
	w.run("__complete", "notify", "test", "").wantCode(exitDone).wantOut("ops\n")
	if _, err := os.Stat("ledger.db"); err == nil {
		t.Error("a test notice created a ledger")
	}
	h.answer(http.StatusOK)
	unreadableLedger(w)
	w.run("notify", "test", "ops").wantCode(exitUnreadable)
}

func TestNotifyStatus(t *testing.T) {
	w := newWorld(t)
	w.run("notify", "status").wantCode(exitDone).wantErr("There are no receivers.")
	w.run("notify", "status", "--json").wantCode(exitDone).wantOut("[]")
	h := w.newHook("")
	status := func() notice.Position {
		t.Helper()
		var all []notice.Position
		w.run("notify", "status", "--json").wantCode(exitDone).decode(&all)
		if len(all) != 1 || all[0].Receiver != "ops" || all[0].Format != notice.CloudEvents {
			t.Fatalf("got %+v", all)
		}
		return all[0]
	}
	if p := status(); !p.New {
		t.Errorf("got %+v", p)
	}
	w.run("notify", "status").wantCode(exitDone).wantOut("RECEIVER", "ops", "cloudevents", "new")
	if _, err := os.Stat("ledger.db"); err == nil {
		t.Error("jit notify status created a ledger")
	}
	w.run("sweep").wantCode(exitDone)
	w.now = w.now.Add(time.Second)
	g := w.grant("INC-1: a", "1h") // requested, decided, granted
	h.answer(http.StatusServiceUnavailable)
	w.run("sweep").wantCode(exitDone)
	if p := status(); p.New || p.Seq != 2 || p.Behind != 1 || !p.Since.Equal(g.GrantedAt) || p.Sender != "" {
		t.Errorf("got %+v, want the third event undelivered since %s", p, g.GrantedAt)
	}
	h.answer(http.StatusOK)
	w.run("sweep").wantCode(exitDone)
	if p := status(); p.Seq != 3 || p.Behind != 0 || !p.Since.IsZero() {
		t.Errorf("got %+v", p)
	}
	unreadableLedger(w)
	w.run("notify", "status").wantCode(exitUnreadable)
}
