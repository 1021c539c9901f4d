package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// timeline is a drawing of the windows of grants, one bar each. Lengths are in units of the drawing.
type timeline struct {
	Width, Height, Axis int
	Bars                []bar
	Ticks               []tick
	// NowX is the position of the present; 0 if it is outside the drawing.
	NowX int
	// More counts the grants that are not drawn.
	More int
}

// bar is one grant.
type bar struct {
	X, Y, Width, TextY int
	// LateX and LateWidth show how long the access outlived its end; LateWidth is 0 if it did not.
	LateX, LateWidth int
	// Label names the grant, Title describes it in full. Class is its style: "overdue", or the state.
	Label, Title, Class string
}

// tick is a mark of the time axis.
type tick struct {
	X     int
	Label string
}

const (
	// maxBars caps the grants that the timeline shows.
	maxBars = 60

	drawingWidth = 960
	labelWidth   = 250
	rowHeight    = 24
	axisHeight   = 28
	barHeight    = 14
	margin       = 10
	maxLabel     = 34
	// tickWidth is half the width of a tick's label.
	tickWidth = 20
	// punctual is how long after its end access may be removed without counting as late.
	punctual = time.Minute
)

// scale maps the times of a drawing to its width.
type scale struct{ from, to time.Time }

func (s scale) x(at time.Time) int {
	part := float64(at.Sub(s.from)) / float64(s.to.Sub(s.from))
	return labelWidth + int(min(max(part, 0), 1)*(drawingWidth-labelWidth-margin))
}

// newTimeline draws grants between two times. It returns nil if there is nothing to draw.
func newTimeline(grants []jit.Grant, from, to, now time.Time) *timeline {
	grants = slices.DeleteFunc(slices.Clone(grants), func(g jit.Grant) bool {
		return !g.Start.Before(to) || finish(g, now).Before(from)
	})
	if len(grants) == 0 {
		return nil
	}
	slices.SortFunc(grants, func(a, b jit.Grant) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), a.Start.Compare(b.Start), a.End.Compare(b.End),
			cmp.Compare(a.ID, b.ID))
	})
	more := max(0, len(grants)-maxBars)
	grants = grants[:len(grants)-more]
	s := scale{from, to}
	t := &timeline{
		Width: drawingWidth, Height: axisHeight + len(grants)*rowHeight + margin, Axis: axisHeight - margin,
		Ticks: s.ticks(), More: more,
	}
	for i, g := range grants {
		t.Bars = append(t.Bars, s.bar(g, axisHeight+i*rowHeight+(rowHeight-barHeight)/2, now))
	}
	if now.After(from) && now.Before(to) {
		t.NowX = s.x(now)
	}
	return t
}

// bar draws a grant at a height.
func (s scale) bar(g jit.Grant, y int, now time.Time) bar {
	v := g.View(now, "")
	b := bar{X: s.x(g.Start), Y: y, TextY: y + barHeight - 3, Class: string(v.State)}
	if v.Outstanding {
		b.Class = "overdue"
	}
	end := s.x(g.ActualEnd())
	b.Width = max(2, end-b.X)
	if gone := finish(g, now); gone.After(g.ActualEnd()) {
		b.LateX, b.LateWidth = end, max(2, s.x(gone)-end)
	}
	b.Label = g.Principal + " on " + g.Target
	if runes := []rune(b.Label); len(runes) > maxLabel {
		b.Label = string(runes[:maxLabel-1]) + "…"
	}
	b.Title = fmt.Sprintf("%s: %s on %s of %s, from %s to %s (%s). %s", g.Principal, g.Role, g.Scope, g.Target,
		jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), left(v, now), v.Reason)
	return b
}

// ticks divides the drawing into at most twelve parts, unless it is longer than a year.
func (s scale) ticks() (ticks []tick) {
	const hour, day = time.Hour, 24 * time.Hour
	step := 30 * day
	for _, shorter := range []time.Duration{7 * day, day, 12 * hour, 6 * hour, 3 * hour, hour} {
		if s.to.Sub(s.from)/shorter <= 12 {
			step = shorter
		}
	}
	layout := "15:04"
	if step >= day {
		layout = "2 Jan"
	}
	for at := s.from.UTC().Truncate(step).Add(step); at.Before(s.to); at = at.Add(step) {
		if x := s.x(at); x <= drawingWidth-tickWidth {
			ticks = append(ticks, tick{x, at.Format(layout)})
		}
	}
	return ticks
}

// finish returns when the access was gone; now if that is not confirmed.
func finish(g jit.Grant, now time.Time) time.Time {
	switch {
	case g.Outstanding(now):
		return now
	case late(g):
		return g.AccessEnd()
	}
	return g.ActualEnd()
}

// late reports whether access outlived its end.
func late(g jit.Grant) bool {
	return !g.GrantedAt.IsZero() && !g.EndedAt.IsZero() && g.AccessEnd().Sub(g.ActualEnd()) > punctual
}
