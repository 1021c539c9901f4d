package sweeper

import (
	"errors"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// State is a [Watcher]'s knowledge at one moment.
type State struct {
	// Started is when it began to watch, and LastPoll when it last asked the ledger for due work, successfully or not.
	Started, LastPoll time.Time
	// Due is the last complete pass over due work.
	Due Passed
	// Drift is the last complete drift pass of each target. It is zero if there was none or if another watcher looks
	// for drift there now; that watcher then has had time to find what this one had found.
	Drift map[string]Passed
	// Stuck are grants whose end or start failed and is retried, the longest overdue first, and not more than a person
	// can read. A grant whose access has ended is not listed. StuckOn counts all of them by target.
	Stuck   []Stuck
	StuckOn map[string]int
	// Found are the results of the last drift pass of every scope that could be read.
	Found []Result
	// Unread are the targets and scopes that could not be read when that was last tried.
	Unread []Unread
	// LedgerError is the error of the last call to the ledger for due work; nil if it answered.
	LedgerError error
	// ClockError says how the ledger server's clock disagreed with this machine's at the last claim; nil if it did not.
	ClockError error
	// Behind says that the ledger has gone back in time; nil if it has not.
	Behind error
}

// Passed is one complete pass.
type Passed struct {
	// At is when it began; zero before the first.
	At   time.Time
	Took time.Duration
	// Steps counts what was carried out or put into lanes, Failed what could not be carried out, and Held the removals
	// that the cap held back.
	Steps, Failed, Held int
}

// add counts results. Foreign bindings are not counted as steps.
func (p *Passed) add(results []Result) {
	for _, r := range results {
		if !r.Foreign {
			p.Steps++
		}
		if r.Failed() {
			p.Failed++
		}
		if errors.Is(r.Err, ErrHeld) {
			p.Held++
		}
	}
}

// Stuck is a grant that could not be ended, or started, so far.
type Stuck struct {
	Grant jit.Grant
	// Since is when it came due.
	Since time.Time
	// Attempts counts the failures, and Next is when it is tried again.
	Attempts int
	Next     time.Time
	Err      error
}

// Unread is a place that could not be read.
type Unread struct {
	// Place has no scope if the scopes of the target could not be listed.
	jit.Place
	Since time.Time
	// Err names the place.
	Err error
}

// Observer receives the actions of a [Watcher] as they happen. It must be quick and safe for concurrent use.
type Observer interface {
	// Stepped receives every step that was carried out or failed. For an end or start that the ledger listed as due and
	// that was carried out, lag is the time from when it was due to when the platform had confirmed it. For everything
	// else, also for ends found by drift or by markers alone, lag is negative.
	Stepped(r Result, lag time.Duration)
	// Passed receives every complete pass; kind is "due" or "drift".
	Passed(kind string, p Passed)
}
