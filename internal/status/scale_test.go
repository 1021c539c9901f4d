package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// windows returns live grants with these beginnings and ends from noon.
func windows(pairs ...time.Duration) (all []jit.Grant) {
	for i := 0; i < len(pairs); i += 2 {
		w := jit.Window{Start: noon.Add(pairs[i]), End: noon.Add(pairs[i+1])}
		all = append(all, jit.Grant{
			ID: jit.ID(fmt.Sprint("id-", i)), Window: w, GrantedAt: w.Start, EndedAt: w.End, Enforcement: jit.Native,
		})
	}
	return all
}

// From minutes to years, the ticks are round times that differ, with room for their labels, and everything is in sight.
func TestTimelineFitsWhatThereIsToSee(t *testing.T) {
	const year = 365 * days
	for want, span := range map[string]time.Duration{
		"12:00": 4 * time.Minute, "12:05": 20 * time.Minute, "12:30": 2 * time.Hour, "14:00": 5 * time.Hour,
		"18:00": 12 * time.Hour, "25 Nov": 30 * time.Hour, "26 Nov": 4 * days, "29 Nov": 10 * days, "7 Dec": 40 * days,
		"Dec": 120 * days, "2027": 400 * days, "2028": 5 * year, "2040": 80 * year,
	} {
		tl := newTimeline(windows(-span/10, -span/20, 0, span), time.Time{}, time.Time{}, noon)
		labels := labelsWithRoom(t, tl)
		if all := strings.Join(labels, ", "); len(labels) < 2 || len(labels) > maxTicks+1 ||
			!strings.Contains(all, want) {
			t.Errorf("%s has the labels %s, want %s among them", span, all, want)
		}
		end := tl.Bars[1].X + tl.Bars[1].Width
		if tl.NowX < 8 || tl.NowX > 20 || tl.Bars[0].X <= 0 || end < 90 || end > 99 {
			t.Errorf("%s: now is at %v, the bars are %+v", span, tl.NowX, tl.Bars)
		}
	}
}

// labelsWithRoom returns the labels of a drawing, and fails the test if two of them overlap or one is cut off.
func labelsWithRoom(t *testing.T, tl *timeline) (labels []string) {
	t.Helper()
	last, lastNarrow := -100., -100.
	for _, tick := range tl.Ticks {
		if tick.Label == "" {
			continue
		}
		labels = append(labels, tick.Label)
		if tick.X-last < 8 || !tick.Spare && tick.X-lastNarrow < 16 || tick.X < 8 || tick.X > 92 {
			t.Errorf(
				"the label %s at %v overlaps that at %v or %v, or is cut off",
				tick.Label,
				tick.X,
				last,
				lastNarrow,
			)
		}
		if last = tick.X; !tick.Spare {
			lastNarrow = tick.X
		}
	}
	return labels
}

// A grant of five minutes is visible beside one of thirty days, and does not leave the drawing.
func TestTimelineShowsShortGrants(t *testing.T) {
	grants := windows(-15*days, 15*days, 0, 5*time.Minute, 15*days, 15*days+5*time.Minute)
	tl := newTimeline(grants, time.Time{}, noon.Add(15*days+5*time.Minute), noon)
	for _, b := range tl.Bars {
		if b.Width < .7 || b.X < 0 || b.X+b.Width > 100.001 {
			t.Errorf("the bar %+v", b)
		}
	}
}

// The timeline of a report stays within its period, and shows no more of it than there is to see.
func TestTimelineOfAPeriod(t *testing.T) {
	from, to := noon.Add(-30*days), noon.Add(-days)
	tl := newTimeline(windows(-40*days, -20*days, -19*days, -18*days), from, to, noon)
	if !tl.From.Equal(from) || tl.To.Before(noon.Add(-18*days)) || tl.To.After(noon.Add(-17*days)) || tl.NowX != 0 {
		t.Errorf("%s to %s, now at %v", tl.From, tl.To, tl.NowX)
	}
	if tl := newTimeline(windows(-2*days, 5*days), from, to, noon); !tl.To.Equal(to) {
		t.Errorf("a grant that lasts longer is drawn until %s", tl.To)
	}
	if newTimeline(windows(-40*days, -35*days), from, to, noon) != nil {
		t.Error("a grant before the period is drawn")
	}
}
