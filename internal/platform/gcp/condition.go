package gcp

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// condition is the condition of a binding, as the service has it.
type condition struct {
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Expression  string `json:"expression,omitempty"`
	Location    string `json:"location,omitempty"`
}

// tolerance is how far ahead a beginning may lie that a condition leaves out: it had come by the clock of the machine that
// wrote it, and two machines whose clocks are accepted are at most so far apart.
const tolerance = 2 * jit.MaxSkew

// limits is what a condition of ours allows: from start (zero: at once) until end, and the user's own part.
type limits struct {
	start, end time.Time
	when       string
}

// expression writes the limits as CEL.
func (l limits) expression() string {
	s := fmt.Sprintf(`request.time < timestamp("%s")`, jit.FormatTime(l.end))
	if !l.start.IsZero() {
		s = fmt.Sprintf(`request.time >= timestamp("%s") && %s`, jit.FormatTime(l.start), s)
	}
	if l.when != "" {
		s += " && (" + l.when + ")"
	}
	return s
}

var expressionForm = regexp.MustCompile(`^(?:request\.time >= timestamp\("([^"]*)"\) && )?request\.time < timestamp\("([^"]*)"\)(?: && \((.*)\))?$`)

// parseExpression reads what [limits.expression] wrote, and only that: of anything else it cannot be said when it ends.
func parseExpression(s string) (limits, bool) {
	m := expressionForm.FindStringSubmatch(s)
	if m == nil {
		return limits{}, false
	}
	var l limits
	var err error
	if l.end, err = time.Parse(time.RFC3339, m[2]); err != nil {
		return limits{}, false
	}
	if m[1] != "" {
		if l.start, err = time.Parse(time.RFC3339, m[1]); err != nil {
			return limits{}, false
		}
	}
	if l.when = m[3]; l.when != "" {
		if _, err := countOperators(l.when); err != nil {
			return limits{}, false // such as "a) || (b", which breaks out of the parentheses
		}
	}
	return l, l.expression() == s
}

// The marker of a grant stands in the condition twice: title and description say whose the binding is and
// which grant's, the description the window too. Both are within the 100 and 256 bytes that are known to fit.
const titlePrefix = "jit:"

func titleOf(m jit.Marker) string { return titlePrefix + m.Owner + ":" + string(m.ID) }

// newCondition is the condition of a grant's binding, written at now by the clock of this machine, which says when a
// grant begins: what begins now has no beginning in it, or a service whose clock is behind would hold it up.
func newCondition(m jit.Marker, r role, now time.Time) *condition {
	l := limits{end: m.Window.End, when: r.when}
	if m.Window.Start.After(now) {
		l.start = m.Window.Start
	}
	return &condition{Title: titleOf(m), Description: m.String(), Expression: l.expression()}
}

// markerOf returns the marker that a condition bears; ok is false when it is not ours. The description counts;
// where it is not as it was written, the title and the end of the expression: what is not known of the
// window is then long past, so that nothing lives on unknown.
func markerOf(c *condition) (m jit.Marker, ok bool) {
	if c == nil {
		return jit.Marker{}, false
	}
	if m, ok := jit.ParseMarker(c.Description); ok {
		return m, true
	}
	window := jit.Window{Start: time.Unix(0, 0), End: time.Unix(0, 0)}
	if l, ok := parseExpression(c.Expression); ok {
		window.End = l.end
	}
	// The id is checked by writing the marker that the title would be of and reading it back.
	owner, id, _ := strings.Cut(strings.TrimPrefix(c.Title, titlePrefix), ":")
	m, ok = jit.ParseMarker(jit.Marker{Owner: owner, ID: jit.ID(id), Window: window}.String())
	return m, ok && titleOf(m) == c.Title
}

// damageOf says what of a binding of ours, read at now, is not as it was written, beyond the end.
func damageOf(b binding, now time.Time) []string {
	c, m := b.Condition, b.marks[0].Marker
	title, description := titleOf(m), m.String()
	if b.shared() {
		title, description = titlePrefix+m.Owner+":"+sharedTitle, c.Description
	}
	var found []string
	if c.Title != title {
		found = append(found, fmt.Sprintf("the title was changed to %q", c.Title))
	}
	if c.Description != description {
		found = append(found, fmt.Sprintf("the description was changed to %q", c.Description))
	}
	if c.Location != "" {
		found = append(found, fmt.Sprintf("the location was changed to %q", c.Location))
	}
	l, ok := parseExpression(c.Expression)
	switch {
	case !ok:
		found = append(found, fmt.Sprintf("the condition was changed to %q", c.Expression))
	case !l.start.IsZero() && (b.shared() || !l.start.Equal(m.Window.Start)):
		found = append(found, "the beginning was moved to "+jit.FormatTime(l.start))
	case l.start.IsZero() && m.Window.Start.After(now.Add(tolerance)):
		found = append(found, "the beginning is gone")
	}
	for i, member := range b.Members {
		if !slices.ContainsFunc(b.marks, func(m mark) bool { return m.member == i }) {
			found = append(found, fmt.Sprintf("%q has the access too", member))
		}
	}
	return found
}
