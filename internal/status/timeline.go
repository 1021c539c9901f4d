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
	Width, Height, Left, Right, Top, Axis int
	Bars                                  []bar
	Ticks                                 []tick
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
	// Label names the grant, Title describes it in full, Class is its style: live, ended, revoked, waiting or overdue.
	Label, Title, Class string
}

// tick is a mark of the time axis.
type tick struct {
	X     int
	Label string
}

const (
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

// newTimeline draws grants between two times; nil when there is nothing to draw.
func newTimeline(grants []jit.Grant, from, to, now time.Time) *timeline {
	grants = slices.DeleteFunc(slices.Clone(grants), func(g jit.Grant) bool {
		return !g.Start.Before(to) || finish(g, now).Before(from)
	})
	if len(grants) == 0 {
		return nil
	}
	slices.SortFunc(grants, func(a, b jit.Grant) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), a.Start.Compare(b.Start), a.End.Compare(b.End), cmp.Compare(a.ID, b.ID))
	})
	t := &timeline{Width: drawingWidth, Left: labelWidth, Right: drawingWidth - margin, Top: axisHeight, More: max(0, len(grants)-maxBars)}
	grants = grants[:len(grants)-t.More]
	t.Height = axisHeight + len(grants)*rowHeight + margin
	t.Axis = axisHeight - margin
	x := func(at time.Time) int {
		if at.Before(from) {
			at = from
		}
		if at.After(to) {
			at = to
		}
		return labelWidth + int(float64(at.Sub(from))/float64(to.Sub(from))*float64(drawingWidth-labelWidth-margin))
	}
	for i, g := range grants {
		b := bar{
			X: x(g.Start), Y: axisHeight + i*rowHeight + (rowHeight-barHeight)/2,
			Label: shorten(g.Principal + " on " + g.Target), Class: class(g, now),
		}
		b.TextY = b.Y + barHeight - 3
		b.Width = max(2, x(g.ActualEnd())-b.X)
		if end := finish(g, now); end.After(g.ActualEnd()) {
			b.LateX = x(g.ActualEnd())
			b.LateWidth = max(2, x(end)-b.LateX)
		}
		b.Title = fmt.Sprintf("%s: %s on %s of %s, from %s to %s (%s). %s", g.Principal, g.Role, g.Scope, g.Target,
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), left(g, now), g.ReasonText())
		t.Bars = append(t.Bars, b)
	}
	if now.After(from) && now.Before(to) {
		t.NowX = x(now)
	}
	step := tickStep(to.Sub(from))
	for at := from.UTC().Truncate(step).Add(step); at.Before(to); at = at.Add(step) {
		layout := "15:04"
		if step >= 24*time.Hour {
			layout = "2 Jan"
		}
		if x(at) <= drawingWidth-tickWidth {
			t.Ticks = append(t.Ticks, tick{x(at), at.Format(layout)})
		}
	}
	return t
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

// late reports whether access outlived its end until it was removed.
func late(g jit.Grant) bool {
	return !g.GrantedAt.IsZero() && !g.EndedAt.IsZero() && g.AccessEnd().Sub(g.ActualEnd()) > punctual
}

// tickStep returns the time between two ticks.
func tickStep(span time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		if span/step <= 12 {
			return step
		}
	}
	return 30 * 24 * time.Hour
}

func class(g jit.Grant, now time.Time) string {
	switch {
	case g.Outstanding(now):
		return "overdue"
	case !g.RevokedAt.IsZero():
		return "revoked"
	case g.Over(now):
		return "ended"
	case now.Before(g.Start) || g.GrantedAt.IsZero():
		return "waiting"
	}
	return "live"
}

func shorten(s string) string {
	if runes := []rune(s); len(runes) > maxLabel {
		return string(runes[:maxLabel-1]) + "…"
	}
	return s
}
