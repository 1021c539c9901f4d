package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// get reads an object of the log.
func (l *Log) get(ctx context.Context, key string) (object []byte, err error) {
	err = retried(ctx, func(ctx context.Context) error {
		object, err = l.store.get(ctx, key, maxObject)
		return err
	})
	return object, err
}

// read reads one commit; nil if there is none.
func (l *Log) read(ctx context.Context, chain string, number int64) (*Commit, error) {
	object, err := l.get(ctx, l.key(chain, number))
	switch {
	case errors.Is(err, errAbsent):
		return nil, nil
	case errors.Is(err, errBusy) || errors.Is(err, errUnsure):
		return nil, l.failed("read", err)
	case errors.Is(err, errTooLarge):
		return nil, l.damaged(chain, number, "it is larger than any commit")
	case err != nil:
		return nil, err
	}
	c, err := decode(object)
	switch {
	case errors.Is(err, jit.ErrNewerLedger):
		return nil, &jit.Error{Attribute: "ledger", Err: err,
			Problem: fmt.Sprintf("commit %d of the log %s in %s is of a newer form than this program knows",
				number, chain, l.at),
			Hint: "a newer version of this program has written to it; update to at least that version"}
	case err != nil:
		return nil, l.damaged(chain, number, "the object is cut off or is not a commit")
	case c.Chain != chain:
		return nil, l.damaged(chain, number, fmt.Sprintf("it is a commit of %q", jit.Said(c.Chain)))
	case c.Number != number:
		return nil, l.damaged(chain, number, fmt.Sprintf("it is commit %d", c.Number))
	}
	return c, nil
}

// damaged is the error for an object of the log that somebody else made or changed.
func (l *Log) damaged(chain string, number int64, why string) error {
	return &jit.Error{Attribute: "ledger", Err: jit.ErrAltered,
		Problem: fmt.Sprintf("the log in %s is damaged at %s: %s", l.at, l.key(chain, number), why),
		Hint:    "restore that object from an older version of it or from a backup; " + Until(chain)}
}

// Until says what a damaged chain stops. The chains of owners have no name that begins with a _.
func Until(chain string) string {
	if strings.HasPrefix(chain, "_") {
		return "nothing is granted until the log is whole"
	}
	return "nothing is granted for " + chain + " until its log is whole"
}

// Next reads up to most commits of a chain after a head, without asking for a list.
func (l *Log) Next(ctx context.Context, chain string, head Head, most int) ([]*Commit, error) {
	all, err := l.fetch(ctx, chain, head.Number+1, head.Number+int64(most))
	for i, c := range all {
		if c == nil {
			return all[:i], err
		}
		if err := l.follows(ctx, chain, head, c); err != nil {
			return nil, err
		}
		head = Head{c.Number, c.Hash}
	}
	return all, err
}

// fetch reads the commits from first to last at the same time; nil for one that is absent.
func (l *Log) fetch(ctx context.Context, chain string, first, last int64) ([]*Commit, error) {
	all := make([]*Commit, last-first+1)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range all {
		g.Go(func() (err error) {
			all[i], err = l.read(ctx, chain, first+int64(i))
			return err
		})
	}
	return all, g.Wait()
}

// follows refuses a commit that does not follow a head.
func (l *Log) follows(ctx context.Context, chain string, head Head, c *Commit) error {
	if c.Prev == head.Hash {
		return nil
	}
	before, err := l.read(ctx, chain, head.Number)
	switch {
	case err != nil:
		return err
	case before == nil || before.Hash != head.Hash:
		return ErrRewound
	}
	return l.damaged(chain, c.Number, fmt.Sprintf("it does not follow commit %d", head.Number))
}

// window is the number of commits that are in memory at once.
const window = 4 * parallel

// Since yields the commits of a chain after a head, in order. It asks for a list and, at the same time, for the next
// commit: a list may leave out the newest. The error is [ErrRewound] if the log does not have the head any more.
func (l *Log) Since(ctx context.Context, chain string, head Head) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		give := func(some []*Commit) bool {
			for _, c := range some {
				if !yield(c, nil) {
					return false
				}
				head = Head{c.Number, c.Hash}
			}
			return true
		}
		began := head.Number
		known, err := l.known(ctx, chain, head, 0)
		next := known.next
		for err == nil && (known.last > head.Number || known.more) {
			if known.last <= head.Number {
				known, err = l.numbers(ctx, chain, head)
				continue
			}
			var some []*Commit
			if some, err = l.run(ctx, chain, head, min(known.last, head.Number+window)); !give(some) {
				return
			}
		}
		for more := next || head.Number > began; more && err == nil; {
			var some []*Commit
			if some, err = l.Next(ctx, chain, head, ahead); !give(some) {
				return
			}
			more = len(some) == ahead
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// ahead is how many commits are asked for at a time without a list.
const ahead = 2

// run reads the commits after a head up to last, none of which may be absent.
func (l *Log) run(ctx context.Context, chain string, head Head, last int64) ([]*Commit, error) {
	all, err := l.fetch(ctx, chain, head.Number+1, last)
	if err != nil {
		return nil, err
	}
	for i, c := range all {
		if c == nil {
			return nil, l.damaged(chain, head.Number+1, "it is missing, and later commits exist")
		}
		if err := l.follows(ctx, chain, head, c); err != nil {
			return nil, err
		}
		head = Head{all[i].Number, all[i].Hash}
	}
	return all, nil
}

// numbers is what a list says of the commits of a chain.
type numbers struct {
	first, last int64
	more        bool
	// next: the commit after the head exists, whatever the list says.
	next bool
}

// known lists the commits from the head on, and makes sure that the log still has the head. If it did so less than
// within ago, it only asks for the next commit.
func (l *Log) known(ctx context.Context, chain string, head Head, within time.Duration) (n numbers, err error) {
	at := time.Now()
	l.mu.Lock()
	verified := !l.verified[chain].IsZero() || head.Number == 0
	lately := at.Sub(l.verified[chain]) < within
	l.mu.Unlock()
	if lately {
		c, err := l.read(ctx, chain, head.Number+1)
		n.next = c != nil
		return n, err
	}
	var listed numbers
	var next bool
	g, together := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		listed, err = l.numbers(together, chain, Head{Number: head.Number - 1})
		return err
	})
	g.Go(func() error {
		c, err := l.read(together, chain, head.Number+1)
		next = c != nil
		return err
	})
	if !verified {
		g.Go(func() error { return l.has(together, chain, head) })
	}
	if err := g.Wait(); err != nil {
		return n, err
	}
	n, n.next = listed, next
	if verified && head.Number > 0 && n.first != head.Number { // the list may lag
		if err := l.has(ctx, chain, head); err != nil {
			return n, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.verified[chain] = at
	return n, nil
}

// has returns [ErrRewound] unless the log has a head.
func (l *Log) has(ctx context.Context, chain string, head Head) error {
	c, err := l.read(ctx, chain, head.Number)
	if err == nil && (c == nil || c.Hash != head.Hash) {
		err = ErrRewound
	}
	return err
}

// numbers lists the commits of a chain after a head.
func (l *Log) numbers(ctx context.Context, chain string, after Head) (n numbers, err error) {
	folder, from := l.folder(chain), ""
	if after.Number > 0 {
		from = l.key(chain, after.Number)
	}
	var keys []string
	err = retried(ctx, func(ctx context.Context) error {
		keys, n.more, err = l.store.list(ctx, folder, from)
		return err
	})
	switch {
	case errors.Is(err, errBusy) || errors.Is(err, errUnsure):
		return n, l.failed("list", err)
	case err != nil:
		return n, err
	}
	for _, key := range keys {
		number, err := numberOf(folder, key)
		if err != nil {
			return n, &jit.Error{Attribute: "ledger", Err: jit.ErrAltered,
				Problem: fmt.Sprintf("%s has the foreign object %q below %s", l.at, jit.Said(key), folder),
				Hint:    "move it elsewhere, or give the ledger a prefix of its own; " + Until(chain)}
		}
		if n.first == 0 {
			n.first = number
		}
		n.last = number
	}
	return n, nil
}

// News is what is new in some chains.
type News struct {
	// Chains have commits after their heads.
	Chains []string
	// Damaged chains cannot be read on, and why: see [Damaged].
	Damaged map[string]error
}

// Damaged reports whether an error is about what a chain holds, and would be the same at the next attempt.
func Damaged(err error) bool {
	return errors.Is(err, jit.ErrAltered) || errors.Is(err, jit.ErrNewerLedger)
}

// News looks into all chains at the same time for commits after their heads. The error is [ErrRewound] if a chain does
// not have its head any more; a chain of which that was made sure less than within ago is only asked for its next
// commit.
func (l *Log) News(ctx context.Context, heads map[string]Head, within time.Duration) (News, error) {
	news := News{Damaged: map[string]error{}}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for chain, head := range heads {
		g.Go(func() error {
			known, err := l.known(ctx, chain, head, within)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case Damaged(err):
				news.Damaged[chain] = err
				return nil
			case err == nil && (known.next || known.more || known.last > head.Number):
				news.Chains = append(news.Chains, chain)
			}
			return err
		})
	}
	return news, g.Wait()
}
