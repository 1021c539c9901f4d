package notice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// lease is how long a receiver stays with a sender that may have died. It is renewed when it is renewEvery old;
	// the remaining time then exceeds that of one delivery.
	lease      = 90 * time.Second
	renewEvery = 15 * time.Second
	// saveEvery is after how many unwanted events the position is saved.
	saveEvery = 1000
	// releaseTimeout bounds the release of the lease.
	releaseTimeout = 5 * time.Second
)

// turn is the time during which one sender serves a receiver.
type turn struct {
	*Sender
	receiver *Receiver
	patience patience
	ledger   string
	// next is the number of the next event. The ledger keeps it as the position; 0 there means a new receiver.
	next int64
	// renewed is when the lease was last renewed, by this machine's clock; ahead is how far that clock is ahead of
	// the time that the senders share.
	renewed time.Time
	ahead   time.Duration
	// last is the hash of the event before next; empty if unknown.
	last string
	// failures counts the failed tries since the last success, and refused how often the next notice was refused.
	failures, refused int
}

// acquire begins a turn. It returns nil while another sender serves the receiver. A new receiver is sent the events
// from now on.
func (s *Sender) acquire(ctx context.Context, r *Receiver, p patience) (*turn, error) {
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
		err = t.start(ctx, now)
	}
	if err != nil {
		return nil, errors.Join(err, t.release(ctx))
	}
	return t, nil
}

// sharedTime returns the time by which senders acquire leases: now, or the ledger server's time if the two disagree.
func (s *Sender) sharedTime(ctx context.Context, now time.Time) (time.Time, error) {
	remote, _, err := s.Ledger.Clock(ctx)
	if err == nil && jit.CheckSkew(now, remote) != nil {
		now = remote
	}
	return now, err
}

// start saves the position of a new receiver: the first event from now on.
func (t *turn) start(ctx context.Context, now time.Time) error {
	first, err := t.Ledger.FirstEvent(ctx, now)
	if err != nil {
		return err
	}
	t.next = first
	return t.save(ctx)
}

// time returns the time that the senders share.
func (t *turn) time() time.Time { return t.Now().Add(-t.ahead) }

// run delivers until ctx ends or the turn is lost.
func (t *turn) run(ctx context.Context) error {
	for {
		err := t.catchUp(ctx)
		pause := pollEvery
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

// catchUp delivers all events after the position. If the receiver is at fault, the error is a *[failure].
func (t *turn) catchUp(ctx context.Context) error {
	for {
		if err := t.catchUpOnce(ctx); !errors.Is(err, errMoved) {
			return err
		}
	}
}

// catchUpOnce is catchUp until the position moves back, which is [errMoved].
func (t *turn) catchUpOnce(ctx context.Context) error {
	saved, first := t.next, true
	for e, err := range t.Ledger.Events(ctx, t.next) {
		if err != nil {
			return err
		}
		if first && t.last != "" && e.Prev != t.last {
			if moved, err := t.rewind(ctx, true); err != nil || moved {
				return cmp.Or(err, errMoved)
			}
		}
		first = false
		tried, err := t.deliver(ctx, e)
		if err != nil {
			return err
		}
		t.next, t.last = e.Seq+1, e.Hash
		if tried || t.next-saved >= saveEvery {
			if err := t.save(ctx); err != nil {
				return err
			}
			saved = t.next
		}
	}
	if t.next > saved {
		return t.save(ctx)
	}
	moved, err := t.rewind(ctx, false)
	if err == nil && moved {
		err = errMoved
	}
	return err
}

// errMoved: the position has moved back, and the events from there on are to be delivered.
var errMoved = errors.New("the position has moved back")

// rewind moves the position back to the event that says that the ledger has gone back in time, if the position lies
// among the events that are gone: behind the last event, or as forked says.
func (t *turn) rewind(ctx context.Context, forked bool) (moved bool, err error) {
	restores, err := t.Ledger.Restores(ctx)
	if err != nil {
		return false, err
	}
	behind := int64(0)
	for _, e := range restores {
		if e.Kind == jit.EventLedgerBehind && !e.FromState() {
			behind = e.Seq
		}
	}
	if behind == 0 || t.next <= behind {
		return false, nil
	}
	if !forked {
		end, err := t.Ledger.FirstEvent(ctx, never)
		if err != nil || t.next <= end {
			return false, err
		}
	}
	t.next, t.last = behind, ""
	return true, nil
}

// deliver sends one event if the receiver wants it. It skips an event that was refused too often.
func (t *turn) deliver(ctx context.Context, e jit.Event) (tried bool, err error) {
	if !t.receiver.Wants(e.Kind) {
		return false, nil
	}
	n, wanted, err := t.noticeOf(ctx, e)
	if err != nil || !wanted {
		return false, err
	}
	if err := t.renew(ctx); err != nil {
		return false, err
	}
	if err := t.send(ctx, t.receiver, n, t.time()); err != nil {
		return true, t.failed(ctx, e, err)
	}
	t.failures, t.refused = 0, 0
	t.tried(t.receiver, Delivered, nil)
	return true, nil
}

// noticeOf returns the notice of an event. wanted is false if the grant has another owner, or the receiver does not
// want its target.
func (t *turn) noticeOf(ctx context.Context, e jit.Event) (n notice, wanted bool, err error) {
	n = notice{ledger: t.ledger, event: e, id: t.ledger + "/" + e.UID()}
	target := e.Detail["target"]
	if e.Grant != "" {
		g, known, err := t.Ledger.Lookup(ctx, e.Grant)
		if err != nil || known && g.Owner != t.Owner {
			return n, false, err
		}
		if known {
			v := g.View(t.time(), t.ledger)
			n.grant, target = &v, g.Target
		}
	}
	return n, t.receiver.covers(target), nil
}

// failed counts a failed delivery. It returns nil if the notice is not tried again.
func (t *turn) failed(ctx context.Context, e jit.Event, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // the receiver is not at fault
	}
	t.failures++
	if f := (*failure)(nil); !errors.As(err, &f) || !f.refused() {
		t.refused = 0
	} else if t.refused++; t.refused >= t.patience.tries && t.time().Sub(e.At) >= t.patience.age {
		t.tried(t.receiver, PassedOver, fmt.Errorf("event %d was skipped after %d tries: %w", e.Seq, t.refused, err))
		t.failures, t.refused = 0, 0
		return nil
	}
	t.tried(t.receiver, Failed, fmt.Errorf("event %d: %w", e.Seq, err))
	return err
}

// save saves the position and renews the lease.
func (t *turn) save(ctx context.Context) error {
	if err := t.Leases.Renew(ctx, t.leaseOf(t.receiver), t.Holder, t.next, t.time().Add(lease)); err != nil {
		return err
	}
	t.renewed = t.Now()
	return nil
}

// renew renews the lease when it is due, and checks whether this machine's clock was set.
func (t *turn) renew(ctx context.Context) error {
	if t.Now().Sub(t.renewed).Abs() < renewEvery {
		return nil
	}
	if err := t.save(ctx); err != nil {
		return err
	}
	local := t.Now()
	now, err := t.sharedTime(ctx, local)
	if err != nil || local.Sub(now) == t.ahead {
		return err
	}
	t.ahead = local.Sub(now)
	return t.save(ctx)
}

// wait pauses and renews the lease meanwhile.
func (t *turn) wait(ctx context.Context, d time.Duration) error {
	for d > 0 {
		some := min(d, renewEvery)
		if err := backoff.Sleep(ctx, some); err != nil {
			return err
		}
		d -= some
		if err := t.renew(ctx); err != nil {
			return err
		}
	}
	return nil
}

// release ends the turn, even if ctx has ended, so that another sender can continue at once.
func (t *turn) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	err := t.Leases.Release(ctx, t.leaseOf(t.receiver), t.Holder, t.next)
	if errors.Is(err, jit.ErrStale) {
		return nil // another sender has acquired it
	}
	return err
}
