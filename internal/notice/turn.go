package notice

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// lease is for how long a receiver stays with a sender that may have died; it is renewed when it is renewEvery old. What is left
	// then is more than one delivery takes.
	lease      = 90 * time.Second
	renewEvery = 15 * time.Second
	// keepEvery is after how many events that nobody wants the position is kept.
	keepEvery = 1000
	// releaseTimeout bounds the note that the turn is over.
	releaseTimeout = 5 * time.Second
)

// turn is the time in which one sender has a receiver to itself.
type turn struct {
	*Sender
	receiver *Receiver
	patience patience
	ledger   string
	// next is the number of the event to be looked at next. It is what is kept in the ledger; 0 there is a new receiver.
	next int64
	// renewed is when the lease was renewed last, by our clock, and ahead how far that is ahead of the time that all go by who share the ledger.
	renewed time.Time
	ahead   time.Duration
	// failures counts the tries that failed since the last success, refused those in which the receiver refused the next notice.
	failures, refused int
}

// take begins a turn; it returns nil while another sender has the receiver. A new receiver is told of what comes, not of all that was.
func (s *Sender) take(ctx context.Context, r *Receiver, p patience) (*turn, error) {
	local := s.Now()
	now, err := s.sharedTime(ctx, local)
	if err != nil {
		return nil, err
	}
	next, mine, err := s.Leases.Acquire(ctx, s.leaseOf(r), s.Holder, now, now.Add(lease))
	if err != nil || !mine {
		return nil, err
	}
	t := &turn{Sender: s, receiver: r, patience: p, next: next, renewed: local, ahead: local.Sub(now)}
	if t.ledger, err = s.LedgerID(ctx); err == nil && next == 0 {
		err = t.begin(ctx, now)
	}
	if err != nil {
		return nil, errors.Join(err, t.release(ctx))
	}
	return t, nil
}

// sharedTime returns the time by which those who share the ledger give and take leases: now, or that of the ledger's server where the two
// disagree.
func (s *Sender) sharedTime(ctx context.Context, now time.Time) (time.Time, error) {
	remote, err := s.Ledger.Clock(ctx)
	if err == nil && jit.CheckSkew(now, remote) != nil {
		now = remote
	}
	return now, err
}

// begin notes for a new receiver that it is told of what comes from now on.
func (t *turn) begin(ctx context.Context, now time.Time) error {
	first, err := t.Ledger.FirstEvent(ctx, now)
	if err != nil {
		return err
	}
	t.next = first
	return t.keep(ctx)
}

// time is the time that all go by who share the ledger.
func (t *turn) time() time.Time { return t.Now().Add(-t.ahead) }

// run delivers until ctx ends or the turn is lost.
func (t *turn) run(ctx context.Context) error {
	for {
		err := t.catchUp(ctx)
		pause := idle
		if f := (*failure)(nil); errors.As(err, &f) {
			pause = max(pauseAfter(t.failures), min(f.after, lastPause))
		} else if err != nil {
			return err
		}
		if err := t.wait(ctx, pause); err != nil {
			return err
		}
	}
}

// catchUp delivers everything of which the receiver has not been told. Its error is a *[failure] if the receiver is to blame.
func (t *turn) catchUp(ctx context.Context) error {
	kept := t.next
	for e, err := range t.Ledger.Events(ctx, t.next) {
		if err != nil {
			return err
		}
		told, err := t.tell(ctx, e)
		if err != nil {
			return err
		}
		t.next = e.Seq + 1
		if told || t.next-kept >= keepEvery {
			if err := t.keep(ctx); err != nil {
				return err
			}
			kept = t.next
		}
	}
	if t.next > kept {
		return t.keep(ctx)
	}
	return nil
}

// tell delivers one event, if the receiver wants it, or passes it over when patience is at its end.
func (t *turn) tell(ctx context.Context, e jit.Event) (told bool, err error) {
	if !t.receiver.Wants(e.Kind) {
		return false, nil
	}
	n := notice{ledger: t.ledger, event: e, id: t.ledger + "/" + strconv.FormatInt(e.Seq, 10)}
	target := e.Detail["target"]
	if e.Grant != "" {
		g, known, err := t.Ledger.Lookup(ctx, e.Grant)
		switch {
		case err != nil:
			return false, err
		case known && g.Owner != t.Owner:
			return false, nil
		case known:
			n.grant, target = &g, g.Target
		}
	}
	if !t.receiver.covers(target) {
		return false, nil
	}
	if err := t.hold(ctx); err != nil {
		return false, err
	}
	if err := t.send(ctx, t.receiver, n, t.time()); err != nil {
		return true, t.failed(ctx, e, err)
	}
	t.failures, t.refused = 0, 0
	t.told(t.receiver, Delivered, nil)
	return true, nil
}

// failed notes that a delivery failed; it returns nil when the notice is not to be tried again.
func (t *turn) failed(ctx context.Context, e jit.Event, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // nobody is to blame
	}
	t.failures++
	if f := (*failure)(nil); !errors.As(err, &f) || !f.refused() {
		t.refused = 0
	} else if t.refused++; t.refused >= t.patience.tries && t.time().Sub(e.At) >= t.patience.age {
		t.told(t.receiver, PassedOver, fmt.Errorf("event %d was passed over after %d tries: %w", e.Seq, t.refused, err))
		t.failures, t.refused = 0, 0
		return nil
	}
	t.told(t.receiver, Failed, fmt.Errorf("event %d: %w", e.Seq, err))
	return err
}

// keep notes how far the receiver has been told, and renews the lease.
func (t *turn) keep(ctx context.Context) error {
	if err := t.Leases.Renew(ctx, t.leaseOf(t.receiver), t.Holder, t.next, t.time().Add(lease)); err != nil {
		return err
	}
	t.renewed = t.Now()
	return nil
}

// hold renews the lease when it is time, and looks whether our clock was set.
func (t *turn) hold(ctx context.Context) error {
	if t.Now().Sub(t.renewed).Abs() < renewEvery {
		return nil
	}
	if err := t.keep(ctx); err != nil {
		return err
	}
	local := t.Now()
	now, err := t.sharedTime(ctx, local)
	if err != nil || local.Sub(now) == t.ahead {
		return err
	}
	t.ahead = local.Sub(now)
	return t.keep(ctx)
}

// wait pauses and holds the lease meanwhile.
func (t *turn) wait(ctx context.Context, d time.Duration) error {
	for d > 0 {
		some := min(d, renewEvery)
		if err := backoff.Sleep(ctx, some); err != nil {
			return err
		}
		d -= some
		if err := t.hold(ctx); err != nil {
			return err
		}
	}
	return nil
}

// release ends the turn, also when ctx has ended, so that another sender goes on at once.
func (t *turn) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	err := t.Leases.Release(ctx, t.leaseOf(t.receiver), t.Holder, t.next)
	if errors.Is(err, jit.ErrStale) {
		return nil // it is another's already
	}
	return err
}
