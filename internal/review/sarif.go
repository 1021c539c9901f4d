package review

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The parts of a log in SARIF 2.1.0 that a review needs
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string       `json:"id"`
		ShortDescription sarifMessage `json:"shortDescription"`
		FullDescription  sarifMessage `json:"fullDescription"`
		Help             sarifMessage `json:"help"`
		Configuration    sarifLevel   `json:"defaultConfiguration"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifMessage      `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

// sarifRules are the sorts of findings.
var sarifRules = []sarifRule{
	ruleOf("grant-refused", "error", "An apply refuses this grant",
		"The policies or other rules refuse the grant. Change the grant as the message says, or change the policy."),
	ruleOf("grant-to-decide", "warning", "This grant needs a decision",
		"A person must decide about the grant before it begins, or only the apply knows a part of it. "+
			"Approve it with: jit approve --plan PLAN.json"),
	ruleOf("grant", "note", "This grant needs no decision",
		"The policies permit the grant, or the change ends access."),
	ruleOf("standing-access", "error", "Access without an end",
		"A resource of another provider gives access that never ends by itself. Write a jit_grant in its place, or "+
			"give it an end."),
	ruleOf("guard-removed", "error", "A guard goes",
		"The plan removes or changes what limits access that something else gives. Keep it, or have a person decide."),
	ruleOf("opaque-access", "warning", "Access whose end is unknown",
		"A resource of another provider gives access, and the plan does not show whether it ends."),
	ruleOf("bounded-access", "warning", "Access that ends by itself",
		"A resource of another provider gives access with an end of its own. No policy of jit has judged it."),
	ruleOf("access-stays", "note", "Access stays", "Terraform adopts access of another provider, or moves its block."),
	ruleOf("access-taken", "note", "Access is taken away", "The plan removes access of another provider."),
	ruleOf("guard-added", "note", "A guard is added", "The plan limits access that something else gives."),
	ruleOf("rule-loosened", "warning", "A rule is loosened",
		"After the apply, the rules permit more than before, or jit cannot compare them."),
	ruleOf("rule-changed", "note", "A rule changes", "After the apply, the rules permit no more than before."),
	ruleOf("note", "note", "The review left something out", "The review says what it did not compare."),
	ruleOf("doubt", "warning", "The review may not be complete",
		"The review could not judge the whole plan, so the other findings may not be all."),
}

func ruleOf(id, level, short, help string) sarifRule {
	return sarifRule{id, sarifMessage{short}, sarifMessage{help}, sarifMessage{help}, sarifLevel{level}}
}

// sarif writes text for messages of SARIF, where brackets make links.
var sarif = style{
	value:    func(s string) string { return unlinked(plain.value(s)) },
	sentence: func(s string) string { return unlinked(plain.sentence(s)) },
	strange:  plain.strange,
	strong:   plain.strong,
}

func unlinked(s string) string { return strings.ReplaceAll(s, "[", jit.Escape('[')) }

// SARIF writes the report in SARIF 2.1.0, for code scanning. version is that of this program. place finds the block of
// an address: its file, as a relative URI from the root of the repository, and its line. It is asked about an empty
// address too, for what has none; an empty file is unknown.
func (r Report) SARIF(w io.Writer, version string, place func(address string) (file string, line int)) error {
	r = r.sorted()
	s := &scan{place: place, results: []sarifResult{}}
	for _, d := range r.Doubts {
		s.add("doubt", "", d, sarif.sentence(d), Decide)
	}
	for _, g := range r.Grants {
		rule := map[Outcome]string{Nothing: "grant", Decide: "grant-to-decide", Refused: "grant-refused"}[g.Outcome]
		s.add(rule, g.Address, "", sarif.summary(g)+": "+strings.Join(sarif.verdict(g),
			"; ")+". Reason: "+sarif.text(g.Reason),
			g.Outcome)
	}
	for _, a := range r.Access {
		k := kindOf(a)
		what := sarif.text(a.Principal) + ": " + sarif.text(a.Role) + " on " + sarif.text(a.Scope)
		message := strings.ToUpper(k.one[:1]) + k.one[1:] + ": " + what + ". " + sarif.sentence(a.Why)
		s.add(k.name, a.Address, what, message, a.Outcome)
	}
	for _, rule := range r.Rules {
		name := "rule-changed"
		if rule.Loosens || rule.Outcome > Nothing {
			name = "rule-loosened"
		}
		s.add(name, rule.Address, rule.What, sarif.sentence(rule.What), rule.Outcome)
	}
	for _, n := range r.Notes {
		s.add("note", "", n, sarif.sentence(n), Nothing)
	}
	text, err := jit.JSON(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs: []sarifRun{{sarifTool{sarifDriver{"jit review", version,
			"https://github.com/jitaccess/terraform-provider-jit", sarifRules}}, s.results}},
	})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// scan collects the results.
type scan struct {
	place   func(address string) (file string, line int)
	results []sarifResult
}

// add adds a finding; subject tells it from others of its rule and address. What an apply refuses is an error whatever
// its rule says.
func (s *scan) add(rule, address, subject, message string, o Outcome) {
	index := slices.IndexFunc(sarifRules, func(r sarifRule) bool { return r.ID == rule })
	level := sarifRules[index].Configuration.Level
	if o == Refused {
		level = "error"
	}
	var at sarifLocation
	if s.place != nil {
		if file, line := s.place(address); file != "" {
			at.Physical = &sarifPhysical{sarifArtifact{file}, sarifRegion{max(line, 1)}}
		}
	}
	if address != "" {
		at.Logical = []sarifLogical{{jit.Printable(address), "resource"}}
	}
	result := sarifResult{RuleID: rule, RuleIndex: index, Level: level, Message: sarifMessage{message},
		Locations: []sarifLocation{}}
	if at.Physical != nil || at.Logical != nil {
		result.Locations = append(result.Locations, at)
	}
	// Without it, findings of one line, such as those of a for_each, are one finding to GitHub.
	sum := sha256.Sum256([]byte(rule + "\x00" + address + "\x00" + subject))
	result.Fingerprints = map[string]string{"primaryLocationLineHash": hex.EncodeToString(sum[:16])}
	s.results = append(s.results, result)
}
