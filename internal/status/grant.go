package status

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

const (
	// maxEvents caps the events that the page of a grant shows, and maxCandidates the grants that it proposes.
	maxEvents     = 200
	maxCandidates = 20
)

// prefixForm matches an id, or at least its first eight characters.
var prefixForm = regexp.MustCompile(`^[0-9a-f-]{8,36}$`)

// grantPage is the content of the page of one grant.
type grantPage struct {
	*pageData
	// Row is the grant; nil if Problem says why there is none to show. Candidates are the grants whose ids begin as
	// asked.
	Row        *row
	Problem    string
	Candidates list[row]
	// Findings are what this process found about the grant at its last check.
	Findings []sweeper.Result
	// Policy is the deciding policy as it is today; nil if there is none of that name.
	Policy *policyRow
}

// grant answers with all that is known of one grant.
func (s *Server) grant(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	page := grantPage{pageData: newPage(s.Source, q)}
	code := http.StatusOK
	switch id, err := page.find(ctx, strings.ToLower(r.PathValue("id"))); {
	case err != nil:
		page.LedgerError, code = err, http.StatusServiceUnavailable
	case page.Row != nil:
	case id != "":
		http.Redirect(w, r, q.To("/grants/"+string(id)), http.StatusFound) //nolint:gosec // a path of this server
		return
	default:
		code = http.StatusNotFound
	}
	s.send(w, code, "grant.html.tmpl", page, stillPolicy)
}

// find reads the grant of an id. If the text is the beginning of one id alone, it returns that id.
func (p *grantPage) find(ctx context.Context, text string) (jit.ID, error) {
	if !prefixForm.MatchString(text) {
		p.Problem = "This is neither the id of a grant nor its first eight characters."
		return "", nil
	}
	if id, err := jit.ParseID(text); err == nil {
		g, ok, err := p.source.Ledger.Lookup(ctx, id)
		if !ok || err != nil {
			p.Problem = fmt.Sprintf("The ledger has no grant %s.", id)
			return "", err
		}
		return "", p.read(ctx, g)
	}
	var last jit.ID
	for g, err := range p.source.Ledger.Grants(ctx, jit.Filter{IDPrefix: text}) {
		if err != nil {
			return "", err
		}
		if last = g.ID; len(p.Candidates.Rows) < maxCandidates {
			p.add(&p.Candidates, g)
		} else {
			p.Candidates.More++
		}
	}
	switch n := p.Candidates.Count(); n {
	case 0:
		p.Problem = fmt.Sprintf("The ledger has no grant whose id begins with %s.", text)
	case 1:
		return last, nil
	default:
		p.Problem = fmt.Sprintf("%d grants have ids that begin with %s.", n, text)
	}
	return "", nil
}

// read reads what the ledger and the watcher know about a grant.
func (p *grantPage) read(ctx context.Context, g jit.Grant) error {
	ledger, err := p.source.Ledger.ID(ctx)
	if err != nil {
		return err
	}
	h := newHistory(g, maxEvents)
	for e, err := range p.source.Ledger.EventsOf(ctx, []jit.ID{g.ID}) {
		if err != nil {
			return err
		}
		h.add(e)
	}
	policies, err := p.source.Ledger.Policies(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(policies, func(policy jit.Policy) bool { return policy.Name == g.Policy }); i >= 0 {
		p.Policy = newPolicyRow(policies[i])
	}
	for _, found := range p.State.Found {
		if found.Grant.ID == g.ID {
			p.Findings = append(p.Findings, found)
		}
	}
	r := p.row(g)
	r.View, r.History = g.View(p.Now, ledger), h
	p.Row = &r
	return nil
}
