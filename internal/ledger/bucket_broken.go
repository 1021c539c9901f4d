package ledger

import (
	"cmp"
	"context"
	"errors"
	"maps"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Whoever may write the log of an owner can damage it. That stops granting for this owner, and for nobody else: what the
// others read and write does not depend on that log. The records of the owner end where the damage begins, so they are
// not shown.

// ownLog reports whether a log is that of an owner.
func ownLog(log string) bool { return log != jit.AllChain && log != sharedLog }

// inOrder sorts the logs on which others depend first.
func inOrder(a, b string) int { return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a, b)) }

// ofAllError is an error about the log of [jit.AllChain] that was found while another log was read.
type ofAllError struct{ error }

func (e ofAllError) Unwrap() error { return e.error }

// isolate notes why the log of an owner cannot be read on. It returns any other error.
func isolate(broken map[string]error, log string, err error) error {
	var ofAll ofAllError
	if err == nil || !ownLog(log) || !bucket.Damaged(err) || errors.As(err, &ofAll) {
		return err
	}
	broken[log] = err
	return nil
}

// brokenLogs returns a copy of the logs of owners that could not be read on when they were last looked into.
func (b *inBucket) brokenLogs() map[string]error {
	if known := b.broken.Load(); known != nil {
		return maps.Clone(*known)
	}
	return map[string]error{}
}

// usable returns the error of the first of some logs that cannot be read on.
func (b *inBucket) usable(logs ...string) error {
	if known := b.broken.Load(); known != nil {
		for _, log := range logs {
			if err := (*known)[log]; err != nil {
				return err
			}
		}
	}
	return nil
}

// apart marks a context for reads whose callers can do without the records of some owners.
type apart struct{}

func tolerant(ctx context.Context) context.Context { return context.WithValue(ctx, apart{}, true) }

// broken returns the owners whose records cannot be read, and why.
func (l *Ledger) broken() map[string]error {
	if b, ok := l.db.(*inBucket); ok {
		return b.brokenLogs()
	}
	return nil
}

// whole returns a [jit.PartialError] if the records of some owners cannot be read and the context tolerates that not.
func (l *Ledger) whole(ctx context.Context) error {
	if ctx.Value(apart{}) != nil {
		return nil
	}
	return partial(l.broken())
}

// wholeFor is like whole for the records of one owner.
func (l *Ledger) wholeFor(owner string) error {
	if err := l.broken()[jit.ChainOf(owner)]; err != nil {
		return &jit.PartialError{Owners: map[string]error{owner: err}}
	}
	return nil
}

func partial(broken map[string]error) error {
	if len(broken) == 0 {
		return nil
	}
	return &jit.PartialError{Owners: broken}
}

// serving returns a context for reads that concern some owners only: an empty list stands for all.
func (l *Ledger) serving(ctx context.Context, owners jit.Owners) (context.Context, error) {
	if _, err := l.read(tolerant(ctx)); err != nil {
		return ctx, err
	}
	if err := partial(l.broken()); err != nil && !jit.Partial(err, owners) {
		return ctx, err
	}
	return tolerant(ctx), nil
}
