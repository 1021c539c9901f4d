package notice

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// mortal is the lease store of a process that can be killed. A killed process writes nothing.
type mortal struct {
	jit.Leases
	dead atomic.Bool
}

var errKilled = errors.New("killed")

func (m *mortal) Acquire(ctx context.Context, name, holder string, now, until time.Time) (int64, bool, error) {
	if m.dead.Load() {
		return 0, false, errKilled
	}
	return m.Leases.Acquire(ctx, name, holder, now, until)
}

func (m *mortal) Renew(ctx context.Context, name, holder string, position int64, until time.Time) error {
	if m.dead.Load() {
		return errKilled
	}
	return m.Leases.Renew(ctx, name, holder, position, until)
}

func (m *mortal) Release(ctx context.Context, name, holder string, position int64) error {
	if m.dead.Load() {
		return errKilled
	}
	return m.Leases.Release(ctx, name, holder, position)
}

// The sender dies after the delivery and before it saves its position. The notice is sent again with the same id.
func TestNoticesRepeatWithTheSameID(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender("a")
		w.flush(s)
		w.granted(1, nil)
		w.granted(2, nil)
		m := &mortal{Leases: s.Leases}
		s.Leases = m
		w.hook.set(func(int, http.ResponseWriter) int { m.dead.Store(true); return 200 })
		if err := s.Flush(w.Context()); !errors.Is(err, errKilled) {
			w.Errorf("saving the position of a killed process: %v", err)
		}
		w.hook.set(nil)
		next := w.sender("b")
		w.flush(next)
		w.hook.wantSeqs(1) // the dead sender's lease has not ended
		time.Sleep(lease)
		w.flush(next)
		w.hook.wantSeqs(1, 1, 2)
		if w.hook.got[0].ID != w.hook.got[1].ID || w.hook.got[1].ID == w.hook.got[2].ID {
			w.Errorf("ids %+v", w.hook.got)
		}
	})
}

// One of two senders delivers from a slow ledger to a receiver that is slow, fails and refuses. When the sender is
// killed, the other takes over at the end of the lease.
func TestNoticesOfTwoSenders(t *testing.T) {
	inWorld(t, func(w *world) {
		var asked [2]atomic.Int64
		var senders [2]*Sender
		var deaths [2]*mortal
		for i, holder := range []string{"a", "b"} {
			s := w.sender(holder)
			reach := s.transport
			s.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				asked[i].Add(1)
				return reach.RoundTrip(r)
			})
			deaths[i] = &mortal{Leases: s.Leases}
			s.Leases = deaths[i]
			senders[i] = s
		}
		var slow atomic.Bool
		w.ledger.Call = func(what string) error {
			if slow.Load() && what == "read" {
				time.Sleep(39 * time.Second)
			}
			return nil
		}
		stopA := w.start(senders[0])
		stopB := w.start(senders[1])
		w.hook.set(func(n int, _ http.ResponseWriter) int {
			time.Sleep(answerTimeout - time.Second)
			switch n / 3 % 4 {
			case 0:
				return 500
			case 1:
				return 404
			}
			return 200
		})
		w.grantedMany(1, 50)
		slow.Store(true)
		time.Sleep(12 * time.Hour)
		slow.Store(false)
		time.Sleep(time.Minute)
		w.hook.wantSeqs(upTo(50)...)
		if asked[0].Load() < 50 || asked[1].Load() != 0 {
			w.Errorf("the first sender asked %d times and the second %d times", asked[0].Load(), asked[1].Load())
		}
		w.hook.set(nil)
		deaths[0].dead.Store(true)
		stopA()
		w.granted(51, nil)
		time.Sleep(lease - renewEvery - 2*time.Second)
		w.hook.wantSeqs(upTo(50)...)
		time.Sleep(renewEvery + acquireEvery + 2*pollEvery)
		w.hook.wantSeqs(upTo(51)...)
		stopB()
	})
}

// One of two senders has a clock that is an hour off. Both use the clock of the ledger's server, also in signatures.
// When the sender with the wrong clock dies, the other does not wait longer than usual.
func TestNoticesByAWrongClock(t *testing.T) {
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		inWorld(t, func(w *world) {
			w.ledger.Remote = time.Now
			s, next := w.sender("wrong"), w.sender("right")
			var asked atomic.Int64
			reach := s.transport
			s.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				asked.Add(1)
				return reach.RoundTrip(r)
			})
			var offset atomic.Int64
			offset.Store(int64(wrong))
			s.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
			m := &mortal{Leases: s.Leases}
			s.Leases = m
			stop := w.start(s)
			stopNext := w.start(next)
			w.grantedMany(1, 20)
			time.Sleep(time.Minute)
			w.hook.wantSeqs(upTo(20)...)
			if asked.Load() != 20 {
				w.Errorf("off by %s: the first sender asked %d times, want it to deliver all 20", wrong, asked.Load())
			}
			offset.Store(int64(2 * wrong)) // the clock is stepped while the sender is idle
			time.Sleep(time.Minute)
			w.grantedMany(21, 40)
			time.Sleep(time.Minute)
			w.hook.wantSeqs(upTo(40)...)
			if asked.Load() != 40 {
				w.Errorf("off by %s: the first sender asked %d times, want it to deliver all 40", wrong, asked.Load())
			}
			m.dead.Store(true)
			stop()
			w.granted(41, nil)
			time.Sleep(lease + acquireEvery + 2*pollEvery)
			w.hook.wantSeqs(upTo(41)...)
			stopNext()
		})
	}
}

// A new receiver gets no past events, even if the sender could not read their end at first.
func TestANewReceiverIsNotToldOfThePast(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grantedMany(1, 20)
		time.Sleep(time.Minute)
		s := w.sender("a")
		leases := &afterTake{Leases: s.Leases, then: func(broken bool) {
			w.ledger.Call = nil
			if broken {
				w.ledger.Call = func(what string) error {
					if what == "read" {
						return errors.New("the ledger is unreachable")
					}
					return nil
				}
			}
		}}
		s.Leases = leases
		if err := s.Flush(w.Context()); err == nil {
			w.Error("the unreadable ledger is not reported")
		}
		leases.then(false)
		w.flush(w.sender("a"))
		w.granted(21, nil)
		w.flush(w.sender("a"))
		w.hook.wantSeqs(21)
	})
}

// afterTake calls a function after a lease has been acquired.
type afterTake struct {
	jit.Leases
	then func(bool)
}

func (a *afterTake) Acquire(ctx context.Context, name, holder string, now, until time.Time) (int64, bool, error) {
	position, ok, err := a.Leases.Acquire(ctx, name, holder, now, until)
	a.then(true)
	return position, ok, err
}

// A stopping sender releases its receivers at once.
func TestSenderLetsGo(t *testing.T) {
	inWorld(t, func(w *world) {
		stop := w.start(w.sender("a"))
		w.granted(1, nil)
		w.flush(w.sender("b")) // the other sender delivers
		w.hook.wantSeqs()
		stop()
		w.flush(w.sender("b"))
		w.hook.wantSeqs(1)
	})
}

// None of a thousand events is lost, although the receiver fails in every way and senders are killed in turn.
func TestNothingIsLost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hook.set(func(int, http.ResponseWriter) int {
			switch rand.IntN(20) {
			case 0:
				return 500
			case 1:
				return cut
			case 2:
				return cutAfter
			case 3:
				time.Sleep(20 * time.Second)
				return 200 // too late, but the notice is accepted
			case 4:
				return 404
			}
			return 200
		})
		const many = 1000
		w.flush(w.sender("first"))
		go func() {
			for n := range many {
				w.granted(n, nil)
				time.Sleep(rand.N(10 * time.Second))
			}
		}()
		for n := range 40 {
			s := w.sender(string(rune('A' + n)))
			m := &mortal{Leases: s.Leases}
			s.Leases = m
			stop := w.start(s)
			time.Sleep(rand.N(5 * time.Minute))
			m.dead.Store(true)
			stop()
		}
		stop := w.start(w.sender("last"))
		for range 24 * 60 {
			if slices.Contains(w.hook.seqs(), many) {
				break
			}
			time.Sleep(time.Minute)
		}
		stop()
		time.Sleep(time.Minute) // slow requests end
		var first []int64
		ids := map[string]int64{}
		for _, e := range w.hook.got {
			seq := e.Data.Event.Seq
			if had, repeat := ids[e.ID]; repeat && had != seq {
				w.Errorf("events %[2]d and %[3]d have the same id %[1]s", e.ID, had, seq)
			} else if !repeat {
				first = append(first, seq)
			}
			ids[e.ID] = seq
		}
		if !slices.Equal(first, upTo(many)) {
			w.Errorf("%d events were accepted, want all in order: %v", len(first), first)
		}
		if repeats := len(w.hook.got) - len(first); repeats == 0 || repeats > many/2 {
			w.Errorf("%d repeats", repeats)
		}
	})
}

// The ledger is unreachable for a while. That is reported, and everything is delivered afterwards.
func TestNoticesWaitForTheLedger(t *testing.T) {
	inWorld(t, func(w *world) {
		gone := errors.New("the ledger is unreachable")
		var down atomic.Bool
		w.ledger.Call = func(string) error {
			if down.Load() {
				return gone
			}
			return nil
		}
		stop := w.start(w.sender("a"))
		w.granted(1, nil)
		down.Store(true)
		time.Sleep(20 * time.Minute)
		down.Store(false)
		w.granted(2, nil)
		time.Sleep(ledgerPause + pollEvery)
		w.hook.wantSeqs(1, 2)
		stop()
		if all := w.troubles(); len(all) < 10 || len(all) > 200 {
			w.Errorf("%d problems in 20 minutes: %q", len(all), all[:min(3, len(all))])
		}
	})
}

// An idle sender hardly writes.
func TestIdleSender(t *testing.T) {
	inWorld(t, func(w *world) {
		writes := 0
		w.ledger.Call = func(what string) error {
			if what == "write" {
				writes++
			}
			return nil
		}
		stop := w.start(w.sender("a"))
		time.Sleep(time.Hour)
		stop()
		if most := int(time.Hour/renewEvery) + 3; writes < 3 || writes > most {
			w.Errorf("%d writes in an hour, want at most %d", writes, most)
		}
	})
}

// readOnly is a lease store that cannot be written.
type readOnly struct{ jit.Leases }

func (readOnly) Acquire(context.Context, string, string, time.Time, time.Time) (int64, bool, error) {
	return 0, false, errors.New("a status request acquires no lease")
}

func TestPositions(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender("a")
		looker := w.sender("looker")
		looker.Leases = readOnly{looker.Leases}
		check := func(want Position) {
			w.Helper()
			want.Receiver, want.Format = "ops", CloudEvents
			got, err := looker.Positions(w.Context())
			if err != nil || len(got) != 1 || !got[0].Since.Equal(want.Since) {
				w.Fatalf("got %+v, %v; want %+v", got, err, want)
			}
			got[0].Since, want.Since = time.Time{}, time.Time{}
			if got[0] != want {
				w.Errorf("got %+v, want %+v", got[0], want)
			}
		}
		check(Position{New: true})
		w.flush(s)
		check(Position{})
		w.hook.set(func(n int, _ http.ResponseWriter) int { return map[bool]int{true: 200, false: 500}[n == 1] })
		w.granted(1, nil)
		second := w.granted(2, nil)
		time.Sleep(time.Minute)
		w.granted(3, nil)
		stop := w.start(w.sender("b"))
		time.Sleep(time.Minute)
		check(Position{Seq: 1, Behind: 2, Since: second.Start, Sender: "b"})
		w.hook.set(nil)
		time.Sleep(lastPause)
		check(Position{Seq: 3, Sender: "b"})
		stop()
		check(Position{Seq: 3})
	})
}
