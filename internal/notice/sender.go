package notice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// eventTest is the kind of a test notice.
	eventTest jit.EventKind = "test"
	// noLedger is the id of a ledger that does not exist yet.
	noLedger = "00000000-0000-0000-0000-000000000000"
)

const (
	// pollEvery is how often a sender reads new events.
	pollEvery = 2 * time.Second
	// acquireEvery is how often a sender tries to acquire a receiver that another sender serves.
	acquireEvery = 10 * time.Second
	// firstPause and lastPause bound the pause after a failed delivery. ledgerPause is the longest after the ledger
	// failed.
	firstPause  = 2 * time.Second
	lastPause   = 5 * time.Minute
	ledgerPause = 30 * time.Second
)

// patience is how often a refused notice is tried, and until its event has which age. After that it is skipped, so that
// a bad notice does not hold up the others.
type patience struct {
	tries int
	age   time.Duration
}

var (
	// daemonPatience lasts about five minutes, with the pauses between the tries.
	daemonPatience = patience{tries: 9}
	// passPatience is for a sender that runs every minute or so.
	passPatience = patience{tries: 3, age: time.Hour}
)

// Result is the outcome of a try to deliver a notice.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	// Failed notices are tried again.
	Failed Result = "failed"
	// PassedOver notices were refused too often and are not tried again.
	PassedOver Result = "passed_over"
)

// Sender delivers notices. Its fields are set once, before use.
type Sender struct {
	Ledger jit.Ledger
	// LedgerID names the ledger in the notices.
	LedgerID func(context.Context) (string, error)
	Leases   jit.Leases
	// Owner restricts the notices to its grants.
	Owner     string
	Receivers []*Receiver
	// Holder names this process in the leases.
	Holder string
	Now    func() time.Time
	// Tried, if set, receives the result of every try; err is nil if the notice was delivered. It must be quick and
	// safe for concurrent use.
	Tried func(receiver string, r Result, err error)

	// transport carries the requests; nil means a default one.
	transport http.RoundTripper
	once      sync.Once
	http      *retryablehttp.Client
}

// Run delivers notices until ctx ends. No receiver waits for another.
func (s *Sender) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, r := range s.Receivers {
		all.Go(func() { s.serve(ctx, r) })
	}
	all.Wait()
}

// serve delivers to one receiver while no other sender does, until ctx ends.
func (s *Sender) serve(ctx context.Context, r *Receiver) {
	for failures := 0; ctx.Err() == nil; {
		idle, err := s.idle(ctx, r)
		if idle {
			_ = backoff.Sleep(ctx, pollEvery) // the loop checks ctx
			continue
		}
		var t *turn
		if err == nil {
			t, err = s.acquire(ctx, r, daemonPatience)
		}
		switch {
		case err != nil:
		case t == nil:
			_ = backoff.Sleep(ctx, acquireEvery) // the loop checks ctx
			continue
		default:
			failures = 0
			err = errors.Join(t.run(ctx), t.release(ctx))
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			continue
		}
		s.tried(r, Failed, err)
		_ = backoff.Wait(ctx, failures, firstPause, ledgerPause)
		failures++
	}
}

// Flush delivers all notices that are due and returns the errors of those that could not be delivered. It leaves out
// the receivers that another sender serves.
func (s *Sender) Flush(ctx context.Context) error {
	errs := make([]error, len(s.Receivers))
	var all sync.WaitGroup
	for i, r := range s.Receivers {
		all.Go(func() {
			if err := s.flush(ctx, r); err != nil {
				errs[i] = fmt.Errorf("notify %s: %w", r.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *Sender) flush(ctx context.Context, r *Receiver) (err error) {
	if idle, err := s.idle(ctx, r); err != nil || idle {
		return err
	}
	t, err := s.acquire(ctx, r, passPatience)
	if err != nil || t == nil {
		return err
	}
	defer func() { err = errors.Join(err, t.release(ctx)) }()
	for {
		err := t.catchUp(ctx)
		var f *failure
		if !errors.As(err, &f) || !f.refused() || t.refused >= t.patience.tries {
			return err
		}
		if err := t.wait(ctx, pauseAfter(t.failures)); err != nil {
			return err
		}
	}
}

// Test sends a test notice, whatever events the receiver wants.
func (s *Sender) Test(ctx context.Context, r *Receiver, by jit.Actor) error {
	ledger, err := s.LedgerID(ctx)
	if err != nil {
		return err
	}
	ledger = cmp.Or(ledger, noLedger)
	now := s.Now()
	detail := map[string]string{"note": "this is a test; nothing has happened"}
	e := jit.Event{At: now, Kind: eventTest, Actor: by, Detail: detail}
	id := ledger + "/test-" + strconv.FormatInt(now.UnixNano(), 10)
	return s.send(ctx, r, notice{ledger: ledger, event: e, id: id}, now)
}

func (s *Sender) tried(r *Receiver, result Result, err error) {
	if s.Tried != nil {
		s.Tried(r.Name, result, err)
	}
}

// leaseOf names the lease of a receiver, which holds its position.
func (s *Sender) leaseOf(r *Receiver) string { return "notice/" + s.Owner + "/" + r.Name }

// pauseAfter returns the pause after a number of failures in a row. Half of it is random.
func pauseAfter(failures int) time.Duration {
	least := lastPause / 2
	if n := max(0, failures-1); n < 20 {
		least = min(least, firstPause<<n/2)
	}
	return least + backoff.Pause(0, least, least)
}
