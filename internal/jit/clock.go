package jit

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// MaxSkew is how far another clock may be from ours before a grant is refused.
const MaxSkew = 30 * time.Second

// CheckSkew compares our clock with that of a platform or a ledger. It accepts a zero remote time, from one that gives
// none.
func CheckSkew(local, remote time.Time) error {
	if remote.IsZero() {
		return nil
	}
	if d := local.Sub(remote).Abs(); d > MaxSkew {
		return &Error{
			Problem: fmt.Sprintf("this machine says %s and the other clock says %s, %s apart; "+
				"at most %s is allowed, or the end of a grant would be wrong",
				local.UTC().Format(time.RFC3339), remote.UTC().Format(time.RFC3339), d.Round(time.Second), MaxSkew),
			Hint: "synchronise the clock that is wrong (NTP) and run again",
			Err:  ErrSkew,
		}
	}
	return nil
}

// CheckNotBefore compares our clock with the time of the newest event of a ledger that has no clock of its own.
func CheckNotBefore(local, newest time.Time) error {
	if !local.Add(MaxSkew).Before(newest) {
		return nil
	}
	return &Error{
		Problem: fmt.Sprintf("this machine says %s and the newest event of the ledger is of %s, which is %s later",
			local.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339), newest.Sub(local).Round(time.Second)),
		Hint: "synchronise the clock of this machine (NTP) and run again; if it is right, a machine whose clock was ahead " +
			"wrote that event: correct that clock, and accept the ledger: jit ledger accept --reason TEXT",
		Err: ErrSkew,
	}
}

// ClockAfter returns what another clock shows at our time after, if it showed clock at some time between before and
// after; zero if it tells no time. A clock that may agree with ours agrees.
func ClockAfter(clock, before, after time.Time) time.Time {
	before, after = before.Round(0), after.Round(0) // without their monotonic readings
	switch {
	case clock.IsZero():
	case clock.Before(before):
		clock = after.Add(clock.Sub(before))
	case !clock.After(after):
		clock = after
	}
	return clock
}

// EarlierTime returns the earlier of our time and another clock's if the two disagree, else ours; skew says how they
// do.
func EarlierTime(now, remote time.Time) (earlier time.Time, skew error) {
	if skew = CheckSkew(now, remote); skew != nil && remote.Before(now) {
		now = remote
	}
	return now, skew
}

// Clock is the time that a server gave in an answer, and the time of this machine when the answer arrived. Remote is
// zero if the server gave none.
type Clock struct{ Remote, Local time.Time }

// ReadClock reads the Date of an HTTP answer that arrived at local.
func ReadClock(answer http.Header, local time.Time) Clock {
	date, err := http.ParseTime(answer.Get("Date"))
	if err != nil {
		return Clock{Local: local}
	}
	return Clock{date.UTC(), local}
}

// Skew is [CheckSkew] of the two times.
func (c Clock) Skew() error { return CheckSkew(c.Local, c.Remote) }

// ServerClock keeps the latest time that a server gave. It is safe for concurrent use; its zero value knows none.
type ServerClock struct{ latest atomic.Pointer[Clock] }

// Read keeps the Date of an HTTP answer that arrived at local, if it has one.
func (s *ServerClock) Read(answer http.Header, local time.Time) {
	if c := ReadClock(answer, local); !c.Remote.IsZero() {
		s.latest.Store(&c)
	}
}

// Latest returns what [ServerClock.Read] kept last; the zero value if nothing.
func (s *ServerClock) Latest() Clock {
	if c := s.latest.Load(); c != nil {
		return *c
	}
	return Clock{}
}
