package status

import (
	"math"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// scale maps the times of a drawing to its width.
type scale struct{ from, to time.Time }

// newScale returns the scale that shows the grants in full, within the bounds, with a little room at both ends.
func newScale(grants []jit.Grant, from, to, now time.Time) scale {
	s := scale{now, now}
	if !to.IsZero() && now.After(to) {
		s = scale{to, from} // a past period: its bars alone
	}
	for _, g := range grants {
		if g.Start.Before(s.from) {
			s.from = g.Start
		}
		for _, end := range []time.Time{g.End, finish(g, now)} {
			if end.After(s.to) {
				s.to = end
			}
		}
	}
	const parts, least = 25, 10 * time.Second
	room := max(s.to.Sub(s.from)/parts, least)
	s.from, s.to = s.from.Add(-room), s.to.Add(room)
	if s.from.Before(from) {
		s.from = from
	}
	if !to.IsZero() && s.to.After(to) {
		s.to = to
	}
	return s
}

// x returns the position of a time in percent.
func (s scale) x(at time.Time) float64 {
	part := float64(at.Sub(s.from)) / float64(s.to.Sub(s.from))
	return math.Round(min(max(part, 0), 1)*10_000) / 100
}

// room returns a bar between two positions that is wide enough to be seen and does not leave the drawing.
func room(from, to float64) (x, width float64) {
	width = max(minWidth, math.Round((to-from)*100)/100)
	return min(from, 100-width), width
}

// tick is a mark of the time axis.
type tick struct {
	X float64
	// Label is empty near the edges, where it would be cut off.
	Label string
	// Spare ticks have no label on a narrow screen.
	Spare bool
}

const (
	// maxTicks is how many parts the ticks make at most. Every second label has room for 60 pixels on a narrow screen.
	maxTicks = 9
	// edge is how close to the edges a label can be, in percent.
	edge = 8

	oneDay = 24 * time.Hour
)

// steps are the distances between ticks of less than a month, and monthSteps those of months. Weeks begin on Mondays.
var (
	steps = []time.Duration{
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
		2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, oneDay, 2 * oneDay, 7 * oneDay, 14 * oneDay,
	}
	monthSteps = []int{1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200}
)

// ticks marks round times in UTC, a few of them whatever the length of the drawing.
func (s scale) ticks() (ticks []tick) {
	labels := 0
	for at, next := s.rounds(); at.Before(s.to); at = next(at) {
		t := tick{X: s.x(at)}
		if t.X >= edge && t.X <= 100-edge {
			t.Label, t.Spare = label(at, next(at)), labels%2 == 1
			labels++
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// rounds returns the first round time of the drawing, and how to find the next.
func (s scale) rounds() (first time.Time, next func(time.Time) time.Time) {
	length := s.to.Sub(s.from)
	for _, step := range steps {
		if length/step < maxTicks {
			first = s.from.UTC().Truncate(step)
			next = func(at time.Time) time.Time { return at.Add(step) }
			return inside(first, s.from, next), next
		}
	}
	months := monthSteps[len(monthSteps)-1]
	for i := len(monthSteps) - 1; i >= 0 && length/(30*oneDay*time.Duration(monthSteps[i])) < maxTicks; i-- {
		months = monthSteps[i]
	}
	next = func(at time.Time) time.Time { return at.AddDate(0, months, 0) }
	from := s.from.UTC()
	month := from.Year()*12 + int(from.Month()) - 1
	first = time.Date(0, time.Month(month-month%months+1), 1, 0, 0, 0, 0, time.UTC)
	return inside(first, s.from, next), next
}

// inside returns a round time that is not before the beginning.
func inside(at, from time.Time, next func(time.Time) time.Time) time.Time {
	if at.Before(from) {
		return next(at)
	}
	return at
}

// label names a tick by what sets it apart from the ticks around it: its time, its day, its month or its year.
func label(at, next time.Time) string {
	days := next.Sub(at) / oneDay
	switch {
	case days >= 28 && at.Month() == time.January:
		return at.Format("2006")
	case days >= 28:
		return at.Format("Jan")
	case days > 0 || at.Equal(at.Truncate(oneDay)):
		return at.Format("2 Jan")
	}
	return at.Format("15:04")
}
