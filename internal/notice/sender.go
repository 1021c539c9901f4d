package notice

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// eventTest is the kind of the notice that only tries a receiver.
const eventTest jit.EventKind = "test"

const (
	// lease is for how long a receiver stays with a sender that may have died.
	lease = 30 * time.Second
	// idle is how often a sender looks for something to tell.
	idle = 2 * time.Second
	// firstPause and lastPause bound the pause after a delivery that failed.
	firstPause = time.Second
	lastPause  = 5 * time.Minute
	// refusals is how often a notice is tried that the receiver refuses for good; then it is passed over.
	refusals = 5
	// answerTimeout bounds one request, answerSize what is read of its answer.
	answerTimeout = 15 * time.Second
	answerSize    = 64 << 10
	// keepEvery is after how many events that nobody wants the position is kept.
	keepEvery = 1000
)

// Sender delivers notices. Its fields are set once, before use.
type Sender struct {
	Ledger jit.Ledger
	// LedgerID names the ledger in the notices.
	LedgerID func(context.Context) (string, error)
	Leases   jit.Leases
	// Owner restricts the notices to grants of that one.
	Owner     string
	Receivers []*Receiver
	// Holder names this process in the leases.
	Holder string
	Now    func() time.Time
	// Trouble, if set, is told of what could not be delivered, and of what was passed over.
	Trouble func(receiver string, err error)

	// first is the pause after the first failure; 0 means firstPause.
	first time.Duration
	once  sync.Once
	http  *retryablehttp.Client
}

// errRefused: the receiver will never take the notice.
var errRefused = errors.New("refused")

func (s *Sender) pause() time.Duration { return cmp.Or(s.first, firstPause) }

func (s *Sender) client() *retryablehttp.Client {
	s.once.Do(func() {
		c := retryablehttp.NewClient()
		c.HTTPClient = cleanhttp.DefaultPooledClient()
		c.HTTPClient.Timeout = answerTimeout
		// A notice is for whom the settings name, and for nobody that one names.
		c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c.Logger = nil
		c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = 2, s.pause()/5, 2*s.pause()
		c.Backoff = func(least, most time.Duration, n int, answer *http.Response) time.Duration {
			return min(lease/3, retryablehttp.DefaultBackoff(least, most, n, answer)) // a receiver may ask for any time
		}
		c.ErrorHandler = retryablehttp.PassthroughErrorHandler
		s.http = c
	})
	return s.http
}

// Run delivers until ctx ends; each receiver by itself, so that none waits for another.
func (s *Sender) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, r := range s.Receivers {
		all.Go(func() {
			for failures := 0; ctx.Err() == nil; {
				mine, err := s.deliver(ctx, r)
				pause := idle
				switch {
				case err != nil && ctx.Err() == nil:
					s.trouble(r, err)
					pause = s.pause() + backoff.Pause(failures, s.pause(), lastPause)
					failures++
				case !mine:
					pause = lease / 3
				default:
					failures = 0
				}
				timer := time.NewTimer(pause)
				select {
				case <-timer.C:
				case <-ctx.Done():
					timer.Stop()
				}
			}
		})
	}
	all.Wait()
}

// Flush delivers what is there to be delivered, and returns what could not be.
func (s *Sender) Flush(ctx context.Context) error {
	errs := make([]error, len(s.Receivers))
	var all sync.WaitGroup
	for i, r := range s.Receivers {
		all.Go(func() {
			if _, err := s.deliver(ctx, r); err != nil {
				errs[i] = fmt.Errorf("notify %s: %w", r.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *Sender) trouble(r *Receiver, err error) {
	if s.Trouble != nil {
		s.Trouble(r.Name, err)
	}
}

// leaseOf names the position of a receiver.
func (s *Sender) leaseOf(r *Receiver) string { return "notice/" + s.Owner + "/" + r.Name }

// deliver tells a receiver of everything that it has not been told of; mine is false while another sender does. The position that is kept
// is the number of the event to be looked at next; 0 is that of a new receiver.
func (s *Sender) deliver(ctx context.Context, r *Receiver) (mine bool, err error) {
	name := s.leaseOf(r)
	kept, mine, err := s.Leases.Take(ctx, name, s.Holder, s.Now(), s.Now().Add(lease))
	if err != nil || !mine {
		return mine, err
	}
	defer func() { // so that another sender, or the next run of this one, goes on at once
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
		defer cancel()
		err = errors.Join(err, s.Leases.Keep(last, name, s.Holder, kept, time.Unix(0, 0)))
	}()
	if kept == 0 { // a new receiver is told of what comes, not of all that was
		kept, err = s.Ledger.FirstEvent(ctx, s.Now())
		return true, err
	}
	ledger, err := s.LedgerID(ctx)
	if err != nil {
		return true, err
	}
	for e, err := range s.Ledger.Events(ctx, kept) {
		if err != nil {
			return true, err
		}
		told, err := s.tell(ctx, r, ledger, e)
		if err != nil {
			return true, err
		}
		kept = e.Seq + 1
		if told || e.Seq%keepEvery == 0 {
			if err := s.Leases.Keep(ctx, name, s.Holder, kept, s.Now().Add(lease)); err != nil {
				return true, err
			}
		}
	}
	return true, nil
}

// tell delivers one event, if the receiver wants it.
func (s *Sender) tell(ctx context.Context, r *Receiver, ledger string, e jit.Event) (told bool, err error) {
	if !r.wanted[e.Kind] {
		return false, nil
	}
	n := notice{ledger: ledger, event: e, id: ledger + "/" + strconv.FormatInt(e.Seq, 10)}
	target := e.Detail["target"]
	if e.Grant != "" {
		g, known, err := s.Ledger.Lookup(ctx, e.Grant)
		if err != nil {
			return false, err
		}
		if known && g.Owner != s.Owner {
			return false, nil
		}
		if known {
			n.grant, target = &g, g.Target
		}
	}
	if !r.wants(e, target) {
		return false, nil
	}
	for try := 1; ; try++ {
		err := s.send(ctx, r, n)
		if err == nil || !errors.Is(err, errRefused) {
			return true, err
		}
		if try == refusals {
			s.trouble(r, fmt.Errorf("event %d was passed over after %d tries: %w", e.Seq, try, err))
			return true, nil
		}
		if err := backoff.Wait(ctx, try, s.pause(), lease/3); err != nil {
			return true, err
		}
	}
}

// Test sends a notice that only tries the receiver.
func (s *Sender) Test(ctx context.Context, r *Receiver) error {
	ledger, err := s.LedgerID(ctx)
	if err != nil {
		return err
	}
	e := jit.Event{At: s.Now(), Kind: eventTest, Detail: map[string]string{"drift": "this is a test; nothing has happened"}}
	return s.send(ctx, r, notice{ledger: ledger, event: e, id: ledger + "/test-" + strconv.FormatInt(s.Now().UnixNano(), 10)})
}

// send makes one delivery. Its errors tell neither the URL nor what was answered.
func (s *Sender) send(ctx context.Context, r *Receiver, n notice) error {
	body, contentType, err := n.body(r.Format, s.Now())
	if err != nil {
		return err
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be asked")
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("User-Agent", "terraform-provider-jit")
	if r.Format == CloudEvents {
		at := s.Now()
		request.Header.Set("webhook-id", n.id)
		request.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		request.Header.Set("webhook-signature", sign(r.secret, n.id, at, body))
	}
	answer, err := s.client().Do(request)
	if err != nil {
		var asked *url.Error
		if errors.As(err, &asked) {
			err = asked.Err // without the URL
		}
		return fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerSize)) // so that the connection can be used again
	code := answer.StatusCode
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return fmt.Errorf("the receiver answered %d", code)
	}
	return fmt.Errorf("the receiver answered %d: %w", code, errRefused)
}

// Position is how far a receiver has been told.
type Position struct {
	Receiver string `json:"receiver"`
	Format   Format `json:"format"`
	// Seq is the last event that it was told of or did not want; 0 before it was looked at for the first time.
	Seq int64 `json:"seq"`
	// Behind counts the events after that.
	Behind int64 `json:"behind"`
	// Busy: another process delivers at this moment, and the position is not told.
	Busy bool `json:"busy"`
}

// Positions tells how far each receiver has been told.
func (s *Sender) Positions(ctx context.Context) ([]Position, error) {
	next, err := s.Ledger.FirstEvent(ctx, s.Now().Add(24*time.Hour))
	if err != nil {
		return nil, err
	}
	var all []Position
	for _, r := range s.Receivers {
		p := Position{Receiver: r.Name, Format: r.Format}
		seq, mine, err := s.Leases.Take(ctx, s.leaseOf(r), s.Holder, s.Now(), s.Now().Add(time.Second))
		if err != nil {
			return nil, err
		}
		if p.Busy = !mine; mine {
			if seq > 0 {
				p.Seq, p.Behind = seq-1, max(0, next-seq)
			}
			if err := s.Leases.Keep(ctx, s.leaseOf(r), s.Holder, seq, time.Unix(0, 0)); err != nil {
				return nil, err
			}
		}
		all = append(all, p)
	}
	return all, nil
}
