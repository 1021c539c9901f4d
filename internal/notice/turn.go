package notice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
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
	// cursors are the positions in the chain of all and in that of the owner.
	cursors []*cursor
	// renewed is when the lease was last renewed, by this machine's clock; ahead is how far that clock is ahead of
	// the time that the senders share.
	renewed time.Time
	ahead   time.Duration
	// failures counts the failed tries since the last success, and refused how often the next notice was refused.
	failures, refused int
}

// cursor is the position of a receiver in one chain.
type cursor struct {
	chain string
	// lease is the lease that keeps next as its position. 0 there means a new receiver, or a chain that older programs
	// did not have.
	lease string
	// next is the number of the next event, and saved that which is recorded.
	next, saved int64
	// last is the hash of the event before next; empty if unknown.
	last string
}

// cursorsOf returns the cursors of a receiver without their positions, that of [jit.AllChain] first: its lease has the
// name, and so the position, that older programs gave to the one chain that there was.
func (s *Sender) cursorsOf(r *Receiver) []*cursor {
	all := []*cursor{{chain: jit.AllChain, lease: s.leaseOf(r)}}
	if own := jit.ChainOf(s.Owner); own != jit.AllChain {
		all = append(all, &cursor{chain: own, lease: s.leaseOf(r) + "/" + own})
	}
	return all
}

// acquire begins a turn. It returns nil while another sender serves the receiver. A new receiver is sent the events
// from now on.
func (s *Sender) acquire(ctx context.Context, r *Receiver, p patience) (*turn, error) {
	local := s.Now()
	now, err := s.sharedTime(ctx, local)
	if err != nil {
		return nil, err
	}
	t := &turn{Sender: s, receiver: r, patience: p, renewed: local, ahead: local.Sub(now)}
	for _, c := range s.cursorsOf(r) {
		next, mine, err := s.Leases.Acquire(ctx, c.lease, s.Holder, now, now.Add(lease))
		if err != nil || !mine {
			return nil, errors.Join(err, t.release(ctx))
		}
		c.next, c.saved = next, next
		t.cursors = append(t.cursors, c)
	}
	if t.ledger, err = s.LedgerID(ctx); err == nil {
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

// start saves the positions of a new receiver: the first events from now on. A receiver that an older program has
// served is sent its owner's chain from the beginning.
func (t *turn) start(ctx context.Context, now time.Time) error {
	fresh := t.cursors[0].next == 0
	first := map[*cursor]int64{}
	for _, c := range t.cursors {
		if c.next != 0 {
			continue
		}
		first[c] = 1
		if fresh {
			var err error
			if first[c], err = t.Ledger.FirstEvent(ctx, c.chain, now); err != nil {
				return err // and the receiver stays new
			}
		}
	}
	if len(first) == 0 {
		return nil
	}
	for c, next := range first {
		c.next = next
	}
	return t.save(ctx)
}

// time returns the time that the senders share.
func (t *turn) time() time.Time { return t.Now().Add(-t.ahead) }

// run delivers until ctx ends or the turn is lost. In a thrifty ledger the turn ends without an error as soon as
// everything is delivered.
func (t *turn) run(ctx context.Context) error {
	for {
		err := t.catchUp(ctx)
		pause := pollEvery
		if err == nil && jit.Thrifty(t.Leases) {
			return nil
		}
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

// catchUpOnce is catchUp until a position moves back, which is [errMoved]. The events of [jit.AllChain] come first.
func (t *turn) catchUpOnce(ctx context.Context) error {
	for _, c := range t.cursors {
		if err := t.catchUpWith(ctx, c); err != nil {
			return err
		}
		if err := t.renew(ctx); err != nil {
			return err
		}
	}
	if t.unsaved() {
		return t.save(ctx)
	}
	moved, err := t.rewind(ctx, nil)
	if err == nil && moved {
		err = errMoved
	}
	return err
}

// catchUpWith delivers the events of one chain.
func (t *turn) catchUpWith(ctx context.Context, c *cursor) error {
	first := true
	for e, err := range t.Ledger.Events(ctx, c.chain, c.next) {
		if err != nil {
			return err
		}
		if first && c.last != "" && e.Prev != c.last {
			if moved, err := t.rewind(ctx, c); err != nil || moved {
				return cmp.Or(err, errMoved)
			}
		}
		first = false
		tried, err := t.deliver(ctx, e)
		if err != nil {
			return err
		}
		c.next, c.last = e.Seq+1, e.Hash
		if tried || c.next-c.saved >= saveEvery {
			if err := t.saveOne(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// unsaved reports whether a position has not been saved.
func (t *turn) unsaved() bool {
	return slices.ContainsFunc(t.cursors, func(c *cursor) bool { return c.next > c.saved })
}

// errMoved: the position has moved back, and the events from there on are to be delivered.
var errMoved = errors.New("the position has moved back")

// rewind moves positions back that lie among the events that are gone when the ledger has gone back in time: that in
// the chain of forked, and those behind the last event of their chain. It goes back to the event that says so, or to
// the first event of another chain after that.
func (t *turn) rewind(ctx context.Context, forked *cursor) (moved bool, err error) {
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
	for _, c := range t.cursors {
		if behind == 0 {
			break
		}
		end, err := t.Ledger.FirstEvent(ctx, c.chain, never)
		if err != nil {
			return moved, err
		}
		if c != forked && c.next <= end {
			continue
		}
		to, err := t.firstAfter(ctx, c.chain, behind, end)
		if err != nil {
			return moved, err
		}
		if c.next > to {
			c.next, c.saved, c.last, moved = to, to, "", true
		}
	}
	return moved, nil
}

// firstAfter returns the number of the event of [jit.AllChain] itself, or of the first event of another chain after it.
// end is the number of the next event of the chain.
func (t *turn) firstAfter(ctx context.Context, chain string, all, end int64) (int64, error) {
	if chain == jit.AllChain {
		return all, nil
	}
	var failed error
	n := sort.Search(int(end-1), func(n int) bool {
		for e, err := range t.Ledger.Events(ctx, chain, int64(n)+1) {
			failed = cmp.Or(failed, err)
			return e.Follows(all)
		}
		return true
	})
	return int64(n) + 1, failed
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
		if jit.Partial(err, jit.Owners{t.Owner}) { // none of this owner's
			err = nil
		}
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
		t.tried(t.receiver, PassedOver, fmt.Errorf("event %s was skipped after %d tries: %w", e.Place(), t.refused, err))
		t.failures, t.refused = 0, 0
		return nil
	}
	t.tried(t.receiver, Failed, fmt.Errorf("event %s: %w", e.Place(), err))
	return err
}

// save saves the positions and renews the leases.
func (t *turn) save(ctx context.Context) error {
	for _, c := range slices.Backward(t.cursors) { // a position in the chain of all says that no other is new
		if err := t.saveOne(ctx, c); err != nil {
			return err
		}
	}
	t.renewed = t.Now()
	return nil
}

// saveOne saves the position in one chain.
func (t *turn) saveOne(ctx context.Context, c *cursor) error {
	until := t.time().Add(lease)
	if c != t.cursors[0] { // the first lease guards all, so no other may outlast it
		until = t.renewed.Add(-t.ahead).Add(lease)
	}
	err := t.Leases.Renew(ctx, c.lease, t.Holder, c.next, until)
	if err == nil {
		c.saved = c.next
	}
	return err
}

// renew renews the lease when it is due, and checks whether this machine's clock was set.
func (t *turn) renew(ctx context.Context) error {
	if t.Now().Sub(t.renewed).Abs() < renewEvery {
		return nil
	}
	if err := t.saveOne(ctx, t.cursors[0]); err != nil {
		return err
	}
	t.renewed = t.Now()
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
	var errs []error
	for _, c := range slices.Backward(t.cursors) {
		err := t.Leases.Release(ctx, c.lease, t.Holder, c.next)
		if !errors.Is(err, jit.ErrStale) { // otherwise another sender has acquired it
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
