package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Errors of a log.
var (
	// ErrTaken: another writer has created the commit of that number.
	ErrTaken = errors.New("another writer was first")
	// ErrRewound: the log lacks a commit that was read before, or has another in its place.
	ErrRewound = errors.New("the log has gone back in time")
)

// Head is the last commit of a chain that a reader has applied; the zero value is none.
type Head struct {
	Number int64
	Hash   string
}

// Log is the log of commits in a bucket. It is safe for concurrent use.
type Log struct {
	at    Location
	store objects
	clock jit.ServerClock

	mu sync.Mutex
	// verified is when the head of each chain was last found in the log.
	verified map[string]time.Time
}

// Open returns the log at a place. It makes no call.
func Open(at Location) *Log {
	l := &Log{at: at, verified: map[string]time.Time{}}
	switch at.Scheme {
	case "s3":
		l.store = &s3Store{at: at, clock: &l.clock}
	case "gs":
		l.store = &gcsStore{at: at, clock: &l.clock}
	default:
		l.store = &azureStore{at: at, clock: &l.clock}
	}
	return l
}

// Clock returns the time of the store in its latest answer.
func (l *Log) Clock() jit.Clock { return l.clock.Latest() }

// key returns the name of a commit.
func (l *Log) key(chain string, number int64) string {
	return l.folder(chain) + fmt.Sprintf("%0*d", digits, number)
}

// folder returns the beginning of the names of all commits of a chain.
func (l *Log) folder(chain string) string { return path.Join(l.at.Prefix, chain, "log") + "/" }

const (
	// digits is the length of a number in the name of a commit.
	digits = 20
	// blockDigits is the length of a number within its block.
	blockDigits = 3
)

// block returns the beginning of the names in the block of numbers to which the number after a key belongs, and the
// last name of the block. Without a number in the key, it is the whole folder.
func block(folder, after string) (prefix, last string) {
	n := int64(0)
	if after != "" {
		var err error
		if n, err = numberOf(folder, after); err != nil {
			return folder, ""
		}
	}
	next := fmt.Sprintf("%0*d", digits, n+1)
	prefix = folder + next[:digits-blockDigits]
	return prefix, prefix + strings.Repeat("9", blockDigits)
}

// numberOf returns the number in the name of a commit.
func numberOf(folder, key string) (int64, error) {
	text, ok := strings.CutPrefix(key, folder)
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || len(text) != digits || n < 1 {
		return 0, fmt.Errorf("%q is not the name of a commit", path.Base(key))
	}
	return n, nil
}

// Append creates the next commit of a chain, and sets its hash. The error is [ErrTaken] if another writer was first. An
// attempt with an unknown outcome is looked up before the next: a commit with the same text is this one.
func (l *Log) Append(ctx context.Context, c *Commit) error {
	object, err := c.encode()
	if err != nil {
		return err
	}
	return l.create(ctx, l.key(c.Chain, c.Number), object)
}

// create creates an object, or finds that it has been created by an attempt of this call.
func (l *Log) create(ctx context.Context, key string, object []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 0; ; n++ {
		err := l.store.create(ctx, key, object)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return l.failed("write", errUnsure)
		case !uncertain(err) && !errors.Is(err, errDenied):
			return err
		}
		found, missing := l.store.get(ctx, key, maxObject)
		switch {
		case missing == nil && bytes.Equal(found, object):
			return nil
		case missing == nil || errors.Is(missing, errTooLarge):
			return ErrTaken
		case errors.Is(err, errDenied):
			return err
		case !uncertain(missing) && !errors.Is(missing, errAbsent):
			return missing
		}
		if backoff.Wait(ctx, n, 50*time.Millisecond, 3*time.Second) != nil {
			return l.failed("write", err)
		}
	}
}

// uncertain reports whether an object may or may not have been created.
func uncertain(err error) bool {
	for _, kind := range []error{errExists, errRacing, errBusy, errUnsure} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// failed explains an error that lasted too long.
func (l *Log) failed(doing string, err error) error {
	return &jit.Error{Attribute: "ledger", Err: err,
		Problem: fmt.Sprintf("cannot %s %s: %s", doing, l.at, err),
		Hint:    "check that the store runs and is reachable from here, then run again"}
}

// Prove refuses a store that does not honour the condition of Append: it creates the last commit once more, with the
// same text, so a store that overwrites it changes nothing. The error is [ErrRewound] if the log does not have it.
func (l *Log) Prove(ctx context.Context, chain string, number int64) error {
	key := l.key(chain, number)
	object, err := l.get(ctx, key)
	switch {
	case errors.Is(err, errAbsent):
		return ErrRewound
	case err != nil:
		return err
	}
	return retried(ctx, func(ctx context.Context) error {
		switch err := l.store.create(ctx, key, object); {
		case err == nil:
			return unconditional(l.at, "it created "+path.Base(key)+" twice")
		case errors.Is(err, errExists), errors.Is(err, errDenied): // it has just been read
			return nil
		case errors.Is(err, errRacing):
			return fmt.Errorf("%w: %w", errBusy, err)
		default:
			return err
		}
	})
}
