package notice

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestNoticesReportWhatHappens(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Events, w.config.Targets = []string{"granted", "drift", "changed"}, []string{"prod*"}
		s := w.sender("a")
		w.granted(1, nil) // before the first receiver
		time.Sleep(time.Second)
		w.flush(s)
		g := w.granted(2, nil)
		w.granted(3, func(g *jit.Grant, _ *jit.Event) { g.Target = "staging" })
		w.granted(4, func(_ *jit.Grant, e *jit.Event) { e.Kind = jit.EventExtended })
		w.granted(5, func(g *jit.Grant, _ *jit.Event) { g.Owner = "payments" })
		w.granted(6, func(_ *jit.Grant, e *jit.Event) {
			e.Kind, e.Detail = jit.EventDrift, map[string]string{"drift": "the end was moved"}
		})
		w.granted(7, func(_ *jit.Grant, e *jit.Event) { e.Kind = jit.EventChanged })
		// No grant explains the finding, so only the event says where it is.
		stray := jit.Event{Kind: jit.EventDrift, Grant: "4711",
			Detail: map[string]string{"target": "prod-2", "principal": "user:mallory@example.com"}}
		elsewhere := jit.Event{Kind: jit.EventDrift, Grant: "4712", Detail: map[string]string{"target": "staging"}}
		if err := errors.Join(
			w.ledger.Write(w.Context(), []jit.Entry{{Events: []jit.Event{stray, elsewhere}, Owner: "jit"}})...); err != nil {
			w.Fatal(err)
		}
		w.flush(s)
		w.flush(s)
		w.hook.wantSeqs(2, 5, 6, 7)
		e := w.hook.got[0]
		if e.ID != "the-ledger/"+e.Data.Event.UID() || e.Source != "urn:uuid:the-ledger" || e.Type != "io.github.jitaccess.granted" ||
			e.Subject != string(g.ID) || e.Time != g.Start.Format(time.RFC3339Nano) ||
			e.Data.Event.Name != "carol" || e.Data.Event.Change != "commit abc" {
			w.Errorf("got %+v", e)
		}
		if f := e.Data.Grant; f == nil || f.Principal != "user:alice@example.com" || f.Reason != "INC-2: look" ||
			f.State != jit.StateActive || !f.ExpiresAt.Equal(g.End) {
			w.Errorf("got the grant %+v", f)
		}
		if len(w.troubles()) > 0 {
			w.Errorf("problems %q", w.troubles())
		}
	})
}

// A notice shows a grant as all surfaces do. ended_at is when the access really ended, although the clean-up was later.
// A lost reason is in words.
func TestNoticesShowTheViewOfAGrant(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flush(w.sender("a"))
		g := w.granted(1, func(g *jit.Grant, e *jit.Event) {
			g.Enforcement, g.Reason, g.EndedAt, e.Kind = jit.Native, "", g.End.Add(time.Hour), jit.EventExpired
		})
		time.Sleep(3 * time.Hour)
		w.flush(w.sender("a"))
		w.hook.wantSeqs(1)
		f := w.hook.got[0].Data.Grant
		if f.State != jit.StateExpired || !f.EndedAt.Equal(g.End) || f.Outstanding || !f.ReasonLost ||
			!strings.HasPrefix(
				f.Reason,
				"unknown: ",
			) || !strings.HasPrefix(f.Summary, "user:alice@example.com: viewer") {
			w.Errorf("got the grant %+v", f)
		}
	})
}

// The first event of an empty ledger is not lost.
func TestNoticesBeginWithTheFirstEvent(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender("a")
		w.flush(s)
		w.granted(1, nil)
		w.flush(s)
		w.hook.wantSeqs(1)
	})
}

// The receiver is down for hours. Tries become rarer, and everything is delivered within minutes after its return.
func TestNoticesWaitForTheReceiver(t *testing.T) {
	inWorld(t, func(w *world) {
		var dials atomic.Int64
		s := w.sender("a")
		reach := s.transport
		s.transport = roundTripper(
			func(r *http.Request) (*http.Response, error) { dials.Add(1); return reach.RoundTrip(r) })
		stop := w.start(s)
		w.hook.setDown(true)
		w.grantedMany(1, 20)
		time.Sleep(3 * time.Hour)
		// Pauses of 2½ to 5 minutes, with three tries after each.
		if n := dials.Load(); n < 3*36 || n > 3*90 {
			w.Errorf("%d tries in three hours", n)
		}
		w.hook.setDown(false)
		time.Sleep(lastPause + time.Minute)
		w.hook.wantSeqs(upTo(20)...)
		w.granted(21, nil)
		time.Sleep(pollEvery)
		w.hook.wantSeqs(upTo(21)...)
		stop()
		if all := w.troubles(); len(all) == 0 || all[0] != "failed: event jit/1: no answer: dial: connection refused" {
			w.Errorf("problems %q", all)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func slowly(int, http.ResponseWriter) int {
	time.Sleep(time.Hour)
	return 500
}

// The sender waits for the end of temporary errors, however long they last. Nothing is delivered twice, and the order
// is kept.
func TestNoticesOutlastTrouble(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter) int
		says   string
	}{
		{"500", always(500), "the receiver answered 500"},
		{"501", always(501), "the receiver answered 501"},
		{"503", always(503), "the receiver answered 503"},
		{"408", always(408), "the receiver answered 408"},
		{"429", always(429), "the receiver answered 429"},
		{"cut off", always(cut), "no answer: the connection was closed"},
		{"slow", slowly, "no answer: it took more than 15s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				stop := w.start(w.sender("a"))
				w.hook.set(c.answer)
				w.grantedMany(1, 3)
				time.Sleep(30 * time.Minute)
				w.hook.wantSeqs()
				w.hook.set(nil)
				time.Sleep(lastPause + time.Minute)
				w.hook.wantSeqs(1, 2, 3)
				stop()
				time.Sleep(time.Hour) // slow requests end
				if all := w.troubles(); len(all) == 0 || !strings.Contains(all[0], c.says) {
					w.Errorf("problems %q, want %q", all, c.says)
				}
				for _, told := range w.troubles() {
					if strings.Contains(told, "hush") || strings.HasPrefix(told, string(PassedOver)) {
						w.Errorf("the error was %s", told)
					}
				}
			})
		})
	}
}

// The sender keeps the pause that a receiver asks for.
func TestNoticesRetryAfter(t *testing.T) {
	date := time.Date(2000, 1, 1, 0, 3, 20, 0, time.UTC)
	for _, c := range []struct {
		name, header string
		least, most  time.Duration
	}{
		{"a moment", "3", 3 * time.Second, 3 * time.Second},
		{"minutes", "200", 200 * time.Second, 202 * time.Second},
		{"a date", date.Format(http.TimeFormat), 195 * time.Second, 202 * time.Second},
		{"for ever", "99999999999", time.Second, lastPause},
		{"nonsense", "soon", 0, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				stop := w.start(w.sender("a"))
				defer stop()
				w.hook.set(func(n int, r http.ResponseWriter) int {
					if n == 1 {
						r.Header().Set("Retry-After", c.header)
						return http.StatusTooManyRequests
					}
					return http.StatusOK
				})
				w.granted(1, nil)
				time.Sleep(10 * time.Minute)
				w.hook.wantSeqs(1)
				asked := w.hook.requests()
				if pause := asked[1].Sub(asked[0]); pause < c.least || pause > c.most {
					w.Errorf("the next request came after %s, want %s to %s", pause, c.least, c.most)
				}
			})
		})
	}
}

// A refused notice is tried for minutes, then skipped.
func TestNoticesThatAreRefused(t *testing.T) {
	for _, code := range []int{301, 400, 401, 404, 410} {
		inWorld(t, func(w *world) {
			stop := w.start(w.sender("a"))
			w.hook.set(func(n int, _ http.ResponseWriter) int {
				if n <= daemonPatience.tries {
					return code
				}
				return http.StatusOK
			})
			w.grantedMany(1, 3)
			time.Sleep(time.Hour)
			w.hook.wantSeqs(2, 3)
			asked := w.hook.requests()
			if tried := asked[daemonPatience.tries-1].Sub(asked[0]); tried < 3*time.Minute || tried > 10*time.Minute {
				w.Errorf("%d: the notice was tried for %s", code, tried)
			}
			passed := 0
			for _, told := range w.troubles() {
				if strings.HasPrefix(told, "passed_over: event jit/1 was skipped after 9 tries: the receiver answered ") {
					passed++
				}
			}
			if passed != 1 {
				w.Errorf("%d: problems %q", code, w.troubles())
			}
			stop()
		})
	}
}

// Passes are repeated often, so a pass does not skip a notice younger than an hour.
func TestFlushOfWhatIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender("a")
		w.flush(s)
		w.grantedMany(1, 2)
		w.hook.set(always(http.StatusGone))
		if err := s.Flush(w.Context()); !errors.Is(err, ErrNotAccepted) ||
			!strings.HasPrefix(err.Error(), "notify ops: the receiver answered 410") {
			w.Errorf("%v", err)
		}
		if n := len(w.hook.requests()); n != passPatience.tries {
			w.Errorf("%d tries in one pass, want %d", n, passPatience.tries)
		}
		time.Sleep(passPatience.age)
		w.hook.set(func(n int, _ http.ResponseWriter) int {
			if n <= passPatience.tries {
				return http.StatusGone
			}
			return http.StatusOK
		})
		w.flush(s)
		w.hook.wantSeqs(2)
		if all := w.troubles(); !slices.Contains(
			all,
			"passed_over: event jit/1 was skipped after 3 tries: the receiver answered 410",
		) {
			w.Errorf("problems %q", all)
		}
	})
}

// A pass does not wait for an unreachable receiver. The next pass delivers.
func TestFlushOfTrouble(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender("a")
		w.flush(s)
		w.grantedMany(1, 3)
		w.hook.set(func(n int, _ http.ResponseWriter) int {
			if n == 2 || n >= 4 {
				return 500
			}
			return 200
		})
		began := time.Now()
		if err := s.Flush(w.Context()); !errors.Is(err, ErrNotAccepted) || time.Since(began) > time.Minute {
			w.Errorf("%v after %s", err, time.Since(began))
		}
		w.hook.wantSeqs(1, 2)
		w.hook.set(nil)
		w.flush(w.sender("b"))
		w.hook.wantSeqs(1, 2, 3)
	})
}

// A redirect is not followed: the notice is for the receiver in the settings.
func TestNoticesAreNotRedirected(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hook.set(func(_ int, r http.ResponseWriter) int {
			r.Header().Set("Location", "http://elsewhere.example.com/")
			return http.StatusTemporaryRedirect
		})
		s := w.sender("a")
		err := s.Test(w.Context(), s.Receivers[0], jit.Actor{})
		if f := (*failure)(nil); !errors.As(err, &f) || !f.refused() || len(w.hook.requests()) != 1 {
			w.Errorf("%v after %d requests", err, len(w.hook.requests()))
		}
	})
}

func TestSenderTest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Events = []string{"drift"}
		s := w.sender("a")
		for range 2 {
			if err := s.Test(w.Context(), s.Receivers[0], jit.Actor{Name: "carol", Source: jit.FromCLI}); err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		got := w.hook.got
		if len(got) != 2 || got[0].Type != "io.github.jitaccess.test" || got[0].Data.Event.Name != "carol" ||
			got[0].ID == got[1].ID {
			w.Errorf("got %+v", got)
		}
	})
}
