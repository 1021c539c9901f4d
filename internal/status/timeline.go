package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// timeline is a drawing of the windows of grants, one bar each. Widths and horizontal positions are in percent, all
// others in pixels.
type timeline struct {
	Height, Axis, BarHeight int
	Bars                    []bar
	Ticks                   []tick
	// NowX is the position of the present; 0 if it is outside the drawing.
	NowX float64
	// From and To are the times that the drawing shows.
	From, To time.Time
	// More counts the grants that are not drawn.
	More int
}

// bar is one grant.
type bar struct {
	X, Width float64
	Y        int
	// LateX and LateWidth show how long the access outlived its end; LateWidth is 0 if it did not.
	LateX, LateWidth float64
	// Label names the grant, Title describes it in full. Class is its style: "overdue", or the state.
	Label, Title, Class string
}

const (
	// maxBars caps the grants that the timeline shows.
	maxBars = 60
	// maxLabel is how many characters of a principal, or a target, are shown beside a bar.
	maxLabel = 22

	// The style sheet has the same heights of rows and axis. A row has room for a label above the bar, where the label
	// is on a narrow screen.
	rowHeight  = 30
	axisHeight = 20
	barHeight  = 12
	margin     = 4
	// minWidth is the width of the narrowest bar, in percent: two pixels on a narrow screen.
	minWidth = .8
	// punctual is how long after its end access may be removed without counting as late.
	punctual = time.Minute
)

// newTimeline draws grants between two times; a zero time is no bound. The drawing is as long as its bars need, and has
// the present if that is within the bounds. It is nil if there is nothing to draw.
func newTimeline(grants []jit.Grant, from, to, now time.Time) *timeline {
	grants = slices.DeleteFunc(slices.Clone(grants), func(g jit.Grant) bool {
		return !to.IsZero() && !g.Start.Before(to) || finish(g, now).Before(from)
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
	s := newScale(grants, from, to, now)
	t := &timeline{
		Height: axisHeight + len(grants)*rowHeight + margin, Axis: axisHeight, BarHeight: barHeight,
		Ticks: s.ticks(), More: more, From: s.from, To: s.to,
	}
	for i, g := range grants {
		t.Bars = append(t.Bars, s.bar(g, axisHeight+(i+1)*rowHeight-barHeight, now))
	}
	if now.After(s.from) && now.Before(s.to) {
		t.NowX = s.x(now)
	}
	return t
}

// bar draws a grant at a height.
func (s scale) bar(g jit.Grant, y int, now time.Time) bar {
	v := g.View(now, "")
	b := bar{X: s.x(g.Start), Y: y, Class: string(v.State)}
	if v.Outstanding {
		b.Class = "overdue"
	}
	end := s.x(g.ActualEnd())
	b.X, b.Width = room(b.X, end)
	if gone := finish(g, now); gone.After(g.ActualEnd()) {
		b.LateX, b.LateWidth = room(end, s.x(gone))
	}
	b.Label = shorten(cmp.Or(g.PrincipalName, g.Principal)) + " on " + shorten(g.Target)
	b.Title = fmt.Sprintf("%s: %s on %s of %s, from %s to %s (%s). %s", g.Principal, g.Role, g.Scope, g.Target,
		jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), left(v, now), v.Reason)
	return b
}

// shorten cuts the middle out of a long name: the beginnings of public keys are the same.
func shorten(name string) string {
	runes := []rune(name)
	if len(runes) <= maxLabel {
		return name
	}
	return string(runes[:maxLabel/2]) + "…" + string(runes[len(runes)-maxLabel/2+1:])
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
