package status

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// policyRow is a policy in words.
type policyRow struct {
	jit.Policy
	// Matches has the lines of each entry of the match, one for each list of globs. A grant has to match all lines of
	// one entry.
	Matches [][]jit.Field
	// MaxTTL is the longest window, Ends who has to end it, and Tail how long a session may outlive it.
	MaxTTL, Ends, Tail string
	// Approves has a line for each entry of the approval list, and Glass says who may begin without approval.
	Approves []string
	Glass    string
}

// newPolicyRow puts a policy into words.
func newPolicyRow(p jit.Policy) *policyRow {
	r := &policyRow{Policy: p}
	for _, m := range p.Match.Entries() {
		r.Matches = append(r.Matches, entryLines(m))
	}
	if p.MaxTTL > 0 {
		r.MaxTTL = jit.FormatDuration(p.MaxTTL)
	}
	if p.NativeOnly {
		r.Ends = "ended by the target only"
	}
	if p.MaxSessionTail != nil {
		r.Tail = jit.FormatTail(*p.MaxSessionTail)
	}
	for _, entry := range p.Approval {
		r.Approves = append(r.Approves, requirement(entry))
	}
	if glass := p.BreakGlass; glass != nil {
		r.Glass = strings.Join(glass.From, ", ")
		if glass.MaxTTL > 0 {
			r.Glass += ", for at most " + jit.FormatDuration(glass.MaxTTL)
		}
		if glass.ReasonPattern != "" {
			r.Glass += ", with a reason like " + glass.ReasonPattern
		}
	}
	return r
}

// entryLines has a line for each list of globs of an entry.
func entryLines(m jit.Match) (lines []jit.Field) {
	for _, f := range []struct {
		name  string
		globs []string
	}{
		{"targets", m.Targets}, {"platforms", m.Platforms}, {"owners", m.Owners},
		{"principals", m.Principals}, {"roles", m.Roles}, {"scopes", m.Scopes},
	} {
		if len(f.globs) > 0 {
			lines = append(lines, jit.Field{Name: f.name, Value: strings.Join(f.globs, ", ")})
		}
	}
	return lines
}

// requirement says whose approval an entry of a policy asks for.
func requirement(r jit.Requirement) string {
	text := fmt.Sprintf("%d of %s", r.Required, strings.Join(r.From, ", "))
	evidence := make([]string, len(r.Evidence))
	for i, e := range r.Evidence {
		evidence[i] = strings.ReplaceAll(string(e), "_", " ")
	}
	text += ", by " + cmp.Or(strings.Join(evidence, " or "), string(jit.Signature))
	if r.ValidFor > 0 {
		text += ", valid for " + jit.FormatDuration(r.ValidFor)
	}
	if r.Unless != "" {
		text += ", unless " + r.Unless
	}
	return text
}

// policiesPage is the content of the page of policies.
type policiesPage struct {
	*pageData
	Policies list[*policyRow]
}

// policies answers with the policies that decide now.
func (s *Server) policies(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	page, code := policiesPage{pageData: newPage(s.Source, q)}, http.StatusOK
	all, err := s.Source.Ledger.Policies(ctx)
	if err != nil {
		page.LedgerError, code = err, http.StatusServiceUnavailable
	}
	for _, p := range all {
		page.Policies.add(func() *policyRow { return newPolicyRow(p) })
	}
	s.send(w, code, "policies.html.tmpl", page, stillPolicy)
}
