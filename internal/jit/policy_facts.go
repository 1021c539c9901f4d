package jit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Facts returns the whole policy as the details of an event, so that the record shows which rules were in force.
func (p Policy) Facts() map[string]string {
	facts := map[string]string{"effect": string(p.Effect), "match": asJSON(p.Match)}
	for name, value := range map[string]string{
		"description": p.Description, "reason_pattern": p.ReasonPattern, "condition": p.Condition,
		recordPrefix + "holder": number(p.Holder),
	} {
		if value != "" {
			facts[name] = value
		}
	}
	if p.MaxTTL > 0 {
		facts["max_ttl"] = FormatDuration(p.MaxTTL)
	}
	switch {
	case p.NativeOnly:
		facts["enforcement"] = string(Native)
	case p.SweeperAccepted:
		facts["enforcement"] = "any"
	}
	if len(p.Approval) > 0 {
		facts[approvalDetail] = asJSON(p.Approval)
	}
	if p.BreakGlass != nil {
		facts["break_glass"] = asJSON(p.BreakGlass)
	}
	if p.MaxSessionTail != nil {
		facts["max_session_tail"] = FormatTail(*p.MaxSessionTail)
	}
	return facts
}

// PolicyOf returns the policy that an event of the kind [EventPolicyChanged] recorded. It fails if the event holds
// facts that this program does not know, or lacks some.
func PolicyOf(e Event) (Policy, error) {
	told := e.Detail
	p := Policy{
		Name: e.Policy, Description: told["description"], Effect: Effect(told["effect"]),
		ReasonPattern: told["reason_pattern"], Condition: told["condition"],
		NativeOnly: told["enforcement"] == string(Native), SweeperAccepted: told["enforcement"] == "any",
	}
	p.Holder, _ = strconv.ParseInt(told[recordPrefix+"holder"], 10, 64)
	var tail time.Duration
	err := cmp.Or(
		fromJSON(told["match"], &p.Match), fromJSON(told["approval"], &p.Approval),
		fromJSON(told["break_glass"], &p.BreakGlass), fromDuration(told["max_ttl"], &p.MaxTTL),
		fromDuration(told["max_session_tail"], &tail),
	)
	if told["max_session_tail"] != "" {
		p.MaxSessionTail = &tail
	}
	if wrong := p.Contradictions(told); err == nil && len(wrong) > 0 {
		err = fmt.Errorf("%s", wrong[0])
	}
	if err != nil {
		return p, fmt.Errorf("event %s does not hold the whole policy %q: %w", e.Place(), e.Policy, err)
	}
	return p, nil
}

// fromJSON reads what asJSON wrote, if anything.
func fromJSON(text string, into any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}

// fromDuration reads what FormatTail wrote, if anything.
func fromDuration(text string, into *time.Duration) (err error) {
	switch text {
	case "":
	case FormatTail(Unlimited):
		*into = Unlimited
	default:
		*into, err = ParseDuration("", text)
	}
	return err
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // lists of strings always marshal
	}
	return string(text)
}

// Contradictions compares a policy with the details of its latest event.
func (p Policy) Contradictions(told map[string]string) []Contradiction {
	told = maps.Clone(told)
	var older Policy
	if err := json.Unmarshal([]byte(told["match"]), &older.Match); err == nil {
		told["match"] = asJSON(older.Match) // an older program may have written the same in another form
	}
	is := p.Facts()
	if _, known := told[recordPrefix+"holder"]; !known { // older programs did not record it
		delete(is, recordPrefix+"holder")
	}
	return contradictions(is, told)
}

// contradictions compares facts with those of an event, in the order of their names.
func contradictions(is, told map[string]string) (all []Contradiction) {
	names := maps.Clone(told)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, is)
	delete(names, RunDetail) // it says who made the change, not what it is
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if is[name] != told[name] {
			all = append(all, Contradiction{name, is[name], told[name]})
		}
	}
	return all
}
