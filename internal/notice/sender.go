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
	// eventTest is the kind of the notice that only tries a receiver.
	eventTest jit.EventKind = "test"
	// noLedger is the id of a ledger that is not there yet.
	noLedger = "00000000-0000-0000-0000-000000000000"
)

const (
	// idle is how often a sender looks for something to tell.
	idle = 2 * time.Second
	// elsewhere is how often it looks whether the sender that has a receiver is gone.
	elsewhere = 10 * time.Second
	// firstPause and lastPause bound the pause after a delivery that failed, ledgerPause that after the ledger did.
	firstPause  = 2 * time.Second
	lastPause   = 5 * time.Minute
	ledgerPause = 30 * time.Second
)

// patience is how long a notice is tried that the receiver refuses, so that one bad notice does not keep back the others: that
// often, and until its event is of that age.
type patience struct {
	tries int
	age   time.Duration
}

var (
	// daemonPatience comes to about five minutes, with the pauses between the tries.
	daemonPatience = patience{tries: 9}
	// passPatience is for a sender that comes back every minute or so.
	passPatience = patience{tries: 3, age: time.Hour}
)

// Result is what became of a try to deliver.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	// Failed is tried again.
	Failed Result = "failed"
	// PassedOver was refused too often and is not tried again.
	PassedOver Result = "passed_over"
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
	// Told, if set, is told what became of every try; err is nil for what was delivered. It must be quick and safe for concurrent use.
	Told func(receiver string, r Result, err error)

	// transport carries the requests; nil means that of HTTP.
	transport http.RoundTripper
	once      sync.Once
	http      *retryablehttp.Client
}

// Run delivers until ctx ends; each receiver by itself, so that none waits for another.
func (s *Sender) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, r := range s.Receivers {
		all.Go(func() { s.serve(ctx, r) })
	}
	all.Wait()
}

// serve delivers to one receiver whenever no other sender does, until ctx ends.
func (s *Sender) serve(ctx context.Context, r *Receiver) {
	for failures := 0; ctx.Err() == nil; {
		t, err := s.take(ctx, r, daemonPatience)
		switch {
		case err != nil:
		case t == nil:
			_ = backoff.Sleep(ctx, elsewhere) // the loop looks at ctx
			continue
		default:
			failures = 0
			err = errors.Join(t.run(ctx), t.release(ctx))
		}
		if ctx.Err() != nil {
			return
		}
		s.told(r, Failed, err)
		_ = backoff.Wait(ctx, failures, firstPause, ledgerPause)
		failures++
	}
}

// Flush delivers what is there to be delivered, and returns what could not be. What another sender has in hand is left to that one.
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
	t, err := s.take(ctx, r, passPatience)
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

// Test sends a notice that only tries the receiver, whatever that wants to be told of.
func (s *Sender) Test(ctx context.Context, r *Receiver, by jit.Actor) error {
	ledger, err := s.LedgerID(ctx)
	if err != nil {
		return err
	}
	ledger = cmp.Or(ledger, noLedger)
	now := s.Now()
	e := jit.Event{At: now, Kind: eventTest, Actor: by, Detail: map[string]string{"note": "this is a test; nothing has happened"}}
	return s.send(ctx, r, notice{ledger: ledger, event: e, id: ledger + "/test-" + strconv.FormatInt(now.UnixNano(), 10)}, now)
}

func (s *Sender) told(r *Receiver, result Result, err error) {
	if s.Told != nil {
		s.Told(r.Name, result, err)
	}
}

// leaseOf names the lease and the position of a receiver.
func (s *Sender) leaseOf(r *Receiver) string { return "notice/" + s.Owner + "/" + r.Name }

// pauseAfter is the pause after so many failures in a row: half of it is left to chance.
func pauseAfter(failures int) time.Duration {
	least := lastPause / 2
	if n := max(0, failures-1); n < 20 {
		least = min(least, firstPause<<n/2)
	}
	return least + backoff.Pause(0, least, least)
}
