package status

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// history is what the events of one grant say.
type history struct {
	// Asked is who asked last, and from which change.
	Asked jit.Actor
	// Rule decided last, with that Verdict; both are empty if no decision is recorded.
	Rule, Verdict string
	// Decisions are those of people, and the waits for them.
	Decisions []ReportedDecision
	// Events are the first and the last events, in order. After the first First of them, More are left out.
	Events      []jit.Event
	First, More int

	grant jit.Grant
	most  int
}

// newHistory returns an empty history that keeps at most that many events, and as many decisions.
func newHistory(g jit.Grant, most int) *history {
	return &history{grant: g, most: most, First: most / 4}
}

// add takes in the next event of the grant.
func (h *history) add(e jit.Event) {
	switch e.Kind {
	case jit.EventRequested:
		h.Asked = e.Actor
	case jit.EventDecided:
		h.Rule, h.Verdict = e.Detail["rule"], e.Detail["verdict"]
	}
	if decisionWords[e.Kind] != "" && len(h.Decisions) < h.most {
		h.Decisions = append(h.Decisions, decisionOf(e, h.grant.Summary()))
	}
	if len(h.Events) == h.most {
		h.Events = slices.Delete(h.Events, h.First, h.First+1)
		h.More++
	}
	h.Events = append(h.Events, e)
}

// decisionOf returns what an event says of a decision on a request.
func decisionOf(e jit.Event, summary string) ReportedDecision {
	d := e.Detail
	return ReportedDecision{
		At: e.At, Kind: e.Kind, Grant: e.Grant, Summary: summary, Requester: d["requester"], Person: e.Person(),
		Evidence: d["evidence"], Comment: d["comment"], Awaits: cmp.Or(d["awaits"], d["skipped"]), Why: d["why"],
		Command: d["command"], Key: keyOf(d), PullRequest: pullRequest(d).Text, Link: pullRequest(d).Link,
	}
}

// keyOf returns the fingerprint of the key that signed a statement; empty if there is no signature.
func keyOf(d map[string]string) string {
	if d["signature"] == "" {
		return ""
	}
	key, err := approval.Verify([]byte(d["text"]), []byte(d["signature"]))
	if err != nil {
		return "a signature that does not hold"
	}
	return ssh.FingerprintSHA256(key)
}

// maxFact is how many characters of a detail are shown.
const maxFact = 1000

// silentDetails are what the events of a page do not repeat: what its decisions say, signed statements, which jit audit
// verify checks, and what only programs use.
var silentDetails = []string{"text", "signature", jit.RunDetail, "approval", "excused", "request_digest", "review",
	"forge", "host", "repository", "number"}

// Facts returns the details of an event for people, without those that its grant has for life.
func (h *history) Facts(e jit.Event) []jit.Field {
	facts := e.ForPeople()
	for _, f := range h.grant.RequestFields()[:identityFields] {
		if facts[f.Name] == f.Value {
			delete(facts, f.Name)
		}
	}
	if facts["owner"] == h.grant.Owner {
		delete(facts, "owner")
	}
	asked, _ := jit.AskedBy(e)
	for _, name := range silentDetails {
		delete(facts, name)
	}
	var all []jit.Field
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		all = append(all, jit.Field{Name: strings.ReplaceAll(name, "_", " "), Value: cut(facts[name])})
	}
	for _, r := range asked.Approval {
		all = append(all, jit.Field{Name: "approval of", Value: cut(requirement(r))})
	}
	for _, unless := range asked.Excused {
		all = append(all, jit.Field{Name: "no approval because", Value: cut(unless)})
	}
	return all
}

// identityFields is how many of [jit.Grant.RequestFields] are the same for the whole life of a grant: target,
// principal, role, scope, reason, renewal.
const identityFields = 6

// cut shortens a long text.
func cut(text string) string {
	if runes := []rune(text); len(runes) > maxFact {
		return string(runes[:maxFact]) + "…"
	}
	return text
}
