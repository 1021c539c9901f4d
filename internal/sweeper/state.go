package sweeper

import (
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// State is what a [Watcher] tells of itself at one moment.
type State struct {
	// Started is when it began to watch, Looked when it last looked whether something is due, with or without success.
	Started, Looked time.Time
	// Due is the last complete pass over what is due.
	Due Passed
	// Drift is the last complete drift pass of every target; zero where there was none, or another watcher looks now. What was seen
	// there is forgotten then, but not before the other one has had the time to see it.
	Drift map[string]Passed
	// Stuck are grants whose end or start failed and is tried again, but for those whose access has ended, those that are due for longest first, and not more of them than a
	// reader can take in. StuckOn counts all of them by target.
	Stuck   []Stuck
	StuckOn map[string]int
	// Found are the steps of the last drift pass of every scope that was read, with what came of each.
	Found []Result
	// Unread are the targets and scopes that could not be read when they were last looked at.
	Unread []Unread
	// LedgerError is the error of the last look at the ledger; nil when it answered.
	LedgerError error
	// ClockError says how the clock of the ledger's server disagreed with ours when something was due last; nil when it did not.
	ClockError error
}

// Passed is one complete pass.
type Passed struct {
	// At is when it began; zero before the first.
	At   time.Time
	Took time.Duration
	// Steps counts what was done or handed out, Failed what could not be done, and Held the removals that the cap kept from being done.
	Steps, Failed, Held int
}

// Stuck is a grant that could not be ended, or started, so far.
type Stuck struct {
	Grant jit.Grant
	// Since is when it came due.
	Since time.Time
	// Attempts counts the failures, Next is when it is tried again.
	Attempts int
	Next     time.Time
	Err      error
}

// Unread is what could not be read.
type Unread struct {
	// Place has an empty scope where the scopes of the target could not be listed.
	jit.Place
	Since time.Time
	// Err names the place.
	Err error
}

// Observer is told what a [Watcher] does, as it happens; it must be quick and safe for concurrent use.
type Observer interface {
	// Stepped is told of every step that was done or failed. For an end and a start that were done, lag is the time from when it
	// was due to when the platform had confirmed it; for everything else it is negative.
	Stepped(r Result, lag time.Duration)
	// Passed is told of every complete pass: kind is "due" or "drift".
	Passed(kind string, p Passed)
}
