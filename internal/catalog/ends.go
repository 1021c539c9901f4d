package catalog

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// horizon is how far away an end may be. An end beyond it counts as none: keys are rotated and access is recertified
// once a year or more often, so access for longer than a year outlives every such check, as standing access does.
const horizon = 366 * 24 * time.Hour

// ending is an attribute that holds an end. Its kind says how to read it: empty for a point in time; a unit for the
// number of these that access lasts; duration for a text such as 720h, 30d or P30D; cel for an IAM condition of Google.
type ending struct {
	where composite
	kind  string
}

// ends are the attributes that hold an end. The first that is set counts.
type ends []ending

// units are the lengths that an end can be counted in.
var units = map[string]time.Duration{"seconds": time.Second, "minutes": time.Minute, "hours": time.Hour,
	"days": 24 * time.Hour, "months": 31 * 24 * time.Hour, "years": 366 * 24 * time.Hour}

func parseEnding(s string) (ending, error) {
	where, kind, _ := strings.Cut(s, " ")
	c, err := parseComposite(where)
	return ending{c, kind}, err
}

// UnmarshalJSON reads a text or a list of texts.
func (e *ends) UnmarshalJSON(raw []byte) error {
	var list texts
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, s := range list {
		end, err := parseEnding(s)
		if err != nil {
			return err
		}
		if _, unit := units[end.kind]; !unit && end.kind != "" && end.kind != "duration" && end.kind != "cel" {
			return fmt.Errorf("ends %q: %q is no kind of end", s, end.kind)
		}
		*e = append(*e, end)
	}
	return nil
}

// bound is how access ends.
type bound struct {
	class Class
	end   Value
	why   string
}

// bound judges the ends of a rule. An end that is set comes before one that is unknown, since either bounds the access.
func (r *rule) bound(now time.Time, in context) bound {
	if r.Guard != "" {
		return bound{class: Guard, why: r.Guard}
	}
	if r.Opaque != "" {
		return bound{class: Opaque, why: r.Opaque}
	}
	var names []string
	var unclear *bound
	for _, end := range r.Ends {
		value, missing := end.where.value(in)
		name := end.where.String()
		names = append(names, name)
		if end.where.several(in) {
			return bound{class: Opaque, why: name + " stands in several places"}
		}
		if missing || value == (Value{}) {
			continue
		}
		b := end.judge(now, name, value)
		switch {
		case b.class == Bounded:
			return b
		case unclear == nil || unclear.class == Standing:
			unclear = &b
		}
	}
	switch {
	case unclear != nil:
		return *unclear
	case r.Why != "":
		return bound{class: Standing, why: r.Why}
	case len(names) > 0:
		return bound{class: Standing, why: strings.Join(names, " or ") + " is not set"}
	}
	return bound{class: Standing, why: "the type has no end of its own"}
}

// String returns the composite as the data file names it.
func (c composite) String() string {
	var parts []string
	for _, p := range c {
		parts = append(parts, strings.Trim(p.text, ".~"))
	}
	return strings.Join(parts, "/")
}

// several says that lists on the way to the composite have more than one element. Then no end ends every way in.
func (c composite) several(in context) bool {
	for _, p := range c {
		if len(p.node(in).leaves(p.steps)) > 1 {
			return true
		}
	}
	return false
}

// judge reads an end that is set.
func (e ending) judge(now time.Time, name string, value Value) bound {
	switch {
	case value.Unknown:
		return bound{class: Opaque, end: value, why: name + " is known after the apply only"}
	case value.Sensitive:
		return bound{class: Opaque, end: value, why: name + " is sensitive"}
	case e.kind == "cel":
		at, ok := conditionEnd(value.Text)
		if !ok {
			return bound{class: Standing, why: name + " does not end every way in at a time"}
		}
		return until(now, name, at)
	case e.kind == "":
		return judgeTime(now, name, value)
	}
	length, err := e.length(value.Text)
	switch {
	case isNever(value.Text):
		return bound{class: Standing, why: name + " is " + value.Text}
	case err != nil:
		return bound{class: Opaque, end: value, why: name + " cannot be read as a length of time"}
	case length <= 0:
		return bound{class: Standing, why: name + " is " + value.Text + ", which is no end"}
	case length > horizon:
		return bound{class: Standing, why: name + " is longer than a year"}
	}
	short := strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(length.String())
	return bound{class: Bounded, end: Value{Text: short}, why: name + " is set"}
}

// isNever says that a text means no end at all.
func isNever(text string) bool {
	return slices.Contains([]string{"0", "forever", "infinity", "never", "none", "unlimited"}, strings.ToLower(text))
}

func judgeTime(now time.Time, name string, value Value) bound {
	if isNever(value.Text) {
		return bound{class: Standing, why: name + " is " + value.Text}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04:05Z07",
		"2006-01-02 15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout, value.Text); err == nil {
			return until(now, name, at)
		}
	}
	return bound{class: Opaque, end: value, why: name + " cannot be read as a time"}
}

// until is access that ends at a time.
func until(now time.Time, name string, at time.Time) bound {
	if at.Sub(now) > horizon {
		return bound{class: Standing, why: name + " is more than a year away"}
	}
	return bound{class: Bounded, end: Value{Text: at.UTC().Format(time.RFC3339)}, why: name + " is set"}
}

// isoForm is a duration of ISO 8601.
var isoForm = regexp.MustCompile(`^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?` +
	`(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$`)

// length reads a length of time. It is at most a little more than the horizon, so that nothing overflows.
func (e ending) length(s string) (time.Duration, error) {
	if unit, ok := units[e.kind]; ok {
		n, err := strconv.ParseFloat(s, 64)
		return clamp(n, unit), err
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return clamp(n, time.Second), nil
	}
	if parts := isoForm.FindStringSubmatch(s); parts != nil {
		var sum time.Duration
		for i, unit := range []string{"years", "months", "", "days", "hours", "minutes", "seconds"} {
			n, _ := strconv.ParseFloat("0"+parts[i+1], 64)
			if unit == "" {
				n, unit = 7*n, "days"
			}
			sum += clamp(n, units[unit])
		}
		return sum, nil
	}
	day := units["days"]
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day, "y": units["years"]} {
		if number, ok := strings.CutSuffix(s, suffix); ok {
			if n, err := strconv.ParseFloat(number, 64); err == nil {
				return clamp(n, unit), nil
			}
		}
	}
	return time.ParseDuration(s)
}

func clamp(n float64, unit time.Duration) time.Duration {
	if limit := 2 * float64(horizon); n*float64(unit) < limit {
		return time.Duration(n * float64(unit))
	}
	return 2 * horizon // also of what is not a number
}
