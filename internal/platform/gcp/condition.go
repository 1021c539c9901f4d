package gcp

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// condition is the condition of a binding, as the service sends it.
type condition struct {
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Expression  string `json:"expression,omitempty"`
	Location    string `json:"location,omitempty"`
}

// tolerance is how far ahead a beginning may lie that a condition omits. The machine that wrote the condition omits a
// beginning that is past, and two machines whose clocks are accepted differ by at most this.
const tolerance = 2 * jit.MaxSkew

// limits is what one of our conditions allows: from start (zero: at once) until end, and the user's own condition.
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

// parseExpression reads only what [limits.expression] wrote. The end of anything else is unknown.
func parseExpression(s string) (limits, bool) {
	l, ok := readLimits(s)
	return l, ok && l.closed()
}

// readLimits is parseExpression, but takes the user's condition as it is. Parsing that costs most: first see whether
// the answer depends on it.
func readLimits(s string) (l limits, ok bool) {
	m := expressionForm.FindStringSubmatch(s)
	if m == nil {
		return limits{}, false
	}
	var begins, ends error
	if m[1] != "" {
		l.start, begins = time.Parse(time.RFC3339, m[1])
	}
	l.end, ends = time.Parse(time.RFC3339, m[2])
	l.when = m[3]
	return l, begins == nil && ends == nil && l.expression() == s
}

// closed reports whether the user's condition stays within its parentheses, unlike "a) || (b".
func (l limits) closed() bool {
	if l.when == "" {
		return true
	}
	_, err := countOperators(l.when)
	return err == nil
}

// A condition holds the marker of a grant twice: title and description hold owner and id, and the description the
// window too. They fit the 100 and 256 bytes that are known to be accepted.
const titlePrefix = "jit:"

func titleOf(m jit.Marker) string { return titlePrefix + m.Owner + ":" + string(m.ID) }

// newCondition is the condition of a grant that is written at now by this machine's clock. It omits a beginning that
// has come, so a service whose clock is behind does not delay the access.
func newCondition(m jit.Marker, r role, now time.Time) *condition {
	l := limits{end: m.Window.End, when: r.when}
	if m.Window.Start.After(now) {
		l.start = m.Window.Start
	}
	return &condition{Title: titleOf(m), Description: m.String(), Expression: l.expression()}
}

// markerOf returns the marker in a condition; ok is false if it is not ours. The description counts. If it was changed,
// title and expression count, and a window that is unknown then lies in the distant past, so nothing outlives it.
func markerOf(c *condition) (m jit.Marker, ok bool) {
	if c == nil {
		return jit.Marker{}, false
	}
	if m, ok := jit.ParseMarker(c.Description); ok {
		return m, true
	}
	// Writing a marker with the title's owner and id, and reading it back, checks them.
	owner, id, _ := strings.Cut(strings.TrimPrefix(c.Title, titlePrefix), ":")
	window := jit.Window{Start: time.Unix(0, 0), End: time.Unix(0, 0)}
	m, ok = jit.ParseMarker(jit.Marker{Owner: owner, ID: jit.ID(id), Window: window}.String())
	if !ok || titleOf(m) != c.Title {
		return jit.Marker{}, false
	}
	if l, ok := parseExpression(c.Expression); ok {
		m.Window.End = l.end
	}
	return m, true
}

// damageOf describes how one of our bindings, read at now, differs from what we wrote, apart from its end.
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
	if damage := damageOfStart(b, now); damage != "" {
		found = append(found, damage)
	}
	for i, member := range b.Members {
		if !slices.ContainsFunc(b.marks, func(m mark) bool { return m.member == i }) {
			found = append(found, fmt.Sprintf("%q has the access too", member))
		}
	}
	return found
}

// damageOfStart describes how the beginning of one of our bindings differs from what we wrote; empty if it does not.
func damageOfStart(b binding, now time.Time) string {
	start := b.marks[0].Window.Start
	l, ok := parseExpression(b.Condition.Expression)
	switch {
	case !ok:
		return fmt.Sprintf("the condition was changed to %q", b.Condition.Expression)
	case !l.start.IsZero() && (b.shared() || !l.start.Equal(start)):
		return "the beginning was moved to " + jit.FormatTime(l.start)
	case l.start.IsZero() && start.After(now.Add(tolerance)):
		return "the beginning is gone"
	}
	return ""
}
