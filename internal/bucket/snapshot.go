package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// A snapshot is the state of one log after one of its commits, in numbered parts. It spares a new reader the commits up
// to there. Nothing depends on it: a part that is missing or damaged makes it useless and does no harm.

// partOf names a part of a snapshot: the number of its commit, its own number from 1 on, and how many there are.
func (l *Log) partOf(chain string, number int64, part, parts int) string {
	return l.snapshots(chain) + fmt.Sprintf("%0*d-%05d-%05d", digits, number, part, parts)
}

// snapshots returns the beginning of the names of all snapshots of a chain.
func (l *Log) snapshots(chain string) string { return path.Join(l.at.Prefix, chain, "snapshot") + "/" }

// Encode returns the object of a part of a snapshot.
func (c *Commit) Encode() ([]byte, error) { return c.encode() }

// Save stores the parts of a snapshot, which are the objects of [Commit.Encode]. Somebody else may have stored them.
func (l *Log) Save(ctx context.Context, chain string, number int64, parts [][]byte) error {
	for i, part := range parts {
		err := l.create(ctx, l.partOf(chain, number, i+1, len(parts)), part)
		if err != nil && !errors.Is(err, ErrTaken) {
			return err
		}
	}
	return nil
}

// Newest returns the commit of the newest whole snapshot of a chain and the tables of its parts. Its number is 0 if
// there is none that can be read, or none whose hash is that of its commit.
func (l *Log) Newest(ctx context.Context, chain string) (snapshot Commit, err error) {
	numbers, parts, err := l.listSnapshots(ctx, chain)
	if err != nil {
		return snapshot, err
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		number := numbers[i]
		of, err := l.read(ctx, chain, number)
		if err != nil {
			return snapshot, err
		}
		all, whole, err := l.load(ctx, chain, number, parts[number])
		if err != nil {
			return snapshot, err
		}
		if whole && of != nil && all.Prev == of.Hash {
			all.Hash, all.Prev = of.Hash, of.Prev
			return all, nil
		}
	}
	return snapshot, nil
}

// listSnapshots returns the numbers of the snapshots that have all parts, in order, and how many parts each has.
func (l *Log) listSnapshots(ctx context.Context, chain string) (numbers []int64, parts map[int64]int, err error) {
	folder, after := l.snapshots(chain), ""
	parts, found := map[int64]int{}, map[int64]int{}
	for more := true; more; {
		var keys []string
		err := retried(ctx, func(ctx context.Context) error {
			keys, more, err = l.store.list(ctx, folder, after)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		for _, key := range keys {
			after = key
			name := strings.Split(strings.TrimPrefix(key, folder), "-")
			if len(name) != 3 {
				continue
			}
			number, _ := strconv.ParseInt(name[0], 10, 64)
			of, _ := strconv.Atoi(name[2])
			if parts[number] = of; number > 0 {
				found[number]++
			}
			if found[number] == of && of > 0 {
				numbers = append(numbers, number)
			}
		}
		more = more && len(keys) > 0
	}
	return numbers, parts, nil
}

// load reads the parts of a snapshot.
func (l *Log) load(ctx context.Context, chain string, number int64, parts int) (all Commit, whole bool, err error) {
	some := make([]*Commit, parts)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range some {
		g.Go(func() error {
			object, err := l.get(ctx, l.partOf(chain, number, i+1, parts))
			switch {
			case errors.Is(err, errAbsent), errors.Is(err, errTooLarge):
				return nil
			case err != nil:
				return err
			}
			if c, err := decode(object); err == nil && c.Chain == chain && c.Number == number {
				some[i] = c
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return all, false, err
	}
	for i, c := range some {
		switch {
		case c == nil || i > 0 && (c.Prev != all.Prev || c.Ledger != all.Ledger || c.Schema != all.Schema):
			return Commit{}, false, nil
		case i == 0:
			all = *c
		default:
			all.Tables = append(all.Tables, c.Tables...)
		}
	}
	return all, parts > 0, nil
}
